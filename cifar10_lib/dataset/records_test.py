"""Tests for records: sound and unsound files, class names, parts of files, single pictures."""
import os
from unittest import mock

import numpy as np

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records, testing
from cifar10_lib.dataset.testing import HTML, good_files, random_records


class CheckDataTest(testing.DownloadTestCase):

  def flawed(self, name, content):
    self.fill()
    self.write(os.path.join(self.directory, name), content)

  def testCounts(self):
    self.fill({**good_files(), 'data_batch_3.bin': random_records(7)})
    self.assertEqual(records.check_data(self.directory), {
        'data_batch_1.bin': 4, 'data_batch_2.bin': 4, 'data_batch_3.bin': 7,
        'data_batch_4.bin': 4, 'data_batch_5.bin': 4, 'test_batch.bin': 4})

  def testTruncated(self):
    self.flawed('data_batch_3.bin', random_records(3)[:-1])
    with self.fails('data_batch_3.bin: 9218 bytes is not a multiple of 3073 '
                    '(2 records + 3072 bytes)', 'Move it away'):
      records.check_data(self.directory)

  def testEmpty(self):
    self.flawed('test_batch.bin', b'')
    with self.fails('test_batch.bin: empty'):
      records.check_data(self.directory)

  def testLabel(self):
    content = bytearray(random_records(20))
    content[17 * 3073] = 200
    self.flawed('data_batch_1.bin', content)
    with self.fails('data_batch_1.bin: label 200 at record 17 (byte 52241)', 'CIFAR-100'):
      records.check_data(self.directory)

  def testCifar100Records(self):
    self.flawed('data_batch_1.bin', bytes(3074 * 5))
    with self.fails('is this CIFAR-100 (3074-byte records)?'):
      records.check_data(self.directory)

  def testHtml(self):
    for content in (HTML, b'\n  <html>' + bytes(3064)):  # the second has a record's size
      self.flawed('data_batch_5.bin', content)
      with self.fails('data_batch_5.bin: an HTML page'):
        records.check_data(self.directory)

  def testMissing(self):
    with self.fails(self.directory + ' is missing', 'cifar10_train.py'):
      records.check_data(self.directory)
    self.fill()
    os.remove(os.path.join(self.directory, 'data_batch_2.bin'))
    with self.fails('data_batch_2.bin is missing'):
      records.check_data(self.directory)

  def testOtherDataSets(self):
    for name in 'cifar-10-batches-py', 'cifar-100-binary':
      for place in self.data_dir, self.directory:
        found = os.path.join(place, name)
        os.makedirs(found)
        with self.fails('Found ' + found, 'BINARY'):
          records.check_data(self.directory)
        os.rmdir(found)

  def testNotRegular(self):
    self.write(self.directory, b'')
    with self.fails(self.directory + ' is not a directory'):
      records.check_data(self.directory)
    os.remove(self.directory)
    self.fill()
    path = os.path.join(self.directory, 'data_batch_1.bin')
    os.remove(path)
    os.symlink(path, path)
    with self.fails(path + ' is not a regular file'):
      records.check_data(self.directory)

  def testFilesThatAreTooLarge(self):
    self.fill()
    os.truncate(os.path.join(self.directory, 'test_batch.bin'), 6 << 30)  # without blocks
    with self.fails('test_batch.bin has 6442 MB, more than the limit of 4294 MB'):
      records.check_data(self.directory)

  def testLabelsOfALargeFile(self):
    count = records.CHECKED_AT_ONCE + 5
    content = bytearray(count * records.RECORD_BYTES)
    self.flawed('test_batch.bin', content)
    self.assertEqual(records.check_data(self.directory)['test_batch.bin'], count)
    content[-records.RECORD_BYTES] = 10
    self.flawed('test_batch.bin', content)
    with self.fails('test_batch.bin: label 10 at record %d (byte' % (count - 1)):
      records.check_data(self.directory)

  def testMissingFiles(self):
    self.assertEqual(records.missing_files(self.directory), records.BIN_FILES)
    self.fill()
    self.assertEqual(records.missing_files(self.directory), [])
    os.remove(os.path.join(self.directory, 'test_batch.bin'))
    self.assertEqual(records.missing_files(self.directory), ['test_batch.bin'])

  def testUnreadable(self):
    self.fill()
    denied = mock.patch('builtins.open', side_effect=PermissionError(13, 'Permission denied'))
    with denied, self.fails('batches.meta.txt: Permission denied'):
      records.check_data(self.directory)
    os.remove(os.path.join(self.directory, 'batches.meta.txt'))
    with denied, self.fails('data_batch_1.bin: Permission denied'):
      records.check_data(self.directory)

  def testLabelsAreThoseOfTheNames(self):
    content = bytearray(random_records(20))
    content[7 * 3073] = 11
    self.flawed('data_batch_4.bin', content)
    meta = os.path.join(self.directory, 'batches.meta.txt')
    for count, problem in (
        (11, 'data_batch_4.bin: label 11 at record 7 (byte 21511); labels must be 0..10, because '
         'batches.meta.txt has 11 names. Is this CIFAR-100 (3074-byte records)?'),
        (2, 'data_batch_1.bin: label 2 at record 2 (byte 6146); labels must be 0..1, because '
         'batches.meta.txt has 2 names.')):
      self.write(meta, b'name\n' * count)
      with self.fails(problem, 'write one name per class'):
        records.check_data(self.directory)
    os.remove(meta)
    with self.fails('labels must be 0..9, because batches.meta.txt is missing and CIFAR-10 has 10'):
      records.check_data(self.directory)
    self.write(meta, b'name\n' * 12)
    self.assertEqual(records.check_data(self.directory)['data_batch_4.bin'], 20)
    content[-3073] = 255
    self.write(os.path.join(self.directory, 'data_batch_4.bin'), content)
    self.write(meta, b'name\n' * 255)
    with self.fails('label 255 at record 19 (byte 58387); labels must be 0..254'):
      records.check_data(self.directory)
    self.write(meta, b'name\n' * 256)
    self.assertEqual(records.check_data(self.directory)['data_batch_4.bin'], 20)
    self.write(meta, b'name\n' * 257)
    with self.fails('holds 257 names, not 2 to 256'):
      records.check_data(self.directory)

  def testFacts(self):
    self.assertEqual(records.RECORD_BYTES, 3073)
    self.assertLen(records.FILES, 8)
    self.assertEqual(records.IMAGE_BYTES, 3072)


class ClassNamesTest(testing.DownloadTestCase):

  def testClassNames(self):
    self.fill({'batches.meta.txt': b'\n'.join(b'kind %d' % i for i in range(10)) + b'\n\n'})
    self.assertEqual(records.class_names(self.directory), ['kind %d' % i for i in range(10)])
    self.assertEqual(records.class_names(self.data_dir)[9], 'truck')  # no file

  def testNumberOfNames(self):
    for count in 0, 1, 257, 300:
      self.fill({'batches.meta.txt': b'name\n' * count})
      with self.fails('batches.meta.txt holds %d names, not 2 to 256. Write one name per' % count):
        records.class_names(self.directory)
    for count in 2, 3, 256:
      names = ['name %d' % i for i in range(count)]
      self.fill({'batches.meta.txt': '\n'.join(names).encode()})
      self.assertEqual(records.class_names(self.directory), names)

  def testNamesOfCifar10AreACopy(self):
    records.class_names(self.data_dir).append('class 10')
    self.assertLen(records.class_names(self.data_dir), 10)

  def testNamesAreEscapedAndCut(self):
    lines = [b'\x1b]0;owned\x07', b'n' * 10000, b'a\tb', '猫'.encode(), b'\xff'] + [b'x'] * 5
    self.fill({'batches.meta.txt': b'\n'.join(lines)})
    names = records.class_names(self.directory)
    self.assertEqual(names[0], r'\x1b]0;owned\x07')
    self.assertEqual(names[1], 'n' * 47 + '...')
    self.assertEqual(names[2:5], [r'a\tb', '猫', '\ufffd'])

  def testWhatIsNoTextFile(self):
    path = os.path.join(self.directory, 'batches.meta.txt')
    os.makedirs(path)
    with self.fails(path, 'is not a text file'):
      records.class_names(self.directory)
    os.rmdir(path)
    os.mkfifo(path)  # must not be opened: nobody writes into it
    with self.fails(path, 'is not a text file'):
      records.class_names(self.directory)
    os.remove(path)
    self.write(path, b'')
    os.truncate(path, 1 << 40)  # without blocks
    with self.fails(path, 'is not a text file'):
      records.class_names(self.directory)


class FilesTest(testing.DownloadTestCase):

  def paths(self, directory, names):
    return [os.path.join(directory, name) for name in names]

  def testEitherDirectory(self):
    self.fill()
    for data_dir in self.data_dir, self.directory:
      self.assertEqual(records.find_directory(data_dir), self.directory)
      self.assertEqual(records.data_files(data_dir),
                       self.paths(self.directory, ['data_batch_%d.bin' % i for i in range(1, 6)]))
      self.assertEqual(records.data_files(data_dir, eval_data=True),
                       self.paths(self.directory, ['test_batch.bin']))

  def testOneFileIsEnough(self):
    for name in 'data_batch_1.bin', 'test_batch.bin':
      directory = os.path.join(self.data_dir, name + '.directory')
      self.write(os.path.join(directory, name), b'')
      self.assertEqual(records.find_directory(directory), directory)

  def testTheDirectoryThatHoldsTheFilesWins(self):
    inner = os.path.join(self.directory, records.DIRECTORY)
    self.write(os.path.join(inner, 'test_batch.bin'), b'')
    self.write(os.path.join(self.directory, 'notes.txt'), b'')
    self.assertEqual(records.find_directory(self.directory), inner)
    self.fill()  # now both hold files
    self.assertEqual(records.find_directory(self.directory), self.directory)

  def testNoData(self):
    self.assertEqual(records.find_directory(self.data_dir), self.directory)
    with self.fails(self.directory, 'no such file. Pass the directory that holds cifar-10-batches'):
      records.count_records(records.data_files(self.data_dir))


class PartTest(testing.DownloadTestCase):

  def setUp(self):
    super().setUp()
    self.fill({name: random_records(20, seed) for seed, name in enumerate(records.BIN_FILES)})
    self.paths = records.data_files(self.data_dir)
    planes = np.stack([np.fromfile(path, np.uint8).reshape(20, 3073)[:, 1:] for path in self.paths])
    self.pictures = planes.reshape(5, 20, 3, 32, 32).transpose(0, 1, 3, 4, 2)  # [5, 20, 32, 32, 3]

  def testCounts(self):
    self.write(self.paths[1], random_records(7))
    self.assertEqual(records.count_records(self.paths), [20, 7, 20, 20, 20])
    self.assertEqual(records.total_records(self.paths), 87)
    self.assertEqual(records.total_records(self.paths, records.Part(2, 1)), 72)

  def testUnsoundFiles(self):
    for size in 0, 3072, 3074:
      self.write(self.paths[0], bytes(size))
      with self.fails('%s: %d bytes is not a whole number of records' % (self.paths[0], size)):
        records.count_records(self.paths)

  def testHoldOut(self):
    training, validation = records.hold_out(self.paths, 25)
    self.assertEqual((training, validation), ((0, 5), (15, 0)))
    self.assertEqual((training.skip_first, training.skip_last), (0, 5))
    self.assertEqual(records.total_records(self.paths, training), 75)
    self.assertEqual(records.total_records(self.paths, validation), 25)
    self.assertEqual(records.hold_out(self.paths, 0)[0], records.WHOLE)

  def testHoldOutFailures(self):
    for count in 1, 24, 100, 105:
      with self.fails('--validation_examples=%d cannot be held out of 5 files' % count):
        records.hold_out(self.paths, count)
    self.write(self.paths[2], random_records(21))
    with self.fails('needs files of one size; those here have 20 to 21'):
      records.hold_out(self.paths, 25)

  def testReadPictures(self):
    for part in records.WHOLE, records.Part(3, 4), records.Part(skip_last=19):
      kept = self.pictures[:, part.skip_first:20 - part.skip_last].reshape(-1, 32, 32, 3)
      numbers = [len(kept) - 1, 0, 2, 2]  # any order, one of them twice
      read = records.read_pictures(self.paths, part, numbers)
      self.assertEqual(read.dtype, np.uint8)
      self.assertAllEqual(read, kept[numbers])
    self.assertEqual(records.read_pictures(self.paths, records.WHOLE, []).shape, (0, 32, 32, 3))

  def testReadPicturesOfAFileThatBecomesShorter(self):
    with mock.patch.object(records, 'count_records', return_value=[20] * len(self.paths)):
      os.truncate(self.paths[0], 3073 * 5 + 3000)
      with self.fails(self.paths[0], 'has become shorter', 'record 5'):
        records.read_pictures(self.paths, records.WHOLE, [4, 5])


if __name__ == '__main__':
  tf.test.main()
