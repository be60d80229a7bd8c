"""Tests for archive: archives placed by hand, damaged ones, and members that are refused."""
import gzip
import hashlib
import io
import os
import tarfile
from unittest import mock

import numpy as np

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import archive, download, records, testing
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
    self.assertEqual(self.listing(), [download.CIFAR10.archive])
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
        with self.fails("Refusing archive member '%s'" % info.name.rstrip('/')):
          self.placed(tarball([(info, bytes(info.size))] + members_of(good_files())))
        self.assertEqual(self.listing(), [download.CIFAR10.archive])
        self.assertEqual(os.listdir(os.path.dirname(self.data_dir)), ['data'])

  def testBomb(self):
    info = member('cifar-10-batches-bin/test_batch.bin', 3073 << 20)
    bomb = gzip.compress(info.tobuf() + bytes(99))
    with self.fails('Refusing archive member', '%d bytes' % (3073 << 20)):
      self.placed(bomb)

  def packed(self, *headers, many=1):
    """Returns an archive of (name, type, content) `many` times, before the sound members."""
    start = io.BytesIO()
    for name, kind, content in headers:
      start.write(member(name, len(content), kind).tobuf(tarfile.GNU_FORMAT) + content
                  + bytes(-len(content) % 512))
    return gzip.compress(start.getvalue() * many, 1) + self.body

  def testFlippedBits(self):
    random = np.random.RandomState(0)
    for place in random.randint(10, len(self.body), 30):  # before: gzip's header, without a CRC
      flipped = bytearray(self.body)
      flipped[place] ^= 1 << random.randint(8)
      with self.fails(self.archive, 'is damaged'):
        self.placed(bytes(flipped))

  def testExtendedHeaders(self):
    for text in (b'', b'20 mtime=1234567.89\n', b'13 mtime=nan\n', b'15 mtime=1e400\n', b'7 uid=\n',
                 b'5009 gid=%s\n' % (b'9' * 4999), b'0 a=b\n', b'9' * 60000,
                 b'21 comment=path=../x\n'):
      with self.subTest(text[:20]):
        self.placed(self.packed(('x', tarfile.XHDTYPE, text)))
        self.assertSound()
        tf.io.gfile.rmtree(self.directory)

  def testExtendedHeadersThatMatter(self):
    for text, field in ((b'15 path=../../x\n', 'path'), (b'11 size=99\n', 'size'),
                        (b'6 a=b\n25 GNU.sparse.map=0,1,2\n', 'GNU.sparse.map')):
      for kind in tarfile.XHDTYPE, tarfile.XGLTYPE:
        with self.fails("Refusing archive member 'x': it sets %s." % field):
          self.placed(self.packed(('x', kind, text)))

  def testHeadersThatDevour(self):
    text = bytes((64 << 10) + 1)
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME,
                 tarfile.GNUTYPE_LONGLINK):
      with self.fails('Refusing archive member', 'too long'):
        self.placed(self.packed(('x', kind, text)))
    folder = records.DIRECTORY + '/'
    for name, kind in (folder, tarfile.DIRTYPE), ('x', tarfile.XHDTYPE), ('x', tarfile.XGLTYPE):
      with self.fails(self.archive, 'is damaged', 'more than 100 members'):
        self.placed(self.packed((name, kind, b''), many=100))
    self.placed(self.packed((folder, tarfile.DIRTYPE, b''), many=90))
    self.assertSound()

  def testNamesAreEscapedAndCut(self):
    for name, shown in ('\x1b]0;owned\x07\n', r"'\x1b]0;owned\x07\n'"), (
        'n' * 120 + '/' + 'm' * 100, "'%s...'" % ('n' * 97)):
      info = member(name).tobuf(tarfile.USTAR_FORMAT)
      with self.fails('Refusing archive member %s: ' % shown):
        self.placed(gzip.compress(info + bytes(1024)))

  def testNegativeSizes(self):
    for name in 'data_batch_1.bin', 'batches.meta.txt':
      info = member('%s/%s' % (records.DIRECTORY, name), -3073).tobuf(tarfile.GNU_FORMAT)
      with self.fails('Refusing archive member', '-3073 bytes'):
        self.placed(gzip.compress(info + bytes(1024)))

  def testManyStreams(self):
    tar = gzip.decompress(self.body)
    self.placed(b''.join(gzip.compress(tar[start:start + 999])
                         for start in range(0, len(tar), 999)))
    self.assertSound()
    tf.io.gfile.rmtree(self.directory)
    with mock.patch.object(archive, 'MAX_STREAMS', 100), self.fails('more than 100 gzip streams'):
      self.placed(gzip.compress(b'') * 100 + self.body)

  def testMuchBehindTheEnd(self):
    with mock.patch.object(archive, 'MAX_BYTES', 1 << 20), self.fails('more than 1 MB'):
      self.placed(self.body + gzip.compress(bytes(1 << 20)))
    self.placed(self.body + bytes(999))  # what is no gzip stream is ignored
    self.assertSound()

  def testDuplicate(self):
    with self.fails('Refusing archive member', 'twice'):
      self.placed(tarball(members_of(good_files()) * 2))

  def testTruncated(self):
    for length in (0, 5, 3000, len(self.body) // 2, len(self.body) - 5000):
      with self.subTest(length=length):
        with self.fails(self.archive, 'is damaged', 'Move it away'):
          self.placed(self.body[:length])
        self.assertEqual(self.listing(), [download.CIFAR10.archive])

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
    aside, = set(self.listing()) - {records.DIRECTORY, download.CIFAR10.archive}
    self.assertStartsWith(aside, records.DIRECTORY + '.incomplete-')
    self.assertEqual(self.read(os.path.join(self.data_dir, aside, 'notes.txt')), b'mine')
    self.assertIn(aside, self.said[-1])
    self.assertEqual(self.read(os.path.join(self.directory, 'data_batch_1.bin')),
                     random_records(4, 0))


if __name__ == '__main__':
  tf.test.main()
