"""Describes CIFAR-10's binary files, checks them, counts and splits their records, reads pictures.

A record is one label byte, then one picture: 32x32 red values row by row, then green, then blue.
https://www.cs.toronto.edu/~kriz/cifar.html describes the format.
"""
import os
from typing import NamedTuple

import numpy as np

from cifar10_lib.common.programs import Failure, printable

DIRECTORY = 'cifar-10-batches-bin'
TRAIN_FILES = ['data_batch_%d.bin' % i for i in range(1, 6)]
TEST_FILE = 'test_batch.bin'
META_FILE = 'batches.meta.txt'  # the class names by label, one per line
README_FILE = 'readme.html'
BIN_FILES = TRAIN_FILES + [TEST_FILE]
FILES = BIN_FILES + [META_FILE, README_FILE]
CLASS_NAMES = ['airplane', 'automobile', 'bird', 'cat', 'deer',
               'dog', 'frog', 'horse', 'ship', 'truck']
MIN_CLASSES, MAX_CLASSES = 2, 256  # a label is one byte
HEIGHT, WIDTH, DEPTH = 32, 32, 3  # pixels, pixels, channels
LABEL_BYTES = 1
IMAGE_BYTES = DEPTH * HEIGHT * WIDTH
RECORD_BYTES = LABEL_BYTES + IMAGE_BYTES
CIFAR100_RECORD_BYTES = RECORD_BYTES + 1  # a coarse label before the fine one
MAX_BIN_BYTES = 4 << 30  # 1.4 million records in one file; checking its labels takes some seconds
MAX_META_BYTES = 1 << 20
MAX_NAME = 50       # characters of a class's name
CHECKED_AT_ONCE = 128  # records; 393 kB stay in the cache of the processor


class Part(NamedTuple):
  """The records of each file that are left out; the others are the part."""
  skip_first: int = 0  # records at the start of each file
  skip_last: int = 0   # records at the end of each file


WHOLE = Part()


def _way_out(directory):
  """Says what to do about missing data; names another CIFAR version in or beside `directory`."""
  for name in 'cifar-10-batches-py', 'cifar-100-binary', 'cifar-100-python':
    for place in directory, os.path.dirname(os.path.abspath(directory)):
      found = os.path.join(place, name)
      if os.path.exists(found):
        return 'Found %s; this program needs the BINARY version of CIFAR-10.' % found
  return 'Run cifar10_train.py to fetch CIFAR-10, or choose another --data_dir.'


def is_html(head):
  """Tells whether a file that starts with the bytes `head` is an HTML page (bool)."""
  return head.lstrip().lower().startswith((b'<!doctype', b'<html', b'<?xml'))


def _size_problem(size, head):
  """Returns why a file of `size` bytes that starts with `head` holds no whole records, or ''."""
  if is_html(head):
    return 'an HTML page (an error page of a web server?), not pictures'
  count, rest = divmod(size, RECORD_BYTES)
  if not rest:
    return '' if count else 'empty'
  problem = '%d bytes is not a multiple of %d (%d records + %d bytes)' % (
      size, RECORD_BYTES, count, rest)
  if size % CIFAR100_RECORD_BYTES == 0:
    problem += '; is this CIFAR-100 (%d-byte records)?' % CIFAR100_RECORD_BYTES
  return problem


def _first_wrong_label(file, num_classes):
  """Returns (record, label) of the first label that is too large in an open file, or None.

  It reads blocks instead of mapping the file, because a mapped file that becomes shorter ends the
  process by SIGBUS.
  """
  buffer = np.empty(CHECKED_AT_ONCE * RECORD_BYTES, np.uint8)
  start = 0
  while size := file.readinto(buffer):
    labels = buffer[:size:RECORD_BYTES]
    wrong = np.flatnonzero(labels >= num_classes)
    if wrong.size:
      return start + wrong[0], labels[wrong[0]]
    start += len(labels)
  return None


def _check_file(path, num_classes):
  """Returns the number of records in a .bin file; raises Failure if the file is not sound."""
  if not os.path.isfile(path):
    what = 'is not a regular file' if os.path.lexists(path) else 'is missing'
    raise Failure('%s %s. %s' % (path, what, _way_out(os.path.dirname(path))))
  try:
    size = os.path.getsize(path)
    if size > MAX_BIN_BYTES:
      raise Failure('%s has %d MB, more than the limit of %d MB.' % (
          path, size / 1e6, MAX_BIN_BYTES / 1e6))
    with open(path, 'rb') as file:
      problem = _size_problem(size, file.read(512))
      if problem:
        raise Failure('%s: %s. Move it away and run again to unpack it again.' % (path, problem))
      file.seek(0)
      wrong = _first_wrong_label(file, num_classes)
  except OSError as error:
    raise Failure('Cannot read %s: %s.' % (path, error.strerror)) from error
  if wrong:
    record, label = wrong
    named = os.path.exists(os.path.join(os.path.dirname(path), META_FILE))
    why = '%s has %d names' if named else '%s is missing and CIFAR-10 has %d classes'
    raise Failure('%s: label %d at record %d (byte %d); labels must be 0..%d, because %s. Is this '
                  'CIFAR-100 (%d-byte records)? If not, write one name per class into that file.'
                  % (path, label, record, record * RECORD_BYTES, num_classes - 1,
                     why % (META_FILE, num_classes), CIFAR100_RECORD_BYTES))
  return size // RECORD_BYTES


def missing_files(directory):
  """Returns the names of the .bin files that `directory` lacks (list of str)."""
  return [name for name in BIN_FILES if not os.path.lexists(os.path.join(directory, name))]


def check_data(directory):
  """Checks that the six .bin files hold whole records, with a label of `class_names` each.

  The check covers structure, not content. A part of CIFAR-10 passes, and so does other data in
  the same format.

  Args:
    directory: path of a cifar-10-batches-bin directory.

  Returns:
    A dict from file name to number of records (at least 1), training files first.

  Raises:
    Failure: a file is missing or not sound. The message names the file and, for a wrong label,
      the record and the byte, both counted from 0. Also as `class_names` raises it.
  """
  if not os.path.isdir(directory):
    what = 'is not a directory' if os.path.lexists(directory) else 'is missing'
    raise Failure('%s %s. %s' % (directory, what, _way_out(directory)))
  num_classes = len(class_names(directory))
  return {name: _check_file(os.path.join(directory, name), num_classes) for name in BIN_FILES}


def find_directory(data_dir):
  """Returns the directory that holds the .bin files (str).

  Args:
    data_dir: that directory itself, or the one above it.

  Returns:
    `data_dir` if it holds data_batch_1.bin or test_batch.bin; else `data_dir`/cifar-10-batches-bin,
    whether it exists or not.
  """
  inside = [os.path.join(data_dir, name) for name in (TRAIN_FILES[0], TEST_FILE)]
  return data_dir if any(map(os.path.isfile, inside)) else os.path.join(data_dir, DIRECTORY)


def data_files(data_dir, eval_data=False):
  """Returns the paths of the training files, or with `eval_data` a list of the test file alone.

  Args:
    data_dir: the directory of the .bin files, or the one above it.
    eval_data: whether to return the test file.
  """
  names = [TEST_FILE] if eval_data else TRAIN_FILES
  return [os.path.join(find_directory(data_dir), name) for name in names]


def _lines(path):
  """Returns the lines of a small text file that are not empty, cut and escaped (list of str)."""
  if not os.path.isfile(path) or os.path.getsize(path) > MAX_META_BYTES:
    raise Failure('%s is not a text file of at most %d bytes. Move it away.' % (
        path, MAX_META_BYTES))
  try:
    with open(path, encoding='utf-8', errors='replace') as file:
      lines = file.read(MAX_META_BYTES).split('\n')
  except OSError as error:
    raise Failure('Cannot read %s: %s.' % (path, error.strerror)) from error
  return [printable(line.strip(), MAX_NAME) for line in lines if line.strip()]


def class_names(directory):
  """Returns the names of the classes by label, as batches.meta.txt lists them: list of str [K].

  Their number is the number of classes. A name of more than MAX_NAME characters is cut, and control
  characters are escaped. CIFAR-10's names stand in for a missing file.

  Args:
    directory: path of a cifar-10-batches-bin directory.

  Raises:
    Failure: the file holds fewer than MIN_CLASSES or more than MAX_CLASSES names, or it cannot be
      read.
  """
  path = os.path.join(directory, META_FILE)
  if not os.path.exists(path):
    return list(CLASS_NAMES)
  names = _lines(path)
  if not MIN_CLASSES <= len(names) <= MAX_CLASSES:
    raise Failure('%s holds %d names, not %d to %d. Write one name per line, or move the file away.'
                  % (path, len(names), MIN_CLASSES, MAX_CLASSES))
  return names


def count_records(paths):
  """Returns the number of records in each file, computed from its size: list of int.

  Raises:
    Failure: a file is missing, empty, or not a whole number of records.
  """
  counts = []
  for path in paths:
    if not os.path.isfile(path):
      raise Failure('%s: no such file. Pass the directory that holds %s as data_dir.'
                    % (path, DIRECTORY))
    size = os.path.getsize(path)
    if not size or size % RECORD_BYTES:
      raise Failure('%s: %d bytes is not a whole number of records of %d bytes. Move it away and '
                    'fetch the data set again.' % (path, size, RECORD_BYTES))
    counts.append(size // RECORD_BYTES)
  return counts


def total_records(paths, part=WHOLE):
  """Returns the number of records in all files together, without those that `part` leaves out."""
  return sum(count_records(paths)) - len(paths) * sum(part)


def hold_out(paths, validation_examples):
  """Splits training files in two parts: the last records of each file are held out for validation.

  The held-out part serves to choose settings, such as a learning rate or a distortion. Settings
  chosen by the test file would overfit the test file.

  Args:
    paths: training files, all of one size unless `validation_examples` is 0.
    validation_examples: records to hold out, a multiple of the number of files.

  Returns:
    (training, validation): two Parts.

  Raises:
    Failure: the files do not split this way.
  """
  counts = count_records(paths)
  files, least, most = len(paths), min(counts), max(counts)
  each, rest = divmod(validation_examples, files)
  if rest or each >= least:
    raise Failure('--validation_examples=%d cannot be held out of %d files of %d records. Take a '
                  'multiple of %d, less than %d.' % (
                      validation_examples, files, least, files, files * least))
  if each and least != most:
    raise Failure('--validation_examples=%d needs files of one size; those here have %d to %d '
                  'records.' % (validation_examples, least, most))
  return Part(skip_last=each), Part(skip_first=least - each)


def _read_record(path, number):
  """Returns one record of a file, uint8 [RECORD_BYTES]."""
  try:
    with open(path, 'rb') as file:
      file.seek(number * RECORD_BYTES)
      record = file.read(RECORD_BYTES)
  except OSError as error:
    raise Failure('Cannot read %s: %s.' % (path, error.strerror)) from error
  if len(record) < RECORD_BYTES:
    raise Failure('%s has become shorter: it holds no record %d. Fetch the data set again.'
                  % (path, number))
  return np.frombuffer(record, np.uint8)


def read_pictures(paths, part, numbers):
  """Reads single pictures without a queue.

  Args:
    paths: files of records.
    part: a Part; the records that it leaves out are not counted.
    numbers: int [M], the records to read, counted from 0 over all files in order.

  Returns:
    uint8 [M, HEIGHT, WIDTH, DEPTH].

  Raises:
    Failure: a file is missing, or has become shorter.
  """
  starts = np.cumsum([0] + [count - sum(part) for count in count_records(paths)])
  files = np.searchsorted(starts, numbers, side='right') - 1
  found = []
  for file, number in zip(files, numbers, strict=True):
    record = part.skip_first + number - starts[file]
    found.append(_read_record(paths[file], int(record)))
  planes = np.array(found, np.uint8).reshape(-1, RECORD_BYTES)[:, LABEL_BYTES:]
  return planes.reshape(-1, DEPTH, HEIGHT, WIDTH).transpose(0, 2, 3, 1)
