"""Makes copies of training data with a fault, for the sick runs of lesson 5."""
import shutil

import numpy as np

from cifar10_lib.dataset import records
from lessons import lesson

PER_FILE = 640  # records to copy of each of the five training files; at most all


def sorted_by_class(raw):
  """Sorts records, uint8 [N, 3073], by their label, as files from one folder a class are."""
  return raw[np.argsort(raw[:, 0], kind='stable')]


def shuffled_labels(raw):
  """Shuffles the labels of records, uint8 [N, 3073]; the pictures stay where they are."""
  labels = np.random.RandomState(0).permutation(raw[:, :1])
  return np.hstack([labels, raw[:, 1:]])


def copy(change):
  """Writes the first records of the lesson's training files, changed, into a directory of runs/.

  Args:
    change: one of the functions above.

  Returns:
    The new directory. It has the eight files; the test file is whole and unchanged.
  """
  folder = lesson.directory(change.__name__, fresh=True)
  shutil.copytree(lesson.data_dir, folder)
  paths = records.data_files(folder)
  size = PER_FILE * records.RECORD_BYTES
  raw = np.concatenate([np.fromfile(path, np.uint8, size) for path in paths])
  changed = change(raw.reshape(-1, records.RECORD_BYTES))
  for path, part in zip(paths, np.array_split(changed, len(paths)), strict=True):
    part.tofile(path)
  return folder
