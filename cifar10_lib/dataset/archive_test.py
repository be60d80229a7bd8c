"""Tests for archive: archives placed by hand, damaged ones, and members that are refused."""
import gzip
import hashlib
import os
import tarfile

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import download, records, testing
from cifar10_lib.dataset.testing import (
    Host, good_files, member, members_of, random_records, tarball)


class UnpackTest(testing.DownloadTestCase):

  def placed(self, body, **options):
    """Unpacks an archive that lies in the data directory; checks that no request is sent."""
    self.write(self.archive, body)
    options.setdefault('data_sha256', hashlib.sha256(body).hexdigest())
    host = Host(self.body)
    try:
      return self.fetch(host, **options)
    finally:
      self.assertEqual(host.ranges, [])

  def testPlacedByHand(self):
    self.placed(self.body, data_sha256=None)
    self.assertSound()

  def testPlacedByHandWithWrongHash(self):
    wrong = self.body + b'x'
    got = hashlib.sha256(wrong).hexdigest()
    with self.fails(self.archive, '%d bytes' % len(wrong), '%d bytes' % len(self.body), self.sha256,
                    '--data_sha256=' + got):
      self.placed(wrong, data_sha256=None)
    self.assertEqual(self.read(self.archive), wrong)  # the user's file remains
    self.assertEqual(self.listing(), [download.ARCHIVE])
    self.placed(wrong, data_sha256=got)

  def testDirectoryEntries(self):
    folders = [(member(name, kind=tarfile.DIRTYPE), b'') for name in
               ('.', './', './cifar-10-batches-bin/', 'cifar-10-batches-bin')]
    self.placed(tarball(folders + members_of(good_files())))
    self.assertSound()

  def testTextsAreOptional(self):
    files = {name: good_files()[name] for name in records.BIN_FILES}
    self.placed(tarball(members_of(files)))
    self.assertEqual(sorted(os.listdir(self.directory)), records.BIN_FILES)

  def testBadMembers(self):
    folder = records.DIRECTORY + '/'
    name = folder + 'data_batch_1.bin'
    size = records.RECORD_BYTES
    for info in (
        member('../x'), member(folder + '../../x'), member('/etc/x'), member('/' + name),
        member('x'), member(folder + 'x.bin'), member(folder + 'deeper/data_batch_1.bin'),
        member('.//' + name), member('x/', kind=tarfile.DIRTYPE),
        member(folder + 'deeper', kind=tarfile.DIRTYPE), member(records.DIRECTORY, size),
        member(name, kind=tarfile.SYMTYPE, link='/etc/passwd'),
        member(name, kind=tarfile.LNKTYPE, link='../x'), member(name, kind=tarfile.DIRTYPE),
        member(name, kind=tarfile.CHRTYPE), member(name, kind=tarfile.BLKTYPE),
        member(name, kind=tarfile.FIFOTYPE), member(name, 0), member(name, size - 1),
        member(folder + 'batches.meta.txt', (1 << 20) + 1)):
      with self.subTest(info.name, type=info.type, size=info.size):
        with self.fails('Refusing archive member %r' % info.name.rstrip('/')):
          self.placed(tarball([(info, bytes(info.size))] + members_of(good_files())))
        self.assertEqual(self.listing(), [download.ARCHIVE])
        self.assertEqual(os.listdir(os.path.dirname(self.data_dir)), ['data'])

  def testBomb(self):
    info = member('cifar-10-batches-bin/test_batch.bin', 3073 << 20)
    bomb = gzip.compress(info.tobuf() + bytes(99))
    with self.fails('Refusing archive member', '%d bytes' % (3073 << 20)):
      self.placed(bomb)

  def testDuplicate(self):
    with self.fails('Refusing archive member', 'twice'):
      self.placed(tarball(members_of(good_files()) * 2))

  def testTruncated(self):
    for length in (0, 5, 3000, len(self.body) // 2, len(self.body) - 5000):
      with self.subTest(length=length):
        with self.fails(self.archive, 'is damaged', 'Move it away'):
          self.placed(self.body[:length])
        self.assertEqual(self.listing(), [download.ARCHIVE])

  def testMissingMember(self):
    files = good_files()
    del files['data_batch_4.bin']
    with self.fails(self.archive, 'holds no data_batch_4.bin'):
      self.placed(tarball(members_of(files)))

  def testKilledWhileUnpacking(self):
    self.write(self.directory + '.unfinished/data_batch_1.bin', b'half')
    self.placed(self.body)
    self.assertSound()

  def testHalfFilledDirectoryIsMovedAside(self):
    self.fill({'data_batch_1.bin': b'half', 'notes.txt': b'mine'})
    self.placed(self.body)
    aside, = set(self.listing()) - {records.DIRECTORY, download.ARCHIVE}
    self.assertStartsWith(aside, records.DIRECTORY + '.incomplete-')
    self.assertEqual(self.read(os.path.join(self.data_dir, aside, 'notes.txt')), b'mine')
    self.assertIn(aside, self.said[-1])
    self.assertEqual(self.read(os.path.join(self.directory, 'data_batch_1.bin')),
                     random_records(4, 0))


if __name__ == '__main__':
  tf.test.main()
