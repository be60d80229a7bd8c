"""Measures and draws three ways to feed a trainer, with the same files and the same training step.

  python lessons/feeding.py --read_ms=100 --data_dir=cifar10_data/

  1  Read, then compute, in turn. A step takes the sum of both times.
  2  One thread fills a queue in memory. A step takes the longer of both times.
  3  A queue of file names comes before that queue. Several threads read, each in its own file, over
     many epochs. A step takes as long as computing, even if one thread alone reads too slowly.

Without --data_dir the program draws a sample data set. Records pass through Python on their way to
training, so that the program can time them: the time between two runs of the training step is
waiting. The detour takes about 0.1 ms for a batch of 0.4 MB.
"""
import contextlib
import itertools
import os
import sys
import tempfile
import time
from typing import NamedTuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # finds cifar10

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

import cifar10  # noqa: E402
import cifar10_input  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.common.programs import Failure  # noqa: E402
from cifar10_lib.common.tf1 import reason, tf  # noqa: E402
from cifar10_lib.dataset import augmentation, sample  # noqa: E402
from cifar10_lib.dataset.records import RECORD_BYTES, count_records, data_files  # noqa: E402
from cifar10_lib.network import precision  # noqa: E402
from lessons import timeline  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_float('read_ms', None, 'Milliseconds that the storage takes to deliver a batch; if '
                   'not given, 1.5 times the duration of a training step here.', lower_bound=0)
flags.DEFINE_integer('feeding_steps', 16, 'Training steps in a round, for each way.', lower_bound=2)
flags.DEFINE_string('timeline', 'feeding.png', 'Picture to write.')
for name in 'data_dir', 'batch_size', 'data_url', 'data_sha256':
  flags.declare_key_flag(name)

AHEAD = 4  # largest number of batches in the queue of ways 2 and 3
READERS = 3  # threads of way 3
ROUNDS = 3  # the ways take turns, so that the machine's drift affects all of them equally
SLOW_READ = 1.5  # steps; then a batch takes 2.5, 1.5 and 1 steps in the three ways
WARM_UP_STEPS = 5  # after the first step, in which TensorFlow sets itself up


class Storage:
  """Delays each read, and records when it was busy.

  The sample's files come from the machine's memory, in about 0.1 ms a batch. The added delay stands
  for a slower disk or network that serves several threads at once.
  """

  def __init__(self, read_ms, batch_size):
    """Takes the milliseconds for a batch, and the number of pictures in a batch."""
    self._seconds = read_ms / 1000 / batch_size  # for one record
    self.spans = []  # (begin, end) of each read, seconds of time.perf_counter

  def deliver(self, records):
    """Returns `records`, uint8 [N, RECORD_BYTES], after the delay."""
    begin = time.perf_counter()
    time.sleep(self._seconds * len(records))
    self.spans.append((begin, time.perf_counter()))
    return records


class Trainer:
  """Runs the tutorial's training step on records that the caller feeds."""

  def __init__(self, batch_size, num_classes):
    with tf.Graph().as_default() as graph:
      self._records = tf.placeholder(tf.uint8, [batch_size, RECORD_BYTES])
      images, labels = cifar10_input.split_records(self._records)
      logits = cifar10.inference(augmentation.distort(images), num_classes=num_classes)
      step = tf.train.get_or_create_global_step()
      self._train_op = cifar10.train(cifar10.loss(logits, labels), step, batch_size)
      self._session = tf.Session(graph=graph, config=precision.session_config())
      self._session.run(tf.global_variables_initializer())

  def step(self, records):
    """Trains on uint8 [B, RECORD_BYTES]; returns (begin, end) in seconds of time.perf_counter."""
    begin = time.perf_counter()
    self._session.run(self._train_op, {self._records: records})
    return begin, time.perf_counter()


# The ways. Each function takes paths, batch size and Storage. It returns an iterator of pairs: a
# batch, uint8 [B, RECORD_BYTES], and the fullness of the queue before its dequeue, 0 to 1.


def _in_turn(paths, batch_size, storage):
  """Reads a batch when the trainer asks for it, without a queue: way 1."""
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
  """Starts the threads; returns an iterator of batches and of the fullness of the queue."""
  fullness = tf.cast(queue.size(), tf.float32) / capacity
  # The session has its own threads, because a thread that sleeps in a read must not block training.
  config = tf.ConfigProto(use_per_session_threads=True, inter_op_parallelism_threads=READERS + 1)
  # This starts the queue runners. They read from now on.
  session = tf.train.MonitoredTrainingSession(config=config)
  def batches():
    with session:  # stops the queue runners at the end
      while True:
        full = session.run(fullness)
        yield session.run(records), full
  return batches()


def _memory_queue(paths, batch_size, storage):
  """Reads as way 1 does, in a thread that puts the batches into a queue: way 2."""
  reads = _in_turn(paths, batch_size, storage)
  queue = tf.FIFOQueue(AHEAD, [tf.uint8], [[batch_size, RECORD_BYTES]])
  read = tf.numpy_function(lambda: next(reads)[0], [], tf.uint8)  # [B, RECORD_BYTES]
  tf.train.add_queue_runner(tf.train.QueueRunner(queue, [queue.enqueue([read])]))
  return _through_queue(queue, AHEAD, queue.dequeue())


def two_queues(paths, batch_size, storage, capacity, num_epochs=None):
  """Builds a queue of file names, and a queue of records that several threads fill.

  Each thread takes a name, reads that file to its end, and takes the next name. cifar10_input does
  the same, without the storage's delay between reader and record queue.

  Args:
    batch_size: records a read; as many at least wait in the record queue for a draw.
    storage: a Storage.
    capacity: records that the record queue holds.
    num_epochs: how often to read each file; None for without end.

  Returns:
    The two queues.
  """
  names = tf.train.string_input_producer(paths, num_epochs=num_epochs, shuffle=True)
  queue = tf.RandomShuffleQueue(capacity, batch_size, [tf.uint8], [[RECORD_BYTES]])
  enqueue_ops = []
  for _ in range(READERS):
    _, values = tf.FixedLengthRecordReader(RECORD_BYTES).read_up_to(names, batch_size)  # [N]
    records = tf.numpy_function(storage.deliver, [tf.decode_raw(values, tf.uint8)], tf.uint8)
    enqueue_ops.append(queue.enqueue_many([tf.ensure_shape(records, [None, RECORD_BYTES])]))
  tf.train.add_queue_runner(tf.train.QueueRunner(queue, enqueue_ops))
  return names, queue


def _through_two_queues(paths, batch_size, storage):
  """Reads with several threads that take file names from a queue: way 3."""
  capacity = AHEAD * batch_size
  _, queue = two_queues(paths, batch_size, storage, capacity)
  return _through_queue(queue, capacity, queue.dequeue_many(batch_size))


def _alone(paths, batch_size, storage):
  """Repeats one batch that was read in advance, to measure computing alone."""
  del storage
  yield from itertools.repeat(next(_in_turn(paths, batch_size, Storage(0, batch_size))))


WAYS = {
    'compute alone': _alone,
    '1  in turn, no queue': _in_turn,
    '2  one thread, one queue': _memory_queue,
    '3  queue of file names': _through_two_queues,
}


class Result(NamedTuple):
  """The measurements of one way."""
  name: str
  reads: list  # (begin, end) in seconds since the start, of the fastest round
  steps: list  # (begin, end) in seconds since the start, of the fastest round
  step_ms: float  # mean milliseconds from the end of a step to the end of the next
  compute_ms: float  # the part of step_ms in the training step; the rest is waiting
  fullness: float  # mean fullness of the queue in memory, 0 to 1; NaN without a queue


def measure(name, trainer, paths, read_ms, steps, batch_size):
  """Trains in one way and records when the reader and the trainer were busy.

  The means leave out the first step, because the queues are empty before it.

  Args:
    name: a key of WAYS.
    trainer: a Trainer.
    paths: binary files of CIFAR-10.
    read_ms: milliseconds that the storage takes for a batch.
    steps: number of training steps, at least 2.
    batch_size: pictures in a step.

  Returns:
    A Result.
  """
  storage = Storage(read_ms, batch_size)
  steps_done, fullness = [], []
  # Closing the iterator ends its session and the threads.
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
  """Returns the mean of the Results of one way, with the bars of the fastest round."""
  step_ms, compute_ms, fullness = np.mean(
      [(result.step_ms, result.compute_ms, result.fullness) for result in rounds], axis=0)
  fastest = min(rounds, key=lambda result: result.steps[-1][1])
  return fastest._replace(step_ms=step_ms, compute_ms=compute_ms, fullness=fullness)


def compare(paths, batch_size, steps, read_ms=None, rounds=ROUNDS):
  """Measures compute alone and the three ways.

  Args:
    paths: binary files of CIFAR-10.
    batch_size: pictures in a step.
    steps: training steps in a round, for each way; at least 2.
    read_ms: milliseconds that the storage takes for a batch; None for SLOW_READ steps.
    rounds: how often to measure each way; the ways take turns.

  Returns:
    Four Results, compute alone first, and the milliseconds of a read.
  """
  names = cifar10_input.class_names(os.path.dirname(paths[0]))
  trainer = Trainer(batch_size, len(names))
  warm_up = measure('compute alone', trainer, paths, 0, 1 + WARM_UP_STEPS, batch_size)
  if read_ms is None:  # so the ways differ clearly on any machine
    read_ms = SLOW_READ * 1000 * np.median(np.diff(warm_up.steps[1:]))
  found = [[measure(name, trainer, paths, read_ms, steps, batch_size) for name in WAYS]
           for _ in range(rounds)]
  return [_mean(results) for results in zip(*found, strict=True)], read_ms


def table(results, batch_size):
  """Returns the results as a table in plain text."""
  lines = ['%-24s %8s %9s = %7s + %9s %10s' % (
      '', 'images/s', 'ms a step', 'waiting', 'computing', 'queue')]
  for result in results:
    lines.append('%-24s %8.0f %9.1f = %7.1f + %9.1f %10s' % (
        result.name, 1000 * batch_size / result.step_ms, result.step_ms,
        result.step_ms - result.compute_ms, result.compute_ms,
        '-' if np.isnan(result.fullness) else '%.0f%% full' % (100 * result.fullness)))
  return '\n'.join(lines)


def _data_dir():
  """Returns the directory of the data set, after filling it where necessary."""
  if FLAGS['data_dir'].present:
    cifar10.maybe_download_and_extract()
    return FLAGS.data_dir
  directory = os.path.join(tempfile.gettempdir(), 'cifar10_sample')
  sample.make_sample(directory)
  return directory


def main(argv):
  del argv
  paths = data_files(_data_dir())
  count_records(paths)  # fails if a file is damaged
  print('Three ways to feed a trainer: %d rounds of %d steps, each way ...'
        % (ROUNDS, FLAGS.feeding_steps), flush=True)
  try:
    results, read_ms = compare(paths, FLAGS.batch_size, FLAGS.feeding_steps, FLAGS.read_ms)
  except tf.errors.OpError as error:
    raise Failure('Feeding failed: %s' % reason(error)) from error
  print('Reading a batch of %d takes %.0f ms.' % (FLAGS.batch_size, read_ms))
  print(table(results, FLAGS.batch_size))
  timeline.write(results, FLAGS.timeline)
  print('Who worked when: %s' % FLAGS.timeline)


if __name__ == '__main__':
  programs.run(main)
