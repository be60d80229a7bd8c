"""Shows how a queue of file names works, and then why it is faster.

  python lessons/reading.py

The first part is the classic exercise. Three pictures pass five times through a queue of file names
and are written to read/test_1.jpg to read/test_15.jpg, byte for byte. The second part measures and
draws three ways to feed a trainer: see feeding.py.
"""
import filecmp
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # finds cifar10

from absl import flags  # noqa: E402

from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.common.programs import Failure  # noqa: E402
from cifar10_lib.common.tf1 import reason, tf  # noqa: E402
from lessons import feeding  # noqa: E402

FLAGS = flags.FLAGS

NAMES = ['1.jpg', '2.jpg', '3.jpg']


def _write(path, content):
  """Writes a file, and creates its directory if it does not exist."""
  try:
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with open(path, 'wb') as file:
      file.write(content)
  except OSError as error:
    raise Failure('Cannot write %s: %s. Choose another --out_dir.'
                  % (path, error.strerror)) from error


def _check_nothing_is_lost(outputs, pictures):
  """Fails if an output exists that no run wrote: a run writes only copies of the pictures."""
  known = [path for path in pictures if os.path.isfile(path)]  # the reader reports a missing one
  for path in filter(os.path.exists, outputs):
    if not any(filecmp.cmp(path, picture, shallow=False) for picture in known):
      raise Failure('%s exists and is not a copy of a picture. Choose another --out_dir, or pass '
                    '--overwrite to overwrite it.' % path)


def _write_all(session, content, outputs):
  """Writes each value of `content`, a string tensor, to a file of `outputs`; returns the count."""
  # The coordinator tells the threads when to stop. It keeps the first error of a thread and raises
  # it at the join. Until the queue runners start, the queue is empty and a read waits for ever.
  coord = tf.train.Coordinator()
  threads = tf.train.start_queue_runners(session, coord)
  count = 0
  try:
    while not coord.should_stop():
      picture = session.run(content)
      _write(outputs[count], picture)
      count += 1
  except tf.errors.OutOfRangeError:
    pass  # the queue is closed and empty: the normal end of input, not a failure
  finally:
    coord.request_stop()
    coord.join(threads)
  return count


def read_pictures(paths, out_dir, num_epochs=5, shuffle=False, overwrite=False):
  """Reads pictures through a queue of file names and writes each to a new file.

  Args:
    paths: the picture files.
    out_dir: directory for test_1.jpg, test_2.jpg and so on.
    num_epochs: number of times to read each picture.
    shuffle: whether to shuffle the order in each epoch.
    overwrite: whether to overwrite a test_N.jpg that is not a copy of a picture. A copy, which an
      earlier run wrote, is always overwritten.

  Returns:
    The number of pictures read.

  Raises:
    Failure: a picture cannot be read, `out_dir` cannot be written to, or a file would be lost.
  """
  outputs = [os.path.join(out_dir, 'test_%d.jpg' % (i + 1)) for i in range(num_epochs * len(paths))]
  if not overwrite:
    _check_nothing_is_lost(outputs, paths)
  with tf.Graph().as_default(), tf.Session() as session:
    # A queue of file names. A queue runner, a thread of its own, fills it. After num_epochs passes
    # over the names the queue runner closes the queue.
    names = tf.train.string_input_producer(paths, num_epochs=num_epochs, shuffle=shuffle)
    # A reader takes a name from the queue and returns the whole file as one string. Nothing is read
    # yet: this only builds the op that a run of `content` executes.
    _, content = tf.WholeFileReader().read(names)  # string []
    # A local variable counts the epochs: it belongs to this process and is in no checkpoint.
    # Without this line the queue runner fails and closes the empty queue, which looks like the end
    # of input. Only the join raises the cause: it could not find ".../epochs".
    session.run(tf.local_variables_initializer())
    try:
      return _write_all(session, content, outputs)
    except tf.errors.OpError as error:
      raise Failure('%s. Pass --img_dir=DIRECTORY, one that holds %s.' % (
          reason(error).rstrip('.'), ', '.join(map(os.path.basename, paths)))) from error


def _define_flags():
  """Defines the flags. An import does not, because the trainer also defines --num_epochs."""
  flags.DEFINE_string('img_dir', os.path.join(os.path.dirname(os.path.abspath(__file__)), 'img'),
                      'Directory of the pictures 1.jpg, 2.jpg and 3.jpg.')
  flags.DEFINE_string('out_dir', 'read', 'Directory to write test_1.jpg and so on to; those of '
                      'an earlier run are overwritten.')
  flags.DEFINE_boolean('overwrite', False, 'Also overwrite a test_N.jpg that holds something '
                       'else.')
  flags.DEFINE_integer('num_epochs', 5, 'Number of times to read each picture.', lower_bound=1)
  flags.DEFINE_boolean('shuffle', False, 'Shuffle the pictures in each epoch.')
  flags.DEFINE_boolean('exercise_only', False, 'Skip the three ways to feed a trainer.')
  flags.adopt_module_key_flags(feeding)


def main(argv):
  paths = [os.path.join(FLAGS.img_dir, name) for name in NAMES]
  count = read_pictures(paths, FLAGS.out_dir, FLAGS.num_epochs, FLAGS.shuffle,
                        FLAGS.overwrite)
  print('Read %d pictures %d times%s: wrote %s to test_%d.jpg.' % (
      len(paths), FLAGS.num_epochs, ', mixed' if FLAGS.shuffle else ', in order',
      os.path.join(FLAGS.out_dir, 'test_1.jpg'), count))
  if not FLAGS.exercise_only:
    feeding.main(argv)


if __name__ == '__main__':
  _define_flags()
  programs.run(main)
