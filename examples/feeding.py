"""Three ways to feed a trainer, with the same files and the same training step, measured and drawn.

  python examples/feeding.py --read_ms=100 --data_dir=cifar10_data/

  1  read, then compute, in turn: a step takes the sum of both
  2  a queue in memory, which a thread fills: a step takes the longer of both
  3  a queue of file names before it, for several threads, each in a file of its own, and many
     epochs: a step takes as long as computing, though one thread alone may read too slowly for that

Without --data_dir a sample data set is drawn. Records pass through Python on their way from input
to training, so that waiting and computing can be told apart: what lies between two runs of the
training step is waiting. A batch of 0.4 MB takes some 0.1 ms for the detour.
"""
import contextlib
import itertools
import os
import sys
import tempfile
import time
from typing import NamedTuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # the rooms

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

import cifar10  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.dataset import augmentation  # noqa: E402
import cifar10_input  # noqa: E402
from cifar10_lib.dataset import sample  # noqa: E402
from cifar10_lib.common.programs import Failure  # noqa: E402
from cifar10_lib.dataset.download import RECORD_BYTES  # noqa: E402
from cifar10_lib.common.tf1 import reason, tf  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_float('read_ms', None, 'Milliseconds that the storage takes to deliver a batch; if '
                   'not given, 1.5 times as long as a step of training takes here.', lower_bound=0)
flags.DEFINE_integer('feeding_steps', 16, 'Steps of training a round, each way.', lower_bound=2)
flags.DEFINE_string('timeline', 'feeding.png', 'Picture to write.')
for name in 'data_dir', 'batch_size', 'data_url', 'data_sha256':
  flags.declare_key_flag(name)

AHEAD = 4  # batches that wait in memory, at most, in ways 2 and 3
READERS = 3  # threads of way 3
ROUNDS = 3  # taken in turns, so that all ways meet the same drift of the machine's speed
SLOW_READ = 1.5  # steps; the three ways differ then: a batch takes 2.5, 1.5 and 1 of them
WARM_UP_STEPS = 5  # after the first, in which TensorFlow prepares

# Colours of bars, of two shades in turn so that neighbours can be told apart.
READING = '#f2a03d', '#f7c480'
COMPUTING = '#2f6aa8', '#6b9bcb'
WAITING = '#f3c9c6'


class Storage:
  """A storage that takes its time, and notes when it was at work.

  The sample's files come from the machine's memory, in some 0.1 ms a batch. The delay, added to
  that, stands for a disk or a network that takes longer and serves several threads at once.
  """

  def __init__(self, read_ms, batch_size):
    """Takes milliseconds a batch, and pictures a batch."""
    self._seconds = read_ms / 1000 / batch_size  # a record
    self.spans = []  # (begin, end) of each read, seconds of time.perf_counter

  def deliver(self, records):
    """Returns `records`, uint8 [N, RECORD_BYTES], after the delay."""
    begin = time.perf_counter()
    time.sleep(self._seconds * len(records))
    self.spans.append((begin, time.perf_counter()))
    return records


class Trainer:
  """The tutorial's training step on records that are fed."""

  def __init__(self, batch_size):
    with tf.Graph().as_default() as graph:
      self._records = tf.placeholder(tf.uint8, [batch_size, RECORD_BYTES])
      images, labels = cifar10_input.split_records(self._records)
      logits = cifar10.inference(augmentation.distort(images))
      step = tf.train.get_or_create_global_step()
      self._train_op = cifar10.train(cifar10.loss(logits, labels), step, batch_size)
      self._session = tf.Session(graph=graph, config=cifar10.session_config())
      self._session.run(tf.global_variables_initializer())

  def step(self, records):
    """Trains on uint8 [B, RECORD_BYTES]; returns (begin, end), seconds of time.perf_counter."""
    begin = time.perf_counter()
    self._session.run(self._train_op, {self._records: records})
    return begin, time.perf_counter()


# The ways. Each function takes paths, batch size and Storage, and returns an iterator of batches,
# uint8 [B, RECORD_BYTES], and of how full the queue was when the batch was asked for, 0 to 1.


def _in_turn(paths, batch_size, storage):
  """Way 1: a batch is read when it is asked for; there is no queue."""
  data = b''
  for path in itertools.cycle(paths):
    with open(path, 'rb') as file:
      while True:
        data += file.read(batch_size * RECORD_BYTES - len(data))
        if len(data) < batch_size * RECORD_BYTES:
          break  # the rest of the batch is in the next file
        yield storage.deliver(np.frombuffer(data, np.uint8).reshape(batch_size, -1)), np.nan
        data = b''


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
  read = tf.numpy_function(lambda: next(reads)[0], [], tf.uint8)  # [B, RECORD_BYTES]
  tf.train.add_queue_runner(tf.train.QueueRunner(queue, [queue.enqueue([read])]))
  return _through_queue(queue, AHEAD, queue.dequeue())


def _two_queues(paths, batch_size, storage):
  """Way 3: a queue of file names; threads that each take a name, read that file, take the next.

  So does cifar10_input, without the storage's delay between reader and queue.
  """
  names = tf.train.string_input_producer(paths, shuffle=True)
  capacity = AHEAD * batch_size
  queue = tf.RandomShuffleQueue(capacity, batch_size, [tf.uint8], [[RECORD_BYTES]])
  enqueue_ops = []
  for _ in range(READERS):
    _, values = tf.FixedLengthRecordReader(RECORD_BYTES).read_up_to(names, batch_size)  # [N]
    records = tf.numpy_function(storage.deliver, [tf.decode_raw(values, tf.uint8)], tf.uint8)
    enqueue_ops.append(queue.enqueue_many([tf.ensure_shape(records, [None, RECORD_BYTES])]))
  tf.train.add_queue_runner(tf.train.QueueRunner(queue, enqueue_ops))
  return _through_queue(queue, capacity, queue.dequeue_many(batch_size))


def _alone(paths, batch_size, storage):
  """For comparison: one batch, read in advance, again and again."""
  del storage
  yield from itertools.repeat(next(_in_turn(paths, batch_size, Storage(0, batch_size))))


# Name, as the table has it; the picture says more.
WAYS = {
    'compute alone': _alone,
    '1  in turn, no queue': _in_turn,
    '2  one thread, one queue': _memory_queue,
    '3  queue of file names': _two_queues,
}
HEADINGS = ('1  Read a batch, then compute on it, in turn',
            '2  One thread reads ahead into a queue in memory',
            '3  A queue of file names lets %d threads read ahead' % READERS)


# Measuring.


class Result(NamedTuple):
  """One way, measured."""
  name: str
  reads: list  # (begin, end) seconds since the start, of the quickest round
  steps: list  # (begin, end) seconds since the start, of the quickest round
  step_ms: float  # milliseconds from the end of a step to the end of the next, mean
  compute_ms: float  # of them in training; the rest is waiting
  fullness: float  # of the queue in memory, 0 to 1, mean over steps; NaN without one

  @property
  def idle(self):
    """Share of the time that compute waited."""
    return 1 - self.compute_ms / self.step_ms


def measure(name, trainer, paths, read_ms, steps, batch_size):
  """Trains in one way and notes who was at work when.

  Means leave the first step out: before it no queue holds anything.

  Args:
    name: of the way.
    trainer: a Trainer.
    paths: binary files of CIFAR-10.
    read_ms: milliseconds that the storage takes for a batch.
    steps: how many to train, at least 2.
    batch_size: pictures a step.

  Returns:
    A Result.
  """
  storage = Storage(read_ms, batch_size)
  steps_done, fullness = [], []
  # To close the iterator ends its session, and with it the threads.
  with tf.Graph().as_default(), contextlib.closing(
      WAYS[name](paths, batch_size, storage)) as batches:
    start = time.perf_counter()
    for _ in range(steps):
      records, full = next(batches)
      steps_done.append(trainer.step(records))
      fullness.append(full)
    reads = list(storage.spans)
  def since(spans):
    return [(begin - start, end - start) for begin, end in spans]
  return Result(name, since(reads), since(steps_done),
                1000 * (steps_done[-1][1] - steps_done[0][1]) / (steps - 1),
                1000 * sum(end - begin for begin, end in steps_done[1:]) / (steps - 1),
                float(np.mean(fullness[1:])))


def _mean(rounds):
  """Returns the mean of Results of one way, with the bars of the round least disturbed."""
  step_ms, compute_ms, fullness = np.mean(
      [(result.step_ms, result.compute_ms, result.fullness) for result in rounds], axis=0)
  quickest = min(rounds, key=lambda result: result.steps[-1][1])
  return quickest._replace(step_ms=step_ms, compute_ms=compute_ms, fullness=fullness)


def compare(paths, batch_size, steps, read_ms=None):
  """Measures compute alone and the three ways.

  Args:
    paths: binary files of CIFAR-10.
    batch_size: pictures a step.
    steps: of training a round, each way; at least 2.
    read_ms: milliseconds that the storage takes for a batch; None for SLOW_READ steps.

  Returns:
    Four Results, compute alone first, and the milliseconds.
  """
  trainer = Trainer(batch_size)
  warm_up = measure('compute alone', trainer, paths, 0, 1 + WARM_UP_STEPS, batch_size)
  if read_ms is None:  # on any machine the ways come out apart
    read_ms = SLOW_READ * 1000 * np.median(np.diff(warm_up.steps[1:]))
  rounds = [[measure(name, trainer, paths, read_ms, steps, batch_size) for name in WAYS]
            for _ in range(ROUNDS)]
  return [_mean(results) for results in zip(*rounds, strict=True)], read_ms


# Showing.


def table(results, batch_size):
  """Returns the results as lines of text."""
  lines = ['%-24s %8s %10s %9s = %7s + %9s %6s %10s' % (
      '', 'images/s', 'of compute', 'ms a step', 'waiting', 'computing', 'idle', 'queue')]
  alone = results[0]
  for result in results:
    lines.append('%-24s %8.0f %9.0f%% %9.1f = %7.1f + %9.1f %5.0f%% %10s' % (
        result.name, 1000 * batch_size / result.step_ms, 100 * alone.step_ms / result.step_ms,
        result.step_ms, result.step_ms - result.compute_ms, result.compute_ms, 100 * result.idle,
        '-' if np.isnan(result.fullness) else '%.0f%% full' % (100 * result.fullness)))
  return '\n'.join(lines)


def _lanes(spans):
  """Spreads (begin, end) over as few lists as it takes for those in one not to overlap."""
  lanes = []
  for span in sorted(spans):
    free = [lane for lane in lanes if lane[-1][1] <= span[0]]
    if free:
      free[0].append(span)
    else:
      lanes.append([span])
  return lanes


def _draw_bars(axis, spans, bottom, height, colours):
  axis.broken_barh([(begin, end - begin) for begin, end in spans], (bottom, height),
                   facecolors=[colours[i % 2] for i in range(len(spans))])


def _draw_way(axis, result, heading, until):
  """Draws one way on a time axis of `until` seconds: readers above, the trainer below."""
  end = result.steps[-1][1]
  reads = [(begin, min(done, end)) for begin, done in result.reads if begin < end]
  lanes = _lanes(reads)
  height = 0.8 / max(1, len(lanes))
  for i, lane in enumerate(lanes):
    _draw_bars(axis, lane, 1.8 - (i + 1) * height, 0.9 * height, READING)
  _draw_bars(axis, [(0, end)], 0, 0.8, [WAITING])
  _draw_bars(axis, result.steps, 0, 0.8, COMPUTING)
  for i, (begin, done) in enumerate(result.steps):
    if done - begin > until / 70:  # else there is no room
      axis.text((begin + done) / 2, 0.4, i + 1, color='white', ha='center', va='center', fontsize=8)
  waits = 1 - sum(done - begin for begin, done in result.steps) / end
  axis.set(yticks=[0.4, 1.4], yticklabels=['computing', 'reading'], ylim=(-0.1, 1.9),
           xlim=(0, until))
  axis.set_title('%s:  %d batches in %.1f s, waiting %.0f%% of the time'
                 % (heading, len(result.steps), end, 100 * waits), loc='left', fontsize=11)
  axis.spines[['top', 'right', 'left']].set_visible(False)
  axis.tick_params(left=False)


def draw(results, path):
  """Draws the ways as bars over one axis of time, into a PNG file.

  Args:
    results: as `compare` returns them.
    path: of the file.

  Raises:
    Failure: the file cannot be written.
  """
  import matplotlib
  matplotlib.use('Agg')
  from matplotlib import patches, pyplot
  ways = results[1:]
  until = max(result.steps[-1][1] for result in ways)  # seconds
  figure, axes = pyplot.subplots(len(ways), sharex=True, figsize=(11, 6.6))
  for axis, result, heading in zip(axes, ways, HEADINGS, strict=True):
    _draw_way(axis, result, heading, until)
  axes[-1].set_xlabel('seconds')
  figure.suptitle('Three ways to feed the same network, measured: a bar is one batch', fontsize=14)
  figure.legend(loc='upper center', bbox_to_anchor=(0.5, 0.95), ncols=3, frameon=False, handles=[
      patches.Patch(color=colour, label=label) for colour, label in (
          (READING[0], 'reading'), (COMPUTING[0], 'computing'), (WAITING, 'waiting for a batch'))])
  figure.tight_layout(rect=(0, 0, 1, 0.95))
  try:
    figure.savefig(path, dpi=80, format='png')
  except OSError as error:
    raise Failure('Cannot write %s: %s. Choose another --timeline.'
                  % (path, error.strerror)) from error
  finally:
    pyplot.close(figure)


def _data_dir():
  """Returns the directory of the data set, and fills it if need be."""
  if FLAGS['data_dir'].present:
    cifar10.maybe_download_and_extract()
    return FLAGS.data_dir
  directory = os.path.join(tempfile.gettempdir(), 'cifar10_sample')
  sample.make_sample(directory)
  return directory


def main(argv):
  del argv
  paths = cifar10_input.data_files(_data_dir())
  cifar10_input.count_records(paths)
  print('Three ways to feed a trainer: %d rounds of %d steps, each way ...'
        % (ROUNDS, FLAGS.feeding_steps), flush=True)
  try:
    results, read_ms = compare(paths, FLAGS.batch_size, FLAGS.feeding_steps, FLAGS.read_ms)
  except tf.errors.OpError as error:
    raise Failure('Feeding failed: %s' % reason(error)) from error
  print('Reading a batch of %d takes %.0f ms.' % (FLAGS.batch_size, read_ms))
  print(table(results, FLAGS.batch_size))
  draw(results, FLAGS.timeline)
  print('Who worked when: %s' % FLAGS.timeline)


if __name__ == '__main__':
  programs.run(main)
