"""Reads CIFAR-10's binary files through two queues: file names in one, records in the other.

  filename queue -> readers -> record queue -> batch -> distortion -> batch queue

A queue decouples reading from training: the reader fills it while the trainer drains it, so neither
waits unless the queue runs empty or full. Records are queued as they are stored, 3,073 bytes each,
and are distorted when their batch is due. That takes less than half of the memory of ready
pictures, and every epoch distorts them afresh.

Summary of available functions:

  # Batches for training: shuffled and distorted. Batches for evaluation: in order, centre only.
  images, labels = distorted_inputs(data_dir, batch_size)
  images, labels = inputs(eval_data, data_dir, batch_size)

  # One record a call, the principle at its plainest.
  record = read_cifar10(filename_queue)
"""
import functools
import os
from typing import NamedTuple

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import augmentation, records
from cifar10_lib.dataset.records import DEPTH, HEIGHT, LABEL_BYTES, RECORD_BYTES, WIDTH

IMAGE_SIZE = 24  # pixels; height and width that the network sees, as cuda-convnet's
NUM_CLASSES = 10  # of CIFAR-10 itself; `class_names` are those of the data at hand
NUM_EXAMPLES_PER_EPOCH_FOR_TRAIN = 50000
NUM_EXAMPLES_PER_EPOCH_FOR_EVAL = 10000

READ_RECORDS = 512  # records a call: enough to make a call cheap, few enough to mix files well
SHUFFLE_FRACTION = 0.4  # of an epoch must wait in the record queue before a draw; the tutorial's
MAX_SHUFFLE_RECORDS = 20000  # records, 61 MB; the tutorial's count
READERS = 2  # threads, each in a file of its own, so that batches mix files from the start
DISTORTERS = 2  # threads; one distorts a batch in 3 ms, and a step takes 60 ms on two cores
BATCHES_AHEAD = 4  # ready batches, 0.9 MB each at 128 pictures


class CIFAR10Record(NamedTuple):
  """One record; every field but the first three is a tensor."""
  height: int  # pixels
  width: int  # pixels
  depth: int  # channels
  key: 'tf.Tensor'  # string []: 'file:index'
  label: 'tf.Tensor'  # int32 []: 0..K - 1, of K classes
  uint8image: 'tf.Tensor'  # uint8 [height, width, depth]


class Pipeline(NamedTuple):
  """The settings of the queues that a caller rarely changes."""
  # Whether, given the graph's seed, shuffled batches repeat from run to run. One thread reads and
  # one distorts then.
  repeatable: bool = False
  readers: int = READERS  # threads that read, where records are shuffled and need not repeat
  distorters: int = DISTORTERS  # threads that distort batches, in the same case
  part: records.Part = records.WHOLE  # records to leave out of each file; files have one size then
  batches_per_step: int | None = None  # batches to return, as a list; None: one, not in a list
  # Steps of the whole training, over which strengths change; None: they keep their first value.
  max_steps: int | None = None
  # How far the global step rises while this input makes a batch; None: 1 / batches_per_step.
  steps_per_batch: float | None = None


DEFAULTS = Pipeline()


def split_records(raw):
  """Splits records, uint8 [B, RECORD_BYTES], into pictures and labels.

  Returns images uint8 [B, HEIGHT, WIDTH, DEPTH] and labels int32 [B].
  """
  planes = tf.reshape(raw[:, LABEL_BYTES:], [-1, DEPTH, HEIGHT, WIDTH])
  return tf.transpose(planes, [0, 2, 3, 1]), tf.cast(raw[:, 0], tf.int32)


def read_cifar10(filename_queue):
  """Reads one record of the binary files in a queue of paths; returns a CIFAR10Record.

  Running a tensor of it reads the next record, and raises OutOfRangeError after the last. Several
  calls read in parallel from several places in the files.
  """
  key, value = tf.FixedLengthRecordReader(RECORD_BYTES).read(filename_queue)
  record = tf.ensure_shape(tf.decode_raw(value, tf.uint8), [RECORD_BYTES])
  images, labels = split_records(record[tf.newaxis])
  return CIFAR10Record(HEIGHT, WIDTH, DEPTH, key, labels[0], images[0])


def _decode(strings):
  """Decodes strings [B] of RECORD_BYTES: uint8 [B, RECORD_BYTES]."""
  return tf.ensure_shape(tf.decode_raw(strings, tf.uint8), [None, RECORD_BYTES])


def _read_records(filename_queue, first, end, num_classes):
  """Reads up to READ_RECORDS records at once: strings [N] of RECORD_BYTES.

  Of each file it reads records `first` to `end - 1`; with None for `end`, up to the last. Labels
  must be 0..num_classes - 1.
  """
  # footer_bytes could mark the end, but the reader would copy the footer for every record.
  reader = tf.FixedLengthRecordReader(RECORD_BYTES, header_bytes=first * RECORD_BYTES)
  keys, strings = reader.read_up_to(filename_queue, READ_RECORDS)
  wrong = _decode(strings)[:, 0] > num_classes - 1  # [N]; 256 would not fit into a byte
  first_wrong = keys[tf.argmax(tf.cast(wrong, tf.int32))]
  check = tf.Assert(tf.logical_not(tf.reduce_any(wrong)),
                    ['label out of range 0..%d, first at' % (num_classes - 1), first_wrong])
  with tf.control_dependencies([check]):
    if end is None:
      return tf.identity(strings)
    index = tf.strings.regex_replace(keys, '^.*:', '')  # of 'file:index', counted from `first`
    return tf.boolean_mask(strings, tf.strings.to_number(index, tf.int32) < end - first)


def class_names(data_dir):
  """Returns the names of the classes in a data directory, by label: list of str [K]."""
  return records.class_names(records.find_directory(data_dir))


def _add_runner(queue, capacity, enqueue_ops):
  """Adds a queue runner with one thread for each enqueue op; shows the queue's fullness, 0 to 1."""
  tf.train.add_queue_runner(tf.train.QueueRunner(queue, enqueue_ops))
  tf.summary.scalar('fullness', tf.cast(queue.size(), tf.float32) / capacity)


def _record_queue(paths, batch_size, num_epochs, shuffle, pipeline):
  """Builds the filename queue, the readers and the record queue: strings of RECORD_BYTES.

  Records are queued as strings: equal-sized buffers that the allocator can reuse. Aligned uint8
  tensors would fragment the heap.
  """
  part, num_classes = pipeline.part, len(records.class_names(os.path.dirname(paths[0])))
  end = records.count_records(paths)[0] - part.skip_last if part.skip_last else None
  filename_queue = tf.train.string_input_producer(
      paths, num_epochs=num_epochs, shuffle=shuffle, name='filename_queue')
  with tf.name_scope('record_queue'):
    spare = READ_RECORDS + batch_size  # room to read on while a batch is drawn
    if shuffle:
      waiting = min(MAX_SHUFFLE_RECORDS, int(SHUFFLE_FRACTION * records.total_records(paths, part)))
      # A draw depends on how many records the queue holds. To repeat draws, the capacity is one
      # above the minimum: the queue is then full at every draw.
      capacity = waiting + (1 if pipeline.repeatable else spare)
      queue = tf.RandomShuffleQueue(capacity, waiting, [tf.string], [[]])
    else:
      capacity = spare
      queue = tf.FIFOQueue(capacity, [tf.string], [[]])
    _add_runner(queue, capacity,
                [queue.enqueue_many([
                    _read_records(filename_queue, part.skip_first, end, num_classes)])
                 for _ in range(min(pipeline.readers, len(paths)))])
  return queue


def _batch_queue(record_queue, prepare, batch_size, num_epochs, pipeline):
  """Builds the distortion and the batch queue; returns the batches of a step, images and labels."""
  batches_per_step = pipeline.batches_per_step or 1
  with tf.name_scope('batch_queue'):
    # Only input that ends has a last batch, which may be smaller.
    dequeue = record_queue.dequeue_many if num_epochs is None else record_queue.dequeue_up_to
    capacity = BATCHES_AHEAD * batches_per_step
    queue = tf.FIFOQueue(capacity, [tf.float32, tf.int32])
    images, labels = split_records(_decode(dequeue(batch_size)))
    images = prepare(images)  # [views * B, IMAGE_SIZE, IMAGE_SIZE, DEPTH]
    _add_runner(queue, capacity, [queue.enqueue([images, labels])] * pipeline.distorters)
    shapes = images.shape, labels.shape
    return [tuple(map(tf.ensure_shape, queue.dequeue(), shapes)) for _ in range(batches_per_step)]


def batches(paths, batch_size, prepare, num_epochs=None, shuffle=False, pipeline=DEFAULTS):
  """Builds the whole path from files to a batch, on the CPU.

  Args:
    paths: binary files to read. The names of their classes lie in the directory of the first.
    batch_size: pictures a batch.
    prepare: function from uint8 [B, HEIGHT, WIDTH, DEPTH] to float32
      [V * B, IMAGE_SIZE, IMAGE_SIZE, DEPTH], of V views, run on whole batches.
    num_epochs: how often to read each file; None for without end. With a number, tensors of a
      batch have an unknown first dimension, every record comes exactly `num_epochs` times, and
      then the batch raises OutOfRangeError. It needs `tf.local_variables_initializer()`.
    shuffle: whether to mix the records; else they come in the order of the files.
    pipeline: a Pipeline.

  Returns:
    images float32 [V * batch_size, IMAGE_SIZE, IMAGE_SIZE, DEPTH] and labels int32 [batch_size];
    if `batches_per_step` is a number, a list of that many such pairs.

  Raises:
    Failure: a file is missing, empty, or not a whole number of records.
  """
  records.count_records(paths)
  if not shuffle or pipeline.repeatable:
    pipeline = pipeline._replace(readers=1, distorters=1)
  with tf.name_scope('input'), tf.device('/cpu:0'):
    record_queue = _record_queue(paths, batch_size, num_epochs, shuffle, pipeline)
    step_batches = _batch_queue(record_queue, prepare, batch_size, num_epochs, pipeline)
  return step_batches[0] if pipeline.batches_per_step is None else step_batches


def distorted_inputs(data_dir, batch_size, num_epochs=None, shuffle=True,
                     augment=augmentation.TUTORIAL, pipeline=DEFAULTS):
  """Builds shuffled and distorted batches of the training files, as `batches` returns them.

  Args:
    data_dir: directory of the .bin files, or the one above it.
    batch_size, num_epochs, shuffle, pipeline: as for `batches`.
    augment: how to distort, as `augmentation.parse` returns it. For strengths that change, run
      `tf.local_variables_initializer()` once the global step has its value.
  """
  steps_per_batch = pipeline.steps_per_batch or 1 / (pipeline.batches_per_step or 1)

  def prepare(images):
    progress = augmentation.training_progress(augment, pipeline.max_steps, steps_per_batch)
    return augmentation.distort(images, augment, IMAGE_SIZE, progress)
  return batches(records.data_files(data_dir), batch_size, prepare, num_epochs, shuffle, pipeline)


def inputs(eval_data, data_dir, batch_size, num_epochs=None, part=records.WHOLE, views=1):
  """Builds batches for evaluation, in the order of the files.

  Args:
    eval_data: whether to read the test file; else the training files.
    data_dir, batch_size, num_epochs: as for `distorted_inputs`.
    part: a records.Part, as for `Pipeline`.
    views: of each picture, as for `augmentation.views`.

  Returns:
    As `batches`, with images [views * batch_size, ...], view by view.
  """
  prepare = functools.partial(augmentation.evaluate, size=IMAGE_SIZE, count=views)
  return batches(records.data_files(data_dir, eval_data), batch_size, prepare, num_epochs,
                 pipeline=Pipeline(part=part))
