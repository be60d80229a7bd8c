"""Tests for splitting, on lists of pictures without files."""
import collections

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import folders, splitting


def found_of(*groups):
  """Returns a folders.Found of (label, part, count) groups; picture 0 of label 1 is '1/0'."""
  numbers = collections.Counter()
  pictures = []
  for label, part, count in groups:
    for _ in range(count):
      pictures.append(folders.Picture('%s%d/%d' % (part, label, numbers[label]), label, part))
      numbers[label] += 1
  names = ['class %d' % label for label in range(1 + max(numbers))]
  return folders.Found('photos', names, pictures, bool(groups[0][1]), None)


def split(found, share=0.2, seed=0, same=()):
  """Splits pictures that all differ, but for groups of numbers in `same`."""
  digests = [b'%d' % number for number in range(len(found.pictures))]
  for numbers in same:
    for number in numbers:
      digests[number] = digests[numbers[0]]
  return splitting.split(found.pictures, digests, found, share, seed)


class SplittingTest(tf.test.TestCase):

  def counts(self, found, numbers):
    return [len(part) for part in splitting.by_class(found.pictures, numbers, len(found.names))]

  def assertFails(self, text, *arguments, **options):
    with self.assertRaises(Failure) as caught:
      split(*arguments, **options)
    self.assertEqual(str(caught.exception), text)

  def testTheShareOfEachClassIsDrawn(self):
    found = found_of((0, '', 20), (1, '', 19), (2, '', 2), (3, '', 8))
    for share, expected in ((0.2, [4, 4, 1, 2]), (0.01, [1, 1, 1, 1]), (0.9, [18, 17, 1, 7])):
      chosen = split(found, share)
      self.assertEqual(self.counts(found, chosen.test), expected)
      self.assertEqual(sorted([*chosen.train, *chosen.test]), list(range(49)))
      self.assertEqual(chosen[2:], ([], []))

  def testTheSeedSetsTheDraw(self):
    found = found_of((0, '', 50), (1, '', 50))
    one, again, other = split(found, seed=1), split(found, seed=1), split(found, seed=2)
    self.assertAllEqual(one.test, again.test)
    self.assertAllEqual(one.train, again.train)
    self.assertNotEqual(set(one.test), set(other.test))
    for chosen in one, other:  # mixed: about half of the neighbours are of one class, not all but 1
      for numbers in chosen.train, chosen.test:
        labels = np.array([found.pictures[number].label for number in numbers])
        self.assertGreater(np.count_nonzero(np.diff(labels)), len(labels) / 4)

  def testAGivenSplitIsKept(self):
    found = found_of((0, 'test', 3), (1, 'test', 2), (0, 'train', 4), (1, 'train', 5))
    chosen = split(found)
    self.assertEqual(sorted(chosen.test), list(range(5)))
    self.assertEqual(sorted(chosen.train), list(range(5, 14)))

  def testCopiesAreKeptOnce(self):
    found = found_of((0, '', 9), (1, '', 9))
    chosen = split(found, same=[(0, 3, 4), (10, 17)])
    self.assertEqual(chosen.copies, [(0, 3), (0, 4), (10, 17)])
    kept = sorted([*chosen.train, *chosen.test])
    self.assertEqual(kept, [0, 1, 2, 5, 6, 7, 8, *range(9, 17)])
    self.assertEqual(splitting.left_out(found.pictures, chosen), [
        'copies of other pictures of their class: 3, such as 0/3 of 0/0'])

  def testWithAGivenSplitTheTestKeepsThePicture(self):
    found = found_of((0, 'test', 3), (1, 'test', 3), (0, 'train', 9), (1, 'train', 9))
    chosen = split(found, same=[(0, 7), (8, 9)])
    self.assertEqual(chosen.copies, [(0, 7), (8, 9)])
    self.assertEqual(sorted(chosen.test), list(range(6)))
    self.assertEqual(sorted(chosen.train), [6, 8, *range(10, 24)])

  def testAPictureInTwoClassesIsLeftOutOfBoth(self):
    found = found_of((0, '', 9), (1, '', 9))
    chosen = split(found, same=[(0, 1, 9), (2, 17)])
    self.assertEqual(chosen.contradictory, [[0, 1, 9], [2, 17]])
    self.assertEmpty(chosen.copies)
    self.assertEqual(sorted([*chosen.train, *chosen.test]), [*range(3, 9), *range(10, 17)])
    self.assertEqual(splitting.left_out(found.pictures, chosen), [
        'pictures that stand in several classes: 5, such as 0/0 = 0/1 = 1/0, 0/2 = 1/8'])

  def testAClassNeedsAPictureInBoth(self):
    rest = ('. Each class needs one for training and one for the test. Add pictures, or remove the '
            'folder. Not counted: files that cannot be read')
    one = found_of((0, '', 9), (1, '', 1))
    self.assertFails("Too few pictures: 'class 1' has 1%s." % rest, one)
    two = found_of((0, '', 2), (1, '', 9), (3, '', 1))
    copies = '; copies of other pictures of their class: 1, such as '
    self.assertFails("Too few pictures: 'class 0' has 1, 'class 2' has 0, 'class 3' has 1%s%s0/1 "
                     'of 0/0.' % (rest, copies), two, same=[(0, 1)])
    many = found_of(*[(label, '', 1) for label in range(7)])
    self.assertFails('Too few pictures: %s, and so on%s.' % (
        ', '.join("'class %d' has 1" % label for label in range(5)), rest), many)
    given = found_of((0, 'test', 9), (1, 'test', 1), (0, 'train', 9), (1, 'train', 1))
    self.assertFails("Too few pictures: 'class 1' has 0 for training and 1 for the test%s%s"
                     'train1/1 of test1/0.' % (rest, copies), given, same=[(9, 19)])
    self.assertFails("Too few pictures: 'class 0' has 0, 'class 1' has 0%s; pictures that stand in "
                     'several classes: 2, such as 0/0 = 1/0.' % rest,
                     found_of((0, '', 1), (1, '', 1)), same=[(0, 1)])

  def testEachTrainingFileNeedsAPicture(self):
    start = 'Too few pictures for training: 4. Each of the 5 training files needs one. Add pictures'
    rest = '. Not counted: files that cannot be read.'
    self.assertFails(start + ', or give a smaller --test_share' + rest,
                     found_of((0, '', 3), (1, '', 3)))
    self.assertFails(start + rest, found_of((0, 'test', 1), (1, 'test', 1), (0, 'train', 2),
                                            (1, 'train', 2)))
    self.assertLen(split(found_of((0, '', 3), (1, '', 4))).train, 5)


if __name__ == '__main__':
  tf.test.main()
