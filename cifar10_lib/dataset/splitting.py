"""Decides which pictures are for training, which for the test, and which are left out.

`pictures` is a list of folders.Picture [N]. A number is a place in it.
"""
from typing import NamedTuple

import numpy as np

from cifar10_lib.common.programs import Failure, printable
from cifar10_lib.dataset import folders, records

MAX_NAMED = 5  # classes, groups of pictures and pictures in a group that are named


class Split(NamedTuple):
  """The numbers of pictures by what becomes of them."""
  train: np.ndarray  # int64, in random order
  test: np.ndarray  # int64, in random order
  copies: list  # of (first, copy): the same picture twice in a class; the first is kept
  contradictory: list  # of lists: the same picture in several classes; none is kept


def _distinct(pictures, digests):
  """Returns the numbers of the pictures to keep, int64, and `copies` and `contradictory` of Split.

  Files that are the same have the same pixels, so that comparing pixels finds both kinds.
  """
  same = {}
  for number, digest in enumerate(digests):
    same.setdefault(digest, []).append(number)
  kept, copies, contradictory = [], [], []
  for numbers in same.values():
    if len({pictures[number].label for number in numbers}) > 1:
      contradictory.append(numbers)
    else:
      kept.append(numbers[0])
      copies += [(numbers[0], number) for number in numbers[1:]]
  return np.array(kept, np.int64), copies, contradictory


def by_class(pictures, numbers, count):
  """Returns the numbers, int64 [M], of pictures by label: a list of `count` arrays."""
  labels = np.array([pictures[number].label for number in numbers])
  return [numbers[labels == label] for label in range(count)]


def left_out(pictures, chosen):
  """Returns texts that say which pictures a Split leaves out, and why (list of str)."""
  def path(number):
    return printable(pictures[number].path, 300)

  texts = []
  if chosen.copies:
    first, copy = chosen.copies[0]
    texts.append('copies of other pictures of their class: %d, such as %s of %s' % (
        len(chosen.copies), path(copy), path(first)))
  if chosen.contradictory:
    groups = [' = '.join(map(path, numbers[:MAX_NAMED]))
              for numbers in chosen.contradictory[:MAX_NAMED]]
    texts.append('pictures that stand in several classes: %d, such as %s' % (
        sum(map(len, chosen.contradictory)), ', '.join(groups)))
  return texts


def _require_enough(pictures, found, chosen):
  """Raises Failure unless a Split has pictures of each class on both sides, and for each file."""
  trains, tests = (list(map(len, by_class(pictures, numbers, len(found.names))))
                   for numbers in (chosen.train, chosen.test))
  not_counted = 'Not counted: %s.' % '; '.join(
      ['files that cannot be read'] + left_out(pictures, chosen))
  short = []
  for name, train, test in zip(found.names, trains, tests, strict=True):
    if not (train and test):
      short.append("'%s' has %s" % (name, '%d for training and %d for the test' % (train, test)
                                    if found.is_split else train + test))
  if short:
    raise Failure('Too few pictures: %s%s. Each class needs one for training and one for the test. '
                  'Add pictures, or remove the folder. %s' % (
                      ', '.join(short[:MAX_NAMED]), ', and so on' * (len(short) > MAX_NAMED),
                      not_counted))
  if sum(trains) < len(records.TRAIN_FILES):
    raise Failure('Too few pictures for training: %d. Each of the %d training files needs one. Add '
                  'pictures%s. %s' % (
                      sum(trains), len(records.TRAIN_FILES),
                      '' if found.is_split else ', or give a smaller --test_share', not_counted))


def split(pictures, digests, found, test_share, seed):
  """Decides which pictures are for training and which for the test.

  A picture that repeats another one of its class, pixel for pixel, is left out; where the split is
  given, the test keeps it. A picture that stands in several classes is left out of all, because
  nothing says which class is right.

  Args:
    pictures: those that could be read, in the order of `found`.
    digests: list of bytes [N], equal where all pixels are.
    found: the folders.Found that they come from.
    test_share: share of each class for the test where no split is given, 0 to 1. Each class has at
      least one picture in both.
    seed: int, 0 to 2**32 - 1, for the draw and for the order.

  Returns:
    A Split.

  Raises:
    Failure: a class has too few pictures, or all together have.
  """
  random = np.random.RandomState(seed)  # NumPy's policy freezes its stream
  kept, copies, contradictory = _distinct(pictures, digests)
  trains, tests = [], []
  for mine in by_class(pictures, kept, len(found.names)):
    tested = np.array([pictures[number].part == folders.TEST for number in mine], bool)
    if not found.is_split:
      count = max(1, min(round(test_share * len(mine)), len(mine) - 1))
      tested[random.permutation(len(mine))[:count]] = True
    trains.append(mine[~tested])
    tests.append(mine[tested])
  train, test = (random.permutation(np.concatenate(parts)) for parts in (trains, tests))
  chosen = Split(train, test, copies, contradictory)
  _require_enough(pictures, found, chosen)
  return chosen
