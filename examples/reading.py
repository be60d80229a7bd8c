"""The lesson on reading: how a queue of file names works, then why it wins.

  python examples/reading.py

First the classic exercise: three pictures pass five times through a queue of file names, and come
out as read/test_1.jpg to read/test_15.jpg, byte for byte. Then the three ways to feed a trainer,
measured and drawn: see feeding.py.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # the rooms

from absl import flags  # noqa: E402

import cifar10_app  # noqa: E402
from cifar10_app import Failure  # noqa: E402
from cifar10_tf import reason, tf  # noqa: E402
from examples import feeding  # noqa: E402

FLAGS = flags.FLAGS

NAMES = ['1.jpg', '2.jpg', '3.jpg']


def _write(path, content):
  """Writes a file; one of an earlier run is written over, and nothing else."""
  try:
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with open(path, 'wb') as file:
      file.write(content)
  except OSError as error:
    raise Failure('Cannot write %s: %s. Choose another --out_dir.'
                  % (path, error.strerror)) from error


def read_pictures(paths, out_dir, num_epochs=5, shuffle=False):
  """Reads pictures through a queue of file names and writes what comes out.

  Args:
    paths: the pictures' files.
    out_dir: directory for test_1.jpg, test_2.jpg and so on.
    num_epochs: how often to read each.
    shuffle: whether to mix the order, anew in each epoch.

  Returns:
    How many were read.

  Raises:
    Failure: a picture cannot be read, or `out_dir` not be written to.
  """
  with tf.Graph().as_default(), tf.Session() as session:
    # A queue of names. The op that fills it runs in a thread of its own, a queue runner; after
    # num_epochs times all names it closes the queue.
    names = tf.train.string_input_producer(paths, num_epochs=num_epochs, shuffle=shuffle)
    # A reader takes a name from the queue and gives the whole file as one string. Nothing is read
    # yet: this only says what a run of `content` will do.
    _, content = tf.WholeFileReader().read(names)

    # How many epochs are done is counted in a variable that belongs to this process and is in no
    # checkpoint: a local one. Without this line the runner ends with "uninitialized value".
    session.run(tf.local_variables_initializer())
    # The coordinator tells the threads when to stop, and keeps the first error that one of them
    # meets. Until the runners are started the queue stays empty, and a read waits for ever.
    coord = tf.train.Coordinator()
    threads = tf.train.start_queue_runners(session, coord)
    count = 0
    try:
      while not coord.should_stop():
        picture = session.run(content)
        count += 1
        _write(os.path.join(out_dir, 'test_%d.jpg' % count), picture)
    except tf.errors.OutOfRangeError:
      pass  # the end mark: the queue is closed and empty
    except tf.errors.OpError as error:
      raise Failure(reason(error)) from error
    finally:
      coord.request_stop()
      coord.join(threads)
  return count


def _define_flags():
  """Defines the flags; not on import, for --num_epochs is the trainer's too."""
  flags.DEFINE_string('img_dir', os.path.join(os.path.dirname(os.path.abspath(__file__)), 'img'),
                      'Directory of the pictures 1.jpg, 2.jpg and 3.jpg.')
  flags.DEFINE_string('out_dir', 'read', 'Directory to write test_1.jpg and so on to; those of '
                      'an earlier run are written over.')
  flags.DEFINE_integer('num_epochs', 5, 'How often each picture is read.', lower_bound=1)
  flags.DEFINE_boolean('shuffle', False, 'Mix the pictures, anew in each epoch.')
  flags.DEFINE_boolean('exercise_only', False, 'Leave out the three ways to feed a trainer.')
  flags.adopt_module_key_flags(feeding)


def main(argv):
  del argv
  paths = [os.path.join(FLAGS.img_dir, name) for name in NAMES]
  count = read_pictures(paths, FLAGS.out_dir, FLAGS.num_epochs, FLAGS.shuffle)
  print('Read %d pictures %d times%s: wrote %s to test_%d.jpg.' % (
      len(paths), FLAGS.num_epochs, ', mixed' if FLAGS.shuffle else ', in order',
      os.path.join(FLAGS.out_dir, 'test_1.jpg'), count))
  if not FLAGS.exercise_only:
    feeding.main(['feeding'])


if __name__ == '__main__':
  _define_flags()
  cifar10_app.run(main)
