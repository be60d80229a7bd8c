"""Tests for sample: a seed fixes the bytes, the data set is sound, the shapes differ."""
import hashlib
import os
import pathlib
from unittest import mock

import numpy as np

from cifar10_lib.dataset import picture_files, records, sample
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf


def load(directory, name):
  """Returns labels [N] and pictures [N, 3, 32, 32] of one .bin file."""
  data = np.fromfile(os.path.join(directory, name), np.uint8).reshape(-1, 3073)
  return data[:, 0], data[:, 1:].reshape(-1, 3, 32, 32)


def sha256(directory):
  """Returns one hash over all files of a data set."""
  digest = hashlib.sha256()
  for name in records.FILES:
    with open(os.path.join(directory, name), 'rb') as file:
      digest.update(file.read())
  return digest.hexdigest()


class SampleTest(tf.test.TestCase):

  def make(self, where='data', **options):
    options = {'train_examples': 103, 'test_examples': 40, **options}
    return sample.make_sample(os.path.join(self.get_temp_dir(), where), **options)

  def testSizesAndNames(self):
    directory = self.make()
    self.assertEqual(directory, os.path.join(self.get_temp_dir(), 'data', 'cifar-10-batches-bin'))
    self.assertEqual(sorted(os.listdir(directory)), sorted(records.FILES))
    self.assertEqual(list(records.check_data(directory).values()),
                     [21, 21, 21, 20, 20, 40])
    self.assertEqual(records.class_names(directory), list(sample.KINDS))
    self.assertLen(sample.KINDS, 10)

  def testSameSeedSameBytes(self):
    # On any machine, with any NumPy. With a new hash, the pictures in the README are out of date.
    self.assertEqual(
        sha256(self.make()),
        'c8b0d6c4705aca905e60d405372b1fa61412f7f4b1569bc4163b01c0cb037500')
    self.assertEqual(sha256(self.make('again')), sha256(self.make()))
    self.assertNotEqual(sha256(self.make('other', seed=1)), sha256(self.make()))

  def testLabels(self):
    directory = self.make(train_examples=100)
    labels = np.concatenate([load(directory, name)[0] for name in records.TRAIN_FILES])
    self.assertAllEqual(np.bincount(labels), [10] * 10)
    self.assertGreater(np.count_nonzero(np.diff(labels)), 70)  # shuffled
    self.assertAllEqual(np.bincount(load(directory, 'test_batch.bin')[0]), [4] * 10)

  def testIsSample(self):
    directory = self.make()
    self.assertTrue(sample.is_sample(directory))
    readme = os.path.join(directory, 'readme.html')
    with open(readme, encoding='utf-8') as file:
      self.assertIn('It is not CIFAR-10', file.read())
    with open(readme, 'w', encoding='utf-8') as file:
      file.write('<html>CIFAR-10</html>')
    self.assertFalse(sample.is_sample(directory))
    os.remove(readme)
    self.assertFalse(sample.is_sample(directory))
    self.assertFalse(sample.is_sample(self.get_temp_dir() + '/nowhere'))

  def testDrawsOnce(self):
    directory = self.make()
    before = os.stat(os.path.join(directory, 'test_batch.bin'))
    self.assertEqual(self.make(seed=1), directory)
    self.assertEqual(os.stat(os.path.join(directory, 'test_batch.bin')), before)

  def testDamagedSample(self):
    os.truncate(os.path.join(self.make(), 'test_batch.bin'), 3074)
    with self.assertRaisesRegex(Failure, 'test_batch.bin: 3074 bytes'):
      self.make()

  def testNamesThatWereChangedAreFound(self):
    directory = self.make()
    with open(os.path.join(directory, 'batches.meta.txt'), 'w') as file:
      file.write('\n'.join(list(sample.KINDS)[:9]))
    with self.assertRaisesRegex(Failure, r'data_batch_\d.bin: label 9 .*labels must be 0..8'):
      self.make()

  def testOtherDataStays(self):
    directory = self.make()
    os.remove(os.path.join(directory, 'readme.html'))
    before = sorted(os.listdir(directory))
    with self.assertRaisesRegex(Failure, 'no drawn sample.*--data_dir'):
      self.make()
    self.assertEqual(sorted(os.listdir(directory)), before)

  def testTooFewRecords(self):
    for options in {'train_examples': 4}, {'test_examples': 0}:
      with self.assertRaises(ValueError):
        self.make(**options)
    self.assertFalse(os.path.exists(os.path.join(self.get_temp_dir(), 'data/cifar-10-batches-bin')))

  def testFullDisk(self):
    with mock.patch.object(sample, '_draw', side_effect=OSError(28, 'No space left on device')), \
         self.assertRaisesRegex(Failure, 'no space left on device. Free about 36 MB'):
      sample.make_sample(self.get_temp_dir())  # 12,000 records of 3,073 bytes

  def testContrast(self):
    # Only the figure differs between kinds, so it must contrast with the background.
    random = np.random.RandomState(0)
    labels = np.full(200, list(sample.KINDS).index('square'), np.uint8)
    state = random.get_state()
    cover = sample._coverage(random, labels)  # [N, 32, 32]
    random.set_state(state)
    pictures = sample._draw(random, labels).astype(float)  # [N, 3, 32, 32]
    for figure, picture in zip(cover, pictures, strict=True):
      inside, outside = picture[:, figure == 1], picture[:, figure == 0]  # [3, pixels]
      self.assertGreater(np.abs(inside.mean(1) - outside.mean(1)).max(), 50)

  def testFullDiskIsNamed(self):
    full = OSError(28, 'No space left on device')
    with mock.patch.object(pathlib.Path, 'write_bytes', side_effect=full), \
         self.assertRaisesRegex(Failure, 'Cannot fill .*: no space left on device. Free about'):
      self.make('full')

  def testShapesStayInTheCrop(self):
    labels = np.arange(2000, dtype=np.uint8) % 10
    cover = sample._coverage(np.random.RandomState(0), labels)
    self.assertAllInRange(cover, 0, 1)
    seen = cover[:, 4:28, 4:28].sum((1, 2)) / cover.sum((1, 2))
    self.assertGreater(seen.min(), 0.9)

  def testKindsDiffer(self):
    # At one size, place and angle, no two kinds look alike, even mirrored.
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    masks = [kind(x, y) < 0 for kind in sample.KINDS.values()]
    for i, one in enumerate(masks):
      for other in masks[:i]:
        for seen in other, other[:, ::-1]:
          self.assertGreater(np.mean(one != seen), 0.09)

  def testDataIsDescribed(self):
    directory = self.make()
    self.assertEqual(sample.describe(directory), 'the sample data set of drawn shapes')
    path = os.path.join(directory, records.README_FILE)
    for text, title in ('<p>none</p>', ''), ('<title>My\n &amp; \x1b[1myours</title>',
                                             'My & \\x1b[1myours'):
      with open(path, 'w') as file:
        file.write(text)
      self.assertEqual(sample.describe(directory), title)
    os.remove(path)
    self.assertEqual(sample.describe(directory), '')

  def testDrawsNewPicturesToRecognise(self):
    directory = os.path.join(self.get_temp_dir(), 'pictures')
    sample.draw_pictures(directory, 4)
    names = sorted(os.listdir(directory))
    self.assertLen(names, 4)
    self.assertContainsSubset([name.removesuffix('.png') for name in names], sample.KINDS)
    _, known = load(self.make(), 'data_batch_1.bin')
    for name in names:
      picture = picture_files.read(os.path.join(directory, name))  # [32, 32, 3]
      self.assertEqual(picture.shape, (32, 32, 3))
      self.assertFalse((known == picture.transpose(2, 0, 1)).all(axis=(1, 2, 3)).any(), name)


if __name__ == '__main__':
  tf.test.main()
