"""Tests for conversion: pictures become records unchanged, and no data set is overwritten."""
import errno
import html
import os
import shutil
import threading
import warnings
from unittest import mock

import numpy as np
from PIL import Image

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import conversion, folders, picture_files, records, shrinking, splitting
from tests import pictures, testing


def raw_records(labels, pixels):
  """Returns the records, uint8 [N, 3073], of labels [N] and pictures uint8 [N, 32, 32, 3]."""
  planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
  return np.hstack([np.uint8(labels)[:, None], planes])


class ConversionTest(testing.DirectoryTestCase):

  def saved(self, all_pixels):
    """Writes pictures as PNG files; returns a list of folders.Picture whose labels are 0, 1, ..."""
    pictures.write_pngs(self.path('photos'), all_pixels)
    return [folders.Picture(self.path('photos', '%d.png' % number), number, '')
            for number in range(len(all_pixels))]

  def testPicturesAreReadInOrderByThreads(self):
    pixels = pictures.random_pictures(50)
    saved = self.saved(pixels)
    self.touch('photos/7.png')
    seen, first = set(), threading.Event()
    read = picture_files.read

    def slow(path):
      seen.add(threading.current_thread())
      if path.endswith('/0.png'):
        first.wait(20)  # the first picture is ready last
      elif path.endswith('/9.png'):
        first.set()
      return read(path)
    with mock.patch.object(picture_files, 'read', slow), mock.patch.multiple(
        conversion, THREADS=3, AHEAD=20):
      results = list(conversion.read(saved))
    self.assertTrue(first.is_set())
    self.assertNotIn(threading.main_thread(), seen)
    self.assertEqual([picture for picture, _ in results], saved)
    for number, (_, result) in enumerate(results):
      if number == 7:
        self.assertIsInstance(result, Failure)
        self.assertIn('7.png is no picture', str(result))
      else:
        self.assertAllEqual(result, pixels[number])

  def testWarningsOfPillowAreSilenced(self):
    def warn(path):
      with warnings.catch_warnings():  # as `picture_files.read` does; the threads mix this up
        warnings.simplefilter('ignore')
      warnings.warn('corrupt EXIF', stacklevel=1)
      return np.zeros([32, 32, 3], np.uint8)
    before = list(warnings.filters)
    with mock.patch.object(picture_files, 'read', warn), mock.patch.object(
        warnings, 'showwarning') as shown:
      self.assertLen(list(conversion.read(self.saved(pictures.random_pictures(9)))), 9)
    shown.assert_not_called()
    self.assertEqual(warnings.filters, before)

  def testOnlySomePicturesAreReadAhead(self):
    saved, count = self.saved(pictures.random_pictures(1)) * 1000, 0
    read = picture_files.read

    def counted(path):
      nonlocal count
      count += 1
      return read(path)
    with mock.patch.object(picture_files, 'read', counted), mock.patch.object(
        conversion, 'AHEAD', 20):
      stream = conversion.read(saved)
      next(stream)
      stream.close()
    self.assertLessEqual(count, 21)

  def testShrinkingIsThatOfPrediction(self):
    picture = np.random.RandomState(0).randint(0, 256, (64, 80, 3), np.uint8)
    Image.fromarray(picture).save(self.path('a.png'))
    (_, pixels), = conversion.read([folders.Picture(self.path('a.png'), 0, '')])
    means = picture[:, 8:72].reshape(32, 2, 32, 2, 3).mean((1, 3))
    self.assertAllClose(pixels, means, atol=0.51)
    self.assertAllEqual(shrinking.Shrinker()(picture), pixels)

  def testSpoolKeepsRecords(self):
    pixels = pictures.random_pictures(5)
    pixels[3] = pixels[1]
    with conversion.Spool(self.directory) as spool:
      for number, picture in enumerate(pixels):
        spool.add(folders.Picture('%d.png' % number, 255 - number, ''), picture)
        self.assertAllEqual(spool.pixels([number])[0], picture)
      expected = raw_records([255, 254, 253, 252, 251], pixels)
      for number in 4, 0, 3:
        self.assertEqual(spool.record(number), expected[number].tobytes())
      self.assertAllEqual(spool.pixels(np.array([4, 1])), pixels[[4, 1]])
      self.assertEqual(spool.pixels([]).shape, (0, 32, 32, 3))
      self.assertEqual(spool.digests[3], spool.digests[1])
      self.assertLen(set(spool.digests), 4)
    self.assertEqual(os.listdir(self.directory), [])

  def testFilesOfRecords(self):
    pixels = pictures.random_pictures(20)
    labels = np.arange(20) % 3
    chosen = splitting.Split(np.arange(17)[::-1], np.array([18, 17, 19]), [], [])
    with conversion.Spool(self.directory) as spool:
      for label, picture in zip(labels, pixels, strict=True):
        spool.add(folders.Picture('', int(label), ''), picture)
      conversion.write(self.directory, spool, chosen, ['a', 'b', '中文'])
    self.assertEqual(records.check_data(self.directory), dict(zip(
        records.BIN_FILES, [4, 4, 3, 3, 3, 3], strict=True)))
    expected = raw_records(labels, pixels)
    train = np.concatenate([np.fromfile(path, np.uint8)
                            for path in records.data_files(self.directory)])
    self.assertAllEqual(train.reshape(-1, 3073), expected[16::-1])
    test = np.fromfile(self.path(records.TEST_FILE), np.uint8)
    self.assertAllEqual(test.reshape(-1, 3073), expected[[18, 17, 19]])
    self.assertEqual(records.class_names(self.directory), ['a', 'b', '中文'])

  def testReadmeIsEscaped(self):
    source = '/photos/<b>&\n'
    conversion.write_readme(self.directory, source, 'a share & a seed', "1  <i>'x'")
    with open(self.path(records.README_FILE), encoding='utf-8') as file:
      page = file.read()
    for text in '/photos/<b>&\\n', 'a share & a seed', "1  <i>'x'":
      self.assertIn(html.escape(text), page)
    self.assertNotIn('<b>', page)
    self.assertNotIn('<i>', page)

  def creating(self, name='data'):
    return conversion.creating(self.path(name), self.path('photos'), 10)

  def testNoDataSetIsOverwritten(self):
    for name in records.DIRECTORY, *records.FILES:
      data = self.path('data of ' + name)
      os.makedirs(data)
      with open(os.path.join(data, name), 'w') as file:
        file.write('mine')
      with self.assertRaisesRegex(Failure, '^%s is there already, and nothing is overwritten. '
                                  'Choose another --data_dir, or move it away.$' % os.path.join(
                                      data, name)):
        with self.creating('data of ' + name):
          self.fail('the block runs')
      with open(os.path.join(data, name)) as file:
        self.assertEqual(file.read(), 'mine')

  def testADataDirectoryInsideTheSourceIsRefused(self):
    self.addCleanup(shutil.rmtree, self.directory)  # TensorFlow's own cleaning follows the link
    os.makedirs(self.path('photos', 'cat'))
    os.symlink('photos', self.path('link'))
    for name in 'photos', 'photos/new', 'photos/cat/new/er', 'link/new', 'photos/../link':
      with self.assertRaisesRegex(Failure, '^--data_dir=.* lies in .*photos, where every folder '
                                  'counts as a class. Choose a directory elsewhere.$'):
        conversion.require_new(self.path(name), self.path('photos'))
    conversion.require_new(self.path('photos of mine'), self.path('photos'))  # beside it

  def testAFailureLeavesNothingAndAKilledRunDoesNotMatter(self):
    final = self.path('data', records.DIRECTORY)
    for error in Failure('no picture'), KeyboardInterrupt():
      with self.assertRaises(type(error)), self.creating() as unfinished:
        with open(os.path.join(unfinished, records.TEST_FILE), 'w'):
          raise error
      self.assertEqual(os.listdir(self.path('data')), ['.lock'])
    os.makedirs(final + '.unfinished')  # what SIGKILL leaves
    self.touch(os.path.join(final + '.unfinished', 'old'))
    with self.creating() as unfinished:
      self.assertEqual(os.listdir(unfinished), [])
      self.assertFalse(os.path.exists(final))
      self.touch(os.path.join(unfinished, 'new'))
    self.assertEqual(os.listdir(final), ['new'])
    self.assertCountEqual(os.listdir(self.path('data')), ['.lock', records.DIRECTORY])

  def testAFullDiskIsNamed(self):
    with self.assertRaisesRegex(
        Failure, '^Cannot fill .*data/cifar-10-batches-bin: no space left on device. Free about 10 '
        'MB and run the same command again.$'):
      with self.creating():
        raise OSError(errno.ENOSPC, 'No space left on device')


if __name__ == '__main__':
  tf.test.main()
