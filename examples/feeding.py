"""Three ways to feed a trainer, with the same files and the same training step, measured and drawn.

  python examples/feeding.py --read_ms 100

  1  read, then compute, in turn
  2  a queue in memory, which a thread fills
  3  a queue of file names before it: several threads, each in a file of its own, over many epochs

Records pass through Python on their way from input to training, so that waiting for them and
computing on them can be told apart; a batch of 0.4 MB takes some 0.1 ms for that.
"""
import os
import sys
import tempfile
import time
from typing import NamedTuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # the rooms

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

import cifar10  # noqa: E402
import cifar10_app  # noqa: E402
import cifar10_augment  # noqa: E402
import cifar10_input  # noqa: E402
import cifar10_sample  # noqa: E402
from cifar10_download import RECORD_BYTES  # noqa: E402
from cifar10_tf import tf  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_float('read_ms', 250, 'Milliseconds that the storage takes to deliver a batch.',
                   lower_bound=0)
flags.DEFINE_integer('feeding_steps', 40, 'Steps of training, each way.', lower_bound=2)
flags.DEFINE_string('feeding_data', None, 'Data directory as --data_dir of the trainer; a sample '
                    'data set is drawn if it is not given.')
flags.DEFINE_integer('feeding_batch', cifar10.BATCH_SIZE, 'Pictures a step.', lower_bound=1)
flags.DEFINE_string('timeline', 'feeding.png', 'Picture to write.')

AHEAD = 4  # batches that wait in memory, at most, in ways 2 and 3
READERS = 3  # threads of way 3
SHOWN_STEPS = 12  # of compute alone, as long as the picture's axis
WARM_UP_STEPS = 3  # in which TensorFlow prepares; not measured


class Storage:
  """A disk that takes its time, and notes when it was at work."""

  def __init__(self, read_ms):
    self._seconds = read_ms / 1000
    self.spans = []  # (begin, end) of each read, seconds of time.perf_counter

  def deliver(self, records):
    """Returns what it is given, after the delay."""
    begin = time.perf_counter()
    time.sleep(self._seconds)
    self.spans.append((begin, time.perf_counter()))
    return records


class Result(NamedTuple):
  """One way, measured."""
  name: str
  reads: list  # (begin, end) seconds since the start
  steps: list  # (begin, end) seconds since the start
  images_per_sec: float
  idle: float  # share of the time that compute waited
  fullness: float  # of the queue in memory, 0 to 1, mean over steps; NaN without one


class Trainer:
  """The tutorial's training step on records that are fed."""

  def __init__(self, batch_size):
    with tf.Graph().as_default() as graph:
      self._records = tf.placeholder(tf.uint8, [batch_size, RECORD_BYTES])
      images, labels = cifar10_input.split_records(self._records)
      logits = cifar10.inference(cifar10_augment.distort(images))
      step = tf.train.get_or_create_global_step()
      self._train_op = cifar10.train(cifar10.loss(logits, labels), step, batch_size)
      self._session = tf.Session(graph=graph)
      self._session.run(tf.global_variables_initializer())

  def step(self, records):
    """Trains on uint8 [B, RECORD_BYTES]."""
    self._session.run(self._train_op, {self._records: records})


def _in_turn(paths, batch_size, storage):
  """Way 1: yields batches, each read when it is asked for; there is no queue."""
  while True:
    for path in paths:
      with open(path, 'rb') as file:
        while True:
          data = file.read(batch_size * RECORD_BYTES)
          if len(data) < batch_size * RECORD_BYTES:
            break  # on to the next file
          yield storage.deliver(np.frombuffer(data, np.uint8).reshape(batch_size, -1)), np.nan


def _through_queue(queue, capacity, records):
  """Starts the threads, and returns an iterator of what the queue gives and how full it was."""
  fullness = tf.cast(queue.size(), tf.float32) / capacity
  # Threads of its own, for one that sleeps in a read must not keep an op of training waiting.
  config = tf.ConfigProto(use_per_session_threads=True, inter_op_parallelism_threads=READERS + 1)
  # This starts the queue runners; they read from now on.
  session = tf.train.MonitoredTrainingSession(config=config)
  def batches():
    with session:  # and stops them
      while True:
        full = session.run(fullness)
        yield session.run(records), full
  return batches()


def _memory_queue(paths, batch_size, storage):
  """Way 2: a thread reads as way 1 does, and puts batches into a queue."""
  reads = _in_turn(paths, batch_size, storage)
  queue = tf.FIFOQueue(AHEAD, [tf.uint8], [[batch_size, RECORD_BYTES]])
  read = tf.numpy_function(lambda: next(reads)[0], [], tf.uint8)
  tf.train.add_queue_runner(tf.train.QueueRunner(queue, [queue.enqueue([read])]))
  return _through_queue(queue, AHEAD, queue.dequeue())


def _two_queues(paths, batch_size, storage):
  """Way 3: a queue of file names; threads that each take a name, read that file, take the next."""
  names = tf.train.string_input_producer(paths, shuffle=True)
  capacity = AHEAD * batch_size
  queue = tf.RandomShuffleQueue(capacity, batch_size, [tf.uint8], [[RECORD_BYTES]])
  enqueue_ops = []
  for _ in range(READERS):
    _, values = tf.FixedLengthRecordReader(RECORD_BYTES).read_up_to(names, batch_size)
    records = tf.numpy_function(storage.deliver, [tf.decode_raw(values, tf.uint8)], tf.uint8)
    enqueue_ops.append(queue.enqueue_many([tf.ensure_shape(records, [None, RECORD_BYTES])]))
  tf.train.add_queue_runner(tf.train.QueueRunner(queue, enqueue_ops))
  return _through_queue(queue, capacity, queue.dequeue_many(batch_size))


# Name, as the table has it; the picture says more.
HEADINGS = ('1  Read a batch, then compute on it, in turn',
            '2  One thread reads ahead into a queue in memory',
            '3  A queue of file names lets %d threads read ahead' % READERS)
WAYS = {
    '1  in turn, no queue': _in_turn,
    '2  one thread, one queue': _memory_queue,
    '3  queue of file names': _two_queues,
}


def measure(name, trainer, batches, storage, steps, batch_size):
  """Trains on a number of batches and notes who was at work when.

  Args:
    name: of the way.
    trainer: a Trainer.
    batches: iterator of (records, fullness).
    storage: the Storage that `batches` reads from.
    steps: how many to train.
    batch_size: pictures a step.

  Returns:
    A Result.
  """
  begin = time.perf_counter()
  spans, fullness = [], []
  for _ in range(steps):
    records, full = next(batches)
    computing = time.perf_counter()
    trainer.step(records)
    spans.append((computing, time.perf_counter()))
    fullness.append(full)
  end = spans[-1][1]
  busy = sum(last - first for first, last in spans)
  def since(pairs):
    return [(first - begin, last - begin) for first, last in pairs]
  return Result(name, since(storage.spans), since(spans), steps * batch_size / (end - begin),
                1 - busy / (end - begin), float(np.mean(fullness)))


def compare(paths, read_ms, steps, batch_size):
  """Measures compute alone, then the three ways.

  Args:
    paths: binary files of CIFAR-10.
    read_ms: milliseconds that the storage takes for a batch.
    steps: of training, each.
    batch_size: pictures a step.

  Returns:
    Four Results, compute alone first.
  """
  trainer = Trainer(batch_size)
  still = Storage(0)
  batch = next(_in_turn(paths, batch_size, still))
  for _ in range(WARM_UP_STEPS):
    trainer.step(batch[0])
  alone = measure('compute alone', trainer, iter(lambda: batch, None), Storage(0), steps,
                  batch_size)
  results = [alone]
  for name, way in WAYS.items():
    storage = Storage(read_ms)
    with tf.Graph().as_default():
      batches = way(paths, batch_size, storage)
      results.append(measure(name, trainer, batches, storage, steps, batch_size))
      batches.close()  # ends the session, and with it the threads
  return results


def table(results):
  """Returns the results as lines of text."""
  lines = ['%-24s %9s %12s %12s %14s' % ('', 'images/s', 'of compute', 'compute idle',
                                        'queue fullness')]
  for result in results:
    lines.append('%-24s %9.0f %11.0f%% %11.0f%% %14s' % (
        result.name, result.images_per_sec,
        100 * result.images_per_sec / results[0].images_per_sec, 100 * result.idle,
        '-' if np.isnan(result.fullness) else '%.2f' % result.fullness))
  return '\n'.join(lines)


def _lanes(spans):
  """Returns for each (begin, end), by ascending begin, the first lane that is free then."""
  free, lanes = [], []
  for begin, end in spans:
    lane = next((i for i, until in enumerate(free) if until <= begin), len(free))
    free[lane:lane + 1] = [end]
    lanes.append(lane)
  return lanes


def draw(results, path):
  """Draws reader and compute of each way as bars over one axis of time, into a PNG file."""
  import matplotlib
  matplotlib.use('Agg')
  from matplotlib import pyplot
  alone, ways = results[0], results[1:]
  until = 2 * SHOWN_STEPS * alone.steps[-1][1] / len(alone.steps)  # seconds
  figure, axes = pyplot.subplots(len(ways), sharex=True, figsize=(11, 6.4))
  for axis, result, heading in zip(axes, ways, HEADINGS, strict=True):
    done = sum(last <= until for _, last in result.steps)
    reads = sorted(result.reads)
    lanes = _lanes(reads)
    height = 0.72 / (max(lanes) + 1)
    for (first, last), lane in zip(reads, lanes, strict=True):
      axis.barh(0.64 + height * (lane + 0.5), last - first, left=first, height=height,
                color='#f2a03d', edgecolor='white')
    for number, (first, last) in enumerate(result.steps):
      axis.barh(0, last - first, left=first, height=0.72, color='#3572b0', edgecolor='white')
      if last <= until:
        axis.text((first + last) / 2, 0, number + 1, color='white', ha='center', va='center',
                  fontsize=8)
    axis.set(yticks=[0, 1], yticklabels=['computing', 'reading'], ylim=(-0.5, 1.5),
             xlim=(0, until))
    axis.set_title('%s:  %d batches done, computing waits %d%% of the time'
                   % (heading, done, round(100 * result.idle)), loc='left', fontsize=11)
    for side in 'top', 'right', 'left':
      axis.spines[side].set_visible(False)
    axis.tick_params(left=False)
  axes[-1].set_xlabel('seconds')
  figure.suptitle('Three ways to feed the same network, measured: a bar is one batch', fontsize=14)
  figure.tight_layout()
  figure.savefig(path, dpi=80)
  pyplot.close(figure)


def main(argv):
  del argv
  data_dir = FLAGS.feeding_data
  if not data_dir:
    data_dir = os.path.join(tempfile.gettempdir(), 'cifar10_sample')
    cifar10_sample.make_sample(data_dir)
  paths = cifar10_input.data_files(data_dir)
  cifar10_input.count_records(paths)
  print('Three ways to feed a trainer; reading takes %g ms a batch.' % FLAGS.read_ms, flush=True)
  results = compare(paths, FLAGS.read_ms, FLAGS.feeding_steps, FLAGS.feeding_batch)
  print(table(results))
  draw(results, FLAGS.timeline)
  print('Who worked when: %s' % FLAGS.timeline)


if __name__ == '__main__':
  cifar10_app.run(main)
