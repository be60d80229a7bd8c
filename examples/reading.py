"""The lesson on reading: how a queue of file names works, then why it wins.

  python examples/reading.py

First the classic exercise: three pictures pass five times through a queue of file names, and come
out as read/test_1.jpg to read/test_15.jpg, byte for byte. Then the three ways to feed a trainer,
measured and drawn: see feeding.py.
"""
import filecmp
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # the rooms

from absl import flags  # noqa: E402

from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.common.programs import Failure  # noqa: E402
from cifar10_lib.common.tf1 import reason, tf  # noqa: E402
from examples import feeding  # noqa: E402

FLAGS = flags.FLAGS

NAMES = ['1.jpg', '2.jpg', '3.jpg']


def _write(path, content):
  """Writes a file, and makes its directory if there is none."""
  try:
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with open(path, 'wb') as file:
      file.write(content)
  except OSError as error:
    raise Failure('Cannot write %s: %s. Choose another --out_dir.'
                  % (path, error.strerror)) from error


def _check_nothing_is_lost(outputs, pictures):
  """Refuses to write over what no run wrote: a run's file is one of the pictures, byte for byte."""
  known = [path for path in pictures if os.path.isfile(path)]  # the reader names a missing one
  for path in filter(os.path.exists, outputs):
    if not any(filecmp.cmp(path, picture, shallow=False) for picture in known):
      raise Failure('%s is there and is none of the pictures. Choose another --out_dir, or pass '
                    '--overwrite to lose it.' % path)


def _write_all(session, content, outputs):
  """Runs `content`, a string tensor, into one file of `outputs` after another; returns how many."""
  # The coordinator tells the threads when to stop, and keeps the first error that one of them
  # meets, to raise it at the join. Until the runners are started the queue stays empty, and a read
  # waits for ever.
  coord = tf.train.Coordinator()
  threads = tf.train.start_queue_runners(session, coord)
  count = 0
  try:
    while not coord.should_stop():
      picture = session.run(content)
      _write(outputs[count], picture)
      count += 1
  except tf.errors.OutOfRangeError:
    pass  # the end mark: the queue is closed and empty. That is how reading ends, and no failure
  finally:
    coord.request_stop()
    coord.join(threads)
  return count


def read_pictures(paths, out_dir, num_epochs=5, shuffle=False, overwrite=False):
  """Reads pictures through a queue of file names and writes what comes out.

  Args:
    paths: the pictures' files.
    out_dir: directory for test_1.jpg, test_2.jpg and so on.
    num_epochs: how often to read each.
    shuffle: whether to mix the order, anew in each epoch.
    overwrite: whether to write over a test_N.jpg that is none of the pictures. One that is, as an
      earlier run leaves it, is written over in any case.

  Returns:
    How many were read.

  Raises:
    Failure: a picture cannot be read, `out_dir` not be written to, or a file would be lost.
  """
  outputs = [os.path.join(out_dir, 'test_%d.jpg' % (i + 1)) for i in range(num_epochs * len(paths))]
  if not overwrite:
    _check_nothing_is_lost(outputs, paths)
  with tf.Graph().as_default(), tf.Session() as session:
    # A queue of names. The op that fills it runs in a thread of its own, a queue runner; after
    # num_epochs times all names it closes the queue.
    names = tf.train.string_input_producer(paths, num_epochs=num_epochs, shuffle=shuffle)
    # A reader takes a name from the queue and gives the whole file as one string. Nothing is read
    # yet: this only says what a run of `content` will do.
    _, content = tf.WholeFileReader().read(names)  # string []
    # How many epochs are done is counted in a variable that belongs to this process and is in no
    # checkpoint: a local one. Without this line the runner fails and closes the empty queue, so
    # that reading seems to be at its end; only the join tells that it could not find ".../epochs".
    session.run(tf.local_variables_initializer())
    try:
      return _write_all(session, content, outputs)
    except tf.errors.OpError as error:
      raise Failure('%s. Pass --img_dir=DIRECTORY, one that holds %s.' % (
          reason(error).rstrip('.'), ', '.join(map(os.path.basename, paths)))) from error


def _define_flags():
  """Defines the flags; not on import, for --num_epochs is the trainer's too."""
  flags.DEFINE_string('img_dir', os.path.join(os.path.dirname(os.path.abspath(__file__)), 'img'),
                      'Directory of the pictures 1.jpg, 2.jpg and 3.jpg.')
  flags.DEFINE_string('out_dir', 'read', 'Directory to write test_1.jpg and so on to; those of '
                      'an earlier run are written over.')
  flags.DEFINE_boolean('overwrite', False, 'Also write over a test_N.jpg that holds something '
                       'else.')
  flags.DEFINE_integer('num_epochs', 5, 'How often each picture is read.', lower_bound=1)
  flags.DEFINE_boolean('shuffle', False, 'Mix the pictures, anew in each epoch.')
  flags.DEFINE_boolean('exercise_only', False, 'Leave out the three ways to feed a trainer.')
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
