"""Reads CIFAR-10's binary files through two queues: file names in one, records in the other.

  filename queue -> readers -> record queue -> batch -> distortion -> batch queue

A thread that reads waits for the disk; a thread that trains waits for the processor. With a queue
between them neither waits for the other, as long as it is neither empty nor full. Records wait as
they are stored, 3,073 bytes each, and are distorted when their batch is due: that takes less than
half of the memory of ready pictures, and every epoch distorts them afresh.

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

import numpy as np

from cifar10_lib.dataset import augmentation
from cifar10_lib.dataset import download
from cifar10_lib.common.programs import Failure
from cifar10_lib.dataset.download import (
    DIRECTORY, LABEL_BYTES, RECORD_BYTES, TEST_FILE, TRAIN_FILES)
from cifar10_lib.common.tf1 import tf

NUM_CLASSES = 10
NUM_EXAMPLES_PER_EPOCH_FOR_TRAIN = 50000
NUM_EXAMPLES_PER_EPOCH_FOR_EVAL = 10000
HEIGHT, WIDTH, DEPTH = 32, 32, 3  # pixels, pixels, channels; stored as planes: red, green, blue
IMAGE_SIZE = augmentation.IMAGE_SIZE

# The queues.
READ_RECORDS = 512  # records a call: enough to make a call cheap, few enough to mix files well
SHUFFLE_FRACTION = 0.4  # of an epoch waits in the record queue before one is drawn; the tutorial's
MAX_SHUFFLE_RECORDS = 20000  # records, 61 MB; the tutorial's count
READERS = 2  # threads, each in a file of its own, so that batches mix files from the start
DISTORTERS = 2  # threads; a batch takes one of them 4 ms, a step 80 on two cores
BATCHES_AHEAD = 4  # ready batches, 0.9 MB each at 128 pictures


class CIFAR10Record(NamedTuple):
  """One record; every field but the first three is a tensor."""
  height: int  # pixels
  width: int  # pixels
  depth: int  # channels
  key: tf.Tensor  # string []: 'file:index'
  label: tf.Tensor  # int32 []: 0..9
  uint8image: tf.Tensor  # uint8 [height, width, depth]


def split_records(records):
  """Takes records apart.

  Args:
    records: uint8 [B, RECORD_BYTES].

  Returns:
    images uint8 [B, HEIGHT, WIDTH, DEPTH] and labels int32 [B].
  """
  planes = tf.reshape(records[:, LABEL_BYTES:], [-1, DEPTH, HEIGHT, WIDTH])
  return tf.transpose(planes, [0, 2, 3, 1]), tf.cast(records[:, 0], tf.int32)


def read_cifar10(filename_queue):
  """Reads one record.

  Several calls read in parallel from several places in the files.

  Args:
    filename_queue: a queue of strings, paths of binary files.

  Returns:
    A CIFAR10Record. Running a tensor of it reads the next record, and raises OutOfRangeError after
    the last.
  """
  key, value = tf.FixedLengthRecordReader(RECORD_BYTES).read(filename_queue)
  record = tf.ensure_shape(tf.decode_raw(value, tf.uint8), [RECORD_BYTES])
  images, labels = split_records(record[tf.newaxis])
  return CIFAR10Record(HEIGHT, WIDTH, DEPTH, key, labels[0], images[0])


def _decode(records):
  """Decodes strings [B] of RECORD_BYTES: uint8 [B, RECORD_BYTES]."""
  return tf.ensure_shape(tf.decode_raw(records, tf.uint8), [None, RECORD_BYTES])


def _read_records(filename_queue, begin, end):
  """Reads up to READ_RECORDS records at once: strings [N] of RECORD_BYTES.

  Args:
    filename_queue: a queue of paths.
    begin, end: the first record of each file to read, and the one before which to stop; None for
      the end of the file.
  """
  # Not footer_bytes for the end: the reader would copy as much anew for every record that it reads.
  reader = tf.FixedLengthRecordReader(RECORD_BYTES, header_bytes=begin * RECORD_BYTES)
  keys, records = reader.read_up_to(filename_queue, READ_RECORDS)
  wrong = _decode(records)[:, 0] >= NUM_CLASSES  # [N]
  first_wrong = keys[tf.argmax(tf.cast(wrong, tf.int32))]
  sound = tf.Assert(tf.logical_not(tf.reduce_any(wrong)),
                    ['label out of range 0..9, first at', first_wrong])
  with tf.control_dependencies([sound]):
    if end is None:
      return tf.identity(records)
    index = tf.strings.regex_replace(keys, '^.*:', '')  # a key is 'file:index', begin's being 0
    return tf.boolean_mask(records, tf.strings.to_number(index, tf.int32) < end - begin)


def count_records(paths):
  """Returns how many records each of the files holds, by their sizes.

  Raises:
    Failure: a file is missing, empty, or not a whole number of records.
  """
  counts = []
  for path in paths:
    if not os.path.isfile(path):
      raise Failure('%s: no such file. Pass the directory that holds %s as data_dir.'
                    % (path, DIRECTORY))
    size = os.path.getsize(path)
    if size == 0 or size % RECORD_BYTES:
      raise Failure('%s: %d bytes is not a whole number of records of %d bytes. Move it away and '
                    'fetch the data set again.' % (path, size, RECORD_BYTES))
    counts.append(size // RECORD_BYTES)
  return counts


def total_records(paths, skip=(0, 0)):
  """Returns how many records files hold together, without those to skip of each."""
  return sum(count_records(paths)) - len(paths) * sum(skip)


def class_names(data_dir):
  """Returns the ten names of the classes in a data directory, by label."""
  return download.class_names(os.path.join(data_dir, DIRECTORY))


def read_pictures(paths, skip, numbers):
  """Reads single pictures, without a queue.

  Args:
    paths: files of records.
    skip: records that do not count at the begin and at the end of each file.
    numbers: int [M], which records to read, counted over all files in their order.

  Returns:
    uint8 [M, HEIGHT, WIDTH, DEPTH].
  """
  kept = [np.memmap(path, np.uint8, 'r').reshape(-1, RECORD_BYTES) for path in paths]
  kept = [records[skip[0]:len(records) - skip[1]] for records in kept]
  begins = np.cumsum([0] + [len(records) for records in kept])
  pictures = np.empty([len(numbers), HEIGHT, WIDTH, DEPTH], np.uint8)
  for picture, number in zip(pictures, numbers, strict=True):
    file = np.searchsorted(begins, number, side='right') - 1
    planes = kept[file][number - begins[file], LABEL_BYTES:].reshape(DEPTH, HEIGHT, WIDTH)
    picture[:] = planes.transpose(1, 2, 0)
  return pictures


def data_files(data_dir, eval_data=False):
  """Returns the paths of the training files, or, for `eval_data`, of the test file alone."""
  names = [TEST_FILE] if eval_data else TRAIN_FILES
  return [os.path.join(data_dir, DIRECTORY, name) for name in names]


def hold_out(paths, validation_examples):
  """Splits training files in two: the last records of each are held out, for validation.

  Choices (of a rate, of a distortion) are made by the held-out part; made by the test file, they
  would fit the test file.

  Args:
    paths: training files.
    validation_examples: records to hold out, a whole number a file.

  Returns:
    (training, validation): each the records to skip at the begin and at the end of every file.

  Raises:
    Failure: the records cannot be split so.
  """
  counts = count_records(paths)
  each, rest = divmod(validation_examples, len(paths))
  if rest or each >= min(counts):
    raise Failure('--validation_examples=%d cannot be held out of %d files of %d records. Take a '
                  'multiple of %d, less than %d.' % (validation_examples, len(paths), min(counts),
                                                     len(paths), len(paths) * min(counts)))
  if each and min(counts) != max(counts):
    raise Failure('--validation_examples=%d needs files of one size; those here have %d to %d '
                  'records.' % (validation_examples, min(counts), max(counts)))
  return (0, each), (min(counts) - each, 0)


def _add_runner(queue, capacity, enqueue_ops):
  """Has one thread an op fill the queue, and shows in TensorBoard how full it is (0 to 1)."""
  tf.train.add_queue_runner(tf.train.QueueRunner(queue, enqueue_ops))
  tf.summary.scalar('fullness', tf.cast(queue.size(), tf.float32) / capacity)


def _record_queue(paths, num_records, batch_size, num_epochs, shuffle, repeatable, readers, skip):
  """Builds the filename queue, the readers and the record queue: strings of RECORD_BYTES.

  Strings are blocks of memory of one size, which take one another's place. Small tensors, which are
  aligned, leave gaps: 45 MiB of them within 400 steps.
  """
  begin = skip[0]
  end = count_records(paths)[0] - skip[1] if skip[1] else None
  filename_queue = tf.train.string_input_producer(
      paths, num_epochs=num_epochs, shuffle=shuffle, name='filename_queue')
  with tf.name_scope('record_queue'):
    spare = READ_RECORDS + batch_size  # room to read on while a batch is drawn
    if shuffle:
      least = min(MAX_SHUFFLE_RECORDS, int(SHUFFLE_FRACTION * num_records))
      # A draw is among the records that the queue holds just then, so it repeats only if that
      # number does. With room for one more than the least, the queue is full at every draw.
      capacity = least + (1 if repeatable else spare)
      queue = tf.RandomShuffleQueue(capacity, least, [tf.string], [[]])
    else:
      capacity = spare
      queue = tf.FIFOQueue(capacity, [tf.string], [[]])
    _add_runner(queue, capacity,
                [queue.enqueue_many([_read_records(filename_queue, begin, end)])
                 for _ in range(readers)])
  return queue


def _batch_queue(record_queue, prepare, batch_size, num_epochs, threads, draws):
  """Builds the distortion and the batch queue; returns `draws` batches of it, images and labels."""
  with tf.name_scope('batch_queue'):
    # Only input that ends has a last batch, which may be smaller.
    dequeue = record_queue.dequeue_many if num_epochs is None else record_queue.dequeue_up_to
    queue = tf.FIFOQueue(BATCHES_AHEAD * draws, [tf.float32, tf.int32])
    images, labels = split_records(_decode(dequeue(batch_size)))
    images = prepare(images)  # [B, IMAGE_SIZE, IMAGE_SIZE, DEPTH]
    _add_runner(queue, BATCHES_AHEAD * draws, [queue.enqueue([images, labels])] * threads)
    shapes = images.shape, labels.shape
    return [tuple(map(tf.ensure_shape, queue.dequeue(), shapes)) for _ in range(draws)]


def batches(paths, batch_size, prepare, num_epochs=None, shuffle=False, repeatable=False,
            readers=READERS, distorters=DISTORTERS, skip=(0, 0), draws=None):
  """Builds the whole path from files to a batch, on the CPU.

  Args:
    paths: binary files to read.
    batch_size: pictures a batch.
    prepare: function from uint8 [B, HEIGHT, WIDTH, DEPTH] to float32
      [B, IMAGE_SIZE, IMAGE_SIZE, DEPTH], run on whole batches.
    num_epochs: how often to read each file; None for without end. With a number, tensors of a
      batch have an unknown first dimension, every record comes exactly `num_epochs` times, and
      then the batch raises OutOfRangeError. It needs `tf.local_variables_initializer()`.
    shuffle: whether to mix the records; else they come in the order of the files.
    repeatable: whether, given the graph's seed, shuffled batches repeat from run to run. One
      thread reads and one distorts then.
    readers, distorters: threads that read, and that prepare batches, if records are shuffled and
      need not repeat; one of each otherwise.
    skip: records to leave out at the begin and at the end of each file; at the end, of files of
      one size.
    draws: how many batches a step takes, each with images of its own; None for one.

  Returns:
    images float32 [batch_size, IMAGE_SIZE, IMAGE_SIZE, DEPTH] and labels int32 [batch_size]; for
    a number of draws, a list of so many of these pairs.

  Raises:
    Failure: a file is missing, empty, or not a whole number of records.
  """
  num_records = total_records(paths, skip)
  if not shuffle or repeatable:
    readers = distorters = 1
  with tf.name_scope('input'), tf.device('/cpu:0'):
    record_queue = _record_queue(paths, num_records, batch_size, num_epochs, shuffle, repeatable,
                                 min(readers, len(paths)), skip)
    drawn = _batch_queue(record_queue, prepare, batch_size, num_epochs, distorters, draws or 1)
  return drawn[0] if draws is None else drawn


def _progress(max_steps, steps_a_batch):
  """Builds how far training is, by the batches made.

  The global step is behind what waits in the queues, now by more, now by less. By a count of its
  own the input makes the same batches in every run with one seed, and that of step n for step n.

  Args:
    max_steps: of the whole training.
    steps_a_batch: by how much the global step goes on while this input makes one batch.

  Returns:
    Two float32 scalars, 0 to 1: as it is; and for one batch more, which is counted then.
  """
  step = tf.train.get_or_create_global_step()
  made = tf.Variable(lambda: tf.cast(step, tf.float64) / steps_a_batch, name='batches_made',
                     trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES])
  return [tf.cast(count * (steps_a_batch / max_steps), tf.float32)
          for count in (made, made.assign_add(1) - 1)]


def distorted_inputs(data_dir, batch_size, num_epochs=None, shuffle=True, repeatable=False,
                     augment=augmentation.TUTORIAL, readers=READERS, distorters=DISTORTERS,
                     skip=(0, 0), draws=None, max_steps=None, steps_a_batch=None):
  """Builds shuffled and distorted batches of the training files.

  Args:
    data_dir: directory that holds DIRECTORY.
    batch_size, num_epochs, shuffle, repeatable, readers, distorters, skip, draws: as for `batches`.
    augment: how to distort, as `augmentation.parse` returns it. For strengths that change, run
      `tf.local_variables_initializer()` once the global step has its value.
    max_steps: steps of the whole training, over which strengths change; None: they stay what they
      are at first.
    steps_a_batch: by how much the global step goes on while this input makes one batch; 1 / draws
      if not given.

  Returns:
    As `batches`.
  """
  changing = [(name, strength) for name, strength in augment
              if isinstance(strength, augmentation.Change)]

  def prepare(images):
    progress = 0.0
    if changing and max_steps:
      now, progress = _progress(max_steps, steps_a_batch or 1 / (draws or 1))
      for name, strength in changing:
        for number in augmentation.strength_at(name, strength, now):
          tf.summary.scalar(name, number)
    return augmentation.distort(images, augment, progress=progress)
  return batches(data_files(data_dir), batch_size, prepare, num_epochs, shuffle, repeatable,
                 readers, distorters, skip, draws)


def inputs(eval_data, data_dir, batch_size, num_epochs=None, skip=(0, 0), views=1):
  """Builds batches for evaluation, in the order of the files.

  Args:
    eval_data: whether to read the test file; else the training files.
    data_dir: directory that holds DIRECTORY.
    batch_size, num_epochs, skip: as for `batches`.
    views: of each picture, as for `augmentation.views`.

  Returns:
    As `batches`, with images [views * batch_size, ...], view by view.
  """
  prepare = functools.partial(augmentation.evaluate, count=views)
  return batches(data_files(data_dir, eval_data), batch_size, prepare, num_epochs, skip=skip)
