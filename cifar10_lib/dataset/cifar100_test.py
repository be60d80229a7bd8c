"""Tests for cifar100: what is converted, from where, and what is refused."""
import contextlib
import hashlib
import os
import tarfile
from unittest import mock

import numpy as np

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import archive, cifar100, download, records, testing
from cifar10_lib.dataset.testing import (
    Host, cifar100_files, good_files, member, members_of, tarball)

FOLDER = 'cifar-100-binary/'


def packed(files):
  """Returns an archive (bytes) as the official one is made: the directory, a backup, the files."""
  return tarball([(member(FOLDER, kind=tarfile.DIRTYPE), b''),
                  (member(FOLDER + 'fine_label_names.txt~', 9), b'old names')]
                 + members_of(files, FOLDER))


class Cifar100TestCase(testing.DownloadTestCase):
  """Replaces the official archive of CIFAR-100 by a small one."""

  def setUp(self):
    super().setUp()
    self.files = cifar100_files()
    self.body = packed(self.files)
    self.sha256 = hashlib.sha256(self.body).hexdigest()
    self.archive = os.path.join(self.data_dir, 'cifar-100-binary.tar.gz')
    self.part = self.archive + '.part'
    small = cifar100.CIFAR100._replace(size=len(self.body), sha256=self.sha256)
    self.enter_context(mock.patch.object(cifar100, 'CIFAR100', small))
    self.enter_context(mock.patch.object(archive, 'BLOCK_BYTES', 1000))  # less than a record

  def fetch(self, host=None, **options):
    """Fetches from a Host; without one, any request fails."""
    place = os.path.dirname(host.url) if host else 'file:///nowhere'
    with host or contextlib.nullcontext():
      return cifar100.maybe_download_and_extract(
          self.data_dir, place + '/cifar-100-binary.tar.gz', **options)

  def place(self, files=None, where=None):
    """Writes the files of CIFAR-100 by hand into DATA_DIR/cifar-100-binary or `where`."""
    folder = where or os.path.join(self.data_dir, 'cifar-100-binary')
    for name, content in (self.files if files is None else files).items():
      self.write(os.path.join(folder, name), content)
    return folder

  def converted(self, name):
    return np.frombuffer(self.read(os.path.join(self.directory, name)), np.uint8).reshape(-1, 3073)

  def assertConverted(self, labels='fine'):
    self.assertEqual(sorted(os.listdir(self.directory)), sorted(records.FILES))
    for name, parts, counts in (('train.bin', records.TRAIN_FILES, [2, 3, 2, 3, 3]),
                                ('test.bin', ['test_batch.bin'], [4])):
      original = np.frombuffer(self.files[name], np.uint8).reshape(-1, 3074)
      found = [self.converted(part) for part in parts]
      self.assertEqual([len(each) for each in found], counts)
      found = np.concatenate(found)
      self.assertAllEqual(found[:, 0], original[:, 1 if labels == 'fine' else 0])
      self.assertAllEqual(found[:, 1:], original[:, 2:])
    count = 100 if labels == 'fine' else 20
    self.assertEqual(self.read(os.path.join(self.directory, 'batches.meta.txt')).decode(),
                     ''.join('%s %d\n' % (labels, number) for number in range(count)))
    self.assertEqual(cifar100.labels_of(self.directory), labels)

  def readme(self):
    return self.read(os.path.join(self.directory, 'readme.html')).decode()


class SourcesTest(Cifar100TestCase):

  def testFacts(self):
    official = cifar100.CIFAR100
    self.assertEqual(official.url, 'https://www.cs.toronto.edu/~kriz/' + official.archive)
    self.assertEqual(official.problem('train.bin', 153700000), '')
    self.assertEqual(official.problem('test.bin', 30740000), '')

  def testMirror(self):
    host = Host(self.body, 20000, 503)
    self.assertEqual(self.fetch(host), self.directory)
    self.assertEqual(host.ranges, [None, 'bytes=20000-', 'bytes=20000-'])
    self.assertConverted()
    self.fetch()  # what is there is not fetched again
    self.assertEqual(self.listing(), [records.DIRECTORY, 'cifar-100-binary.tar.gz'])
    self.assertIn('CIFAR-100', self.readme())
    self.assertIn('its 100 fine labels', self.readme())
    self.assertIn('cifar-100-binary.tar.gz with SHA-256 ' + self.sha256, self.readme())

  def testOfficial(self):
    with Host(self.body) as host:
      there = cifar100.CIFAR100._replace(url=host.url)
      with mock.patch.object(cifar100, 'CIFAR100', there):
        cifar100.maybe_download_and_extract(self.data_dir, 'cifar100', labels='coarse')
    self.assertEqual(host.ranges, [None])
    self.assertConverted('coarse')
    self.assertIn('its 20 coarse labels', self.readme())

  def testFileUrl(self):
    self.archive = os.path.join(self.get_temp_dir(), 'mirror', 'cifar-100-binary.tar.gz')
    self.write(self.archive, self.body)
    cifar100.maybe_download_and_extract(self.data_dir, 'file://' + self.archive)
    self.assertConverted()

  def testPlacedArchive(self):
    self.write(self.archive, self.body)
    self.place({'train.bin': b'not read'})
    self.fetch()
    self.assertConverted()

  def testPlacedDirectory(self):
    self.write(self.part, self.body[:5000])
    folder = self.place()
    self.fetch(labels='coarse')
    self.assertConverted('coarse')
    for name in 'train.bin', 'test.bin':
      self.assertIn('%s with SHA-256 %s' % (name, hashlib.sha256(self.files[name]).hexdigest()),
                    self.readme())
    self.assertEqual(sorted(os.listdir(folder)), sorted(self.files))  # the user's files remain
    self.assertEqual(len(self.listing()), 3)

  def testTheDirectoryOfTheFilesItself(self):
    self.place(where=self.data_dir)
    self.fetch()
    self.assertConverted()

  def testTheLeastThatIsEnough(self):
    self.files = cifar100_files(train=5, test=1)
    del self.files['coarse_label_names.txt']
    self.place()
    self.fetch()
    self.assertEqual(list(records.check_data(self.directory).values()), [1] * 6)

  def testAnyNumberOfRecords(self):
    random = np.random.RandomState(1)
    batch = random.randint(0, 20, (23, 3074), np.uint8)
    for cuts in [], [5], [1, 1, 2, 22], range(1, 23):
      for count in 1, 3, 5:
        pieces = [piece for piece in np.split(batch, cuts) if len(piece)]
        starts = np.cumsum([0] + [len(piece) for piece in pieces])
        paths = [os.path.join(self.get_temp_dir(), str(number)) for number in range(count)]
        cifar100._divide(zip(starts, pieces, strict=False), 23, paths, 'fine')
        self.assertEqual(b''.join(map(self.read, paths)), batch[:, 1:].tobytes())
        sizes = [os.path.getsize(path) // 3073 for path in paths]
        self.assertLessEqual(max(sizes) - min(sizes), 1)

  def testKilledAndHalfFilled(self):
    self.write(self.directory + '.unfinished/data_batch_1.bin', b'half')
    self.write(os.path.join(self.directory, 'test_batch.bin'), b'half')
    self.write(self.archive, self.body)
    self.fetch()
    self.assertConverted()
    self.assertStartsWith(self.said[0], '%s lacks data_batch_1.bin, ' % self.directory)
    aside, = set(self.listing()) - {records.DIRECTORY, 'cifar-100-binary.tar.gz'}
    self.assertStartsWith(aside, records.DIRECTORY + '.incomplete-')

  def testOwnHash(self):
    self.files = cifar100_files(seed=1)
    body = packed(self.files)
    got = hashlib.sha256(body).hexdigest()
    self.write(self.archive, body)
    with self.fails(self.archive, self.sha256, '--data_sha256=' + got):
      self.fetch()
    self.fetch(data_sha256=got)
    self.assertConverted()
    self.assertIn(got, self.readme())

  def testPythonVersionIsNamed(self):
    found = os.path.join(self.data_dir, 'cifar-100-python')
    os.makedirs(found)
    self.fetch(Host(self.body))
    self.assertEqual(self.said, [
        'Found %s; this program needs the BINARY version of CIFAR-100.' % found])

  def testWhatIsMeant(self):
    for url in ('cifar100', 'https://a/b/cifar-100-binary.tar.gz', 'file:///cifar-100-binary.tar.gz',
                'http://a/cifar-100-binary.tar.gz?download=1#x'):
      self.assertTrue(cifar100.is_meant(url), url)
    for url in (download.DATA_URL, 'sample', 'http://cifar100/x', 'cifar-100-binary',
                'http://a/cifar-100-binary.tar.gz/x', 'http://a/cifar-100-python.tar.gz'):
      self.assertFalse(cifar100.is_meant(url), url)
      self.assertTrue(cifar100.is_meant(url, 'coarse'), url)


class RefusalsTest(Cifar100TestCase):

  def refused(self, *texts, **changes):
    """Expects a Failure for changed files, both in an archive and in a directory."""
    files = {name: changes.get(name.split('.')[0], content) for name, content in self.files.items()}
    files = {name: content for name, content in files.items() if content is not None}
    folder = self.place(files)
    with self.fails(folder, *texts):
      self.fetch()
    self.assertEqual(self.listing(), ['cifar-100-binary'])
    tf.io.gfile.rmtree(folder)
    body = packed(files)
    self.write(self.archive, body)
    with self.fails(*texts):
      self.fetch(data_sha256=hashlib.sha256(body).hexdigest())
    self.assertEqual(self.listing(), ['cifar-100-binary.tar.gz'])
    os.remove(self.archive)

  def testSizes(self):
    for size in 0, 3073 * 5, 3074 * 5 - 1:
      self.refused('train.bin', '%d bytes are not a plausible number of 3074-byte records' % size,
                   train=bytes(size))
    self.refused('train.bin has 4 records, too few for 5 files', train=bytes(3074 * 4))
    self.refused('names.txt', '1048577 bytes are too many', fine_label_names=bytes((1 << 20) + 1))

  def testLabels(self):
    for labels, column, label, most in ('coarse', 0, 20, 19), ('fine', 1, 100, 99):
      content = bytearray(self.files['train.bin'])
      content[3074 * 7 + column] = label
      self.refused('train.bin has %s label %d at record 7 (byte %d); %s labels must be 0..%d.' % (
          labels, label, 3074 * 7 + column, labels, most), train=bytes(content))

  def testNames(self):
    for count in 0, 99, 101:
      self.refused('fine_label_names.txt holds %d names, not 100' % count,
                   fine_label_names=b'\n\nx y\r' * count)
    self.refused('coarse_label_names.txt holds 21 names, not 20', coarse_label_names=b'x\n' * 21)

  def testMissingFiles(self):
    for name in 'train.bin', 'test.bin', 'fine_label_names.txt':
      self.refused('holds no ' + name, 'Move it away', **{name.split('.')[0]: None})

  def testWhatIsNoRegularFile(self):
    folder = self.place()
    for name in self.files:
      path = os.path.join(folder, name)
      os.remove(path)
      os.mkfifo(path)
      with self.fails(path, 'is not a regular file'):
        self.fetch()
      os.remove(path)
      self.write(path, self.files[name])

  def testFileThatBecomesShorter(self):
    with open(os.path.join(self.place(), 'test.bin'), 'rb') as file:
      with self.fails(file.name, 'became shorter'):
        list(cifar100._blocks(file, 3074 * 5))

  def testMembers(self):
    for info in (member(FOLDER + '../x'), member('cifar-10-batches-bin/x'), member(FOLDER + 'a/b'),
                 member(FOLDER + 'x~', kind=tarfile.SYMTYPE, link='/etc/passwd'),
                 member(FOLDER + 'x~', (1 << 20) + 1), member(FOLDER + 'train.bin', 1)):
      body = tarball([(info, bytes(info.size))] + members_of(self.files, FOLDER))
      self.write(self.archive, body)
      with self.fails("Refusing archive member '%s'" % info.name):
        self.fetch(data_sha256=hashlib.sha256(body).hexdigest())
    self.write(self.archive, self.body[:-5000])
    with self.fails(self.archive, 'is damaged'):
      self.fetch(data_sha256=hashlib.sha256(self.body[:-5000]).hexdigest())
    self.assertEqual(self.listing(), ['cifar-100-binary.tar.gz'])

  def testOtherLabels(self):
    self.place()
    self.fetch()
    with self.fails(self.directory, 'holds CIFAR-100 with fine labels, not with coarse ones',
                    '--data_dir', '--labels=fine'):
      self.fetch(labels='coarse')
    self.assertConverted()

  def testOtherData(self):
    self.fill()
    with self.fails(self.directory, 'holds another data set, not CIFAR-100'):
      self.fetch()
    self.assertEqual(self.read(os.path.join(self.directory, 'test_batch.bin')),
                     good_files()['test_batch.bin'])

  def testCoarseLabelsOfCifar10(self):
    with self.fails('--labels=coarse is for CIFAR-100. Pass --data_url=cifar100'):
      cifar100.maybe_download_and_extract(self.data_dir, download.DATA_URL, labels='coarse')
    self.place()
    self.fetch(labels='coarse')
    cifar100.maybe_download_and_extract(self.data_dir, download.DATA_URL, labels='coarse')
    self.assertConverted('coarse')

  def testLabelsThatAreOutOfRangeLater(self):
    self.place()
    self.fetch()
    content = bytearray(self.read(os.path.join(self.directory, 'test_batch.bin')))
    content[0] = 100
    self.write(os.path.join(self.directory, 'test_batch.bin'), bytes(content))
    with self.fails('test_batch.bin: label 100 at record 0'):
      self.fetch()

  def testSpace(self):
    self.place()
    scarce = mock.patch.object(download.shutil, 'disk_usage', return_value=mock.Mock(free=120e6))
    with scarce, self.fails('Need 184 MB free in ' + self.data_dir, 'have 120 MB'):
      self.fetch()


if __name__ == '__main__':
  tf.test.main()
