"""Tests for download: a host with bad manners, interrupted downloads, a full disk."""
import hashlib
import io
import os
from unittest import mock

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import download, records, testing
from cifar10_lib.dataset.testing import HTML, Host, good_files, members_of, tarball


class FetchTest(testing.DownloadTestCase):

  def testWhole(self):
    host = Host(self.body)
    with mock.patch('sys.stdout', io.StringIO()) as stdout:
      self.assertEqual(self.fetch(host), self.directory)
    self.assertEqual(stdout.getvalue(), 'Successfully downloaded cifar-10-binary.tar.gz %d bytes.\n'
                     % len(self.body))
    self.assertEqual(host.ranges, [None])
    self.assertSound()

  def testNoNetworkWhenDataIsThere(self):
    self.fill()
    os.remove(os.path.join(self.directory, records.META_FILE))  # not worth a download
    host = Host(self.body)
    self.fetch(host)
    self.assertEqual(host.ranges, [])
    self.assertEqual(self.listing(), [records.DIRECTORY])

  def testMissingFilesAreNamedFirst(self):
    self.fill({name: good_files()[name] for name in records.BIN_FILES[:4]})
    self.fetch(Host(self.body))
    self.assertEqual(self.said[0], '%s lacks data_batch_5.bin, test_batch.bin. Fetching the '
                     'archive of CIFAR-10.' % self.directory)
    self.assertContainsSubset([records.DIRECTORY, download.ARCHIVE], self.listing())
    os.remove(os.path.join(self.directory, records.TEST_FILE))
    for name in set(self.listing()) - {records.DIRECTORY, download.ARCHIVE}:
      os.rename(os.path.join(self.data_dir, name), os.path.join(self.data_dir, 'aside'))
    self.said.clear()
    self.fetch(Host(self.body))
    self.assertEqual(self.said[0], '%s lacks test_batch.bin. Unpacking %s.' % (
        self.directory, self.archive))

  def testUnreadableArchive(self):
    self.write(self.archive, self.body)
    denied = mock.patch('builtins.open', side_effect=PermissionError(13, 'Not you'))
    with denied, self.fails('Cannot read %s: Not you' % self.archive):
      self.fetch(Host(self.body))

  def testTheDirectoryOfTheFilesItself(self):
    self.fill()
    host = Host(self.body)
    with host:
      found = download.maybe_download_and_extract(self.directory, host.url)
      self.assertEqual(found, self.directory)
      os.remove(os.path.join(self.directory, 'data_batch_2.bin'))
      with self.fails(self.directory, 'lacks data_batch_2.bin'):
        download.maybe_download_and_extract(self.directory, host.url)
    self.assertEqual(host.ranges, [])

  def testWhatIsNoHash(self):
    for sha256 in '', 'abc', self.sha256 + '0', '²' * 64, '\x1b[2J':
      host = Host(self.body)
      with self.fails('--data_sha256=', '64 hex digits'):
        self.fetch(host, data_sha256=sha256)
      self.assertEqual(host.ranges, [])

  def testFilesInTheWay(self):
    os.makedirs(self.data_dir)
    for path in self.archive, self.part:
      os.mkfifo(path)
      with self.fails(path, 'is not a regular file'):
        self.fetch(Host(self.body))
      os.remove(path)
      self.write(path, b'')
      os.truncate(path, 1 << 40)  # without blocks
      with self.fails(path, 'more than the limit'):
        self.fetch(Host(self.body))
      os.remove(path)

  def testDataThatIsThereIsChecked(self):
    self.fill({**good_files(), 'data_batch_2.bin': b''})
    with self.fails('data_batch_2.bin', 'empty'):
      self.fetch(Host(self.body))

  def testNumberOfClasses(self):
    files = {**good_files(), 'data_batch_2.bin': b'\x0b' + bytes(3072)}
    self.fill(files)
    with self.fails('data_batch_2.bin: label 11 at record 0 (byte 0); labels must be 0..9,'):
      self.fetch(Host(self.body))
    self.fill({**files, 'batches.meta.txt': b'name\n' * 12})
    self.assertEqual(self.fetch(Host(self.body)), self.directory)

  def testFileUrl(self):
    mirror = os.path.join(self.get_temp_dir(), 'mirror')
    self.write(mirror, self.body)
    self.write(self.part, self.body[:5000])  # a file URL ignores Range: starts again
    download.maybe_download_and_extract(self.data_dir, 'file://' + mirror)
    self.assertSound()

  def testRedirect(self):
    self.fetch(Host(self.body, 'redirect'))
    self.assertSound()

  def testUnknownUrl(self):
    with self.fails('--data_url=example', 'https'):
      download.maybe_download_and_extract(self.data_dir, 'example')

  def testMirrorWithItsOwnHash(self):
    body = tarball(members_of(good_files(), './cifar-10-batches-bin/'))
    self.assertNotEqual(body, self.body)
    self.fetch(Host(body), data_sha256=hashlib.sha256(body).hexdigest().upper())
    self.assertSound()

  def testCutsAreResumed(self):
    host = Host(self.body, 20000, 10000, 30000)
    self.fetch(host)
    self.assertEqual(host.ranges, [None, 'bytes=20000-', 'bytes=30000-', 'bytes=60000-'])
    self.assertEqual(host.served, len(self.body))
    self.assertSound()

  def testManyCutsThatEachBringSomething(self):
    host = Host(self.body, *[len(self.body) // 12] * 12)
    self.fetch(host)
    self.assertLen(host.ranges, 13)
    self.assertEqual(host.served, len(self.body))

  def testTriesAreBounded(self):
    host = Host(self.body, *[1000] * 9)
    four = mock.patch.object(download, 'ALL_TRIES', 4)
    with four, self.fails('Run again to go on from byte 4000'):
      self.fetch(host)
    self.assertLen(host.ranges, 4)

  def testNextRunResumes(self):
    host = Host(self.body, 20000, 503, 503, 503)
    with self.fails(host.url, self.part, 'HTTP Error 503', 'byte 20000', 'browser', self.archive,
                    '--data_url=sample'):
      self.fetch(host)
    self.assertLen(host.ranges, 4)
    self.assertEqual(self.listing(), [os.path.basename(self.part)])
    host = Host(self.body)
    self.fetch(host)
    self.assertEqual(host.ranges, ['bytes=20000-'])
    self.assertEqual(host.served, len(self.body) - 20000)
    self.assertSound()

  def testRangeIgnored(self):
    self.write(self.part, self.body[:20000])
    host = Host(self.body, 'whole')
    self.fetch(host)
    self.assertEqual((host.ranges, host.served), (['bytes=20000-'], len(self.body)))
    self.assertSound()

  def testRangeOfAnotherFile(self):
    self.write(self.part, self.body[:20000])
    host = Host(self.body, 'lie')
    self.fetch(host)
    self.assertEqual(host.ranges, ['bytes=20000-', None])
    self.assertSound()

  def testPartLongerThanTheArchive(self):
    self.write(self.part, bytes(len(self.body) + 1))
    host = Host(self.body)  # answers 416
    self.fetch(host)
    self.assertEqual(host.ranges, ['bytes=%d-' % (len(self.body) + 1), None])
    self.assertSound()

  def testWholePartNeedsNoNetwork(self):
    self.write(self.part, self.body)
    host = Host(self.body)
    self.fetch(host)
    self.assertEqual(host.ranges, [])
    self.assertSound()

  def testPartOfAnotherFileIsDroppedOnce(self):
    self.write(self.part, bytes(20000))
    host = Host(self.body)
    self.fetch(host)
    self.assertEqual(host.ranges, ['bytes=20000-', None])
    self.assertSound()

  def testWrongHash(self):
    wrong = self.body[:-1] + bytes([self.body[-1] ^ 1])
    got = hashlib.sha256(wrong).hexdigest()
    host = Host(wrong)
    with self.fails(host.url, self.sha256, '--data_sha256=' + got, self.archive):
      self.fetch(host)
    self.assertEqual(self.listing(), [os.path.basename(self.part)])
    with self.fails(self.archive, 'is damaged'):  # the hash matches; gzip finds the error
      self.fetch(host := Host(wrong), data_sha256=got)
    self.assertEqual(host.ranges, [])  # a user who trusts it does not fetch it again

  def testHtmlPage(self):
    self.write(self.part, self.body[:20000])
    host = Host(self.body, 'html', 'html', 'html')
    with self.fails('got %d bytes, expected %d' % (len(HTML), len(self.body)), 'HTML page'):
      self.fetch(host)
    self.assertEqual(self.read(self.part), self.body[:20000])  # the earlier bytes remain

  def testAnotherArchive(self):
    with self.fails('got %d bytes, expected %d' % (len(self.body) + 1, len(self.body)),
                    '--data_sha256'):
      self.fetch(Host(self.body + b'x'))
    self.assertEqual(self.listing(), [])

  def testErrorsThenGood(self):
    host = Host(self.body, 503, 'html', 'polite')
    self.fetch(host)
    self.assertLen(self.said, 2)
    self.assertSound()

  def testHangUpWithoutContentLength(self):
    host = Host(self.body, 'hang up')
    self.fetch(host)
    self.assertEqual(host.ranges, [None, 'bytes=%d-' % (len(self.body) // 2)])
    self.assertSound()

  def testEndlessBody(self):
    with self.fails('expected %d' % len(self.body)):
      self.fetch(Host(self.body, *['endless'] * 4))
    self.assertLess(os.path.getsize(self.part), len(self.body) + 2 * download.BLOCK_BYTES)
    self.fetch(Host(self.body))
    self.assertSound()

  def testNobodyAtHome(self):
    with Host(self.body) as host:
      pass
    with self.fails(host.url, 'refused'):
      download.maybe_download_and_extract(self.data_dir, host.url)

  def testInterruptLeavesOnlyThePart(self):
    def interrupted(blocks, *_):
      yield next(blocks)
      raise KeyboardInterrupt
    with_interrupt = mock.patch.object(download, '_with_progress', interrupted)
    with with_interrupt, self.assertRaises(KeyboardInterrupt):
      self.fetch(Host(self.body))
    self.assertEqual(self.listing(), [os.path.basename(self.part)])
    self.assertEqual(self.read(self.part), self.body[:1000])

  def testDiskSpace(self):
    host = Host(self.body)
    official = mock.patch.object(download, 'ARCHIVE_BYTES', 170052171)
    scarce = mock.patch.object(download.shutil, 'disk_usage', return_value=mock.Mock(free=120e6))
    with official, scarce, self.fails('Need 354 MB free in ' + self.data_dir, 'have 120 MB'):
      self.fetch(host)
    self.assertEqual(host.ranges, [])

  def testDiskFull(self):
    full = mock.patch.object(
        download.os, 'fsync', side_effect=OSError(28, 'No space left on device'))
    host = Host(self.body, 30000)
    with full, self.fails(self.part, 'no space left', 'Free about 184 MB', 'from byte 30000'):
      self.fetch(host)
    self.assertLen(host.ranges, 1)  # another try would not help
    self.assertEqual(self.read(self.part), self.body[:30000])
    self.write(self.archive, self.body)
    with full, self.fails(self.directory, 'no space left', 'Free about 184 MB'):
      self.fetch(Host(self.body))
    self.assertEqual(self.listing(), [download.ARCHIVE, os.path.basename(self.part)])


class ProgressTest(testing.DownloadTestCase):

  def show(self, total, terminal=False):
    blocks = [bytes(1000)] * 5
    stderr = io.StringIO()
    stderr.isatty = lambda: terminal
    with mock.patch('sys.stderr', stderr), mock.patch.object(
        download.time, 'monotonic', side_effect=range(0, 60, 6)):
      self.assertEqual(list(download._with_progress(iter(blocks), 1000, total)), blocks)
    return stderr.getvalue()

  def testLines(self):
    self.assertEqual(self.show(9000), '')
    self.assertEqual(self.said, [
        'cifar-10-binary.tar.gz: 3.00kB of 9.00kB, 00:36 left, 167B/s',
        'cifar-10-binary.tar.gz: 5.00kB of 9.00kB, 00:24 left, 167B/s'])

  def testLinesWithoutTotal(self):
    self.assertEqual(self.show(None), '')
    self.assertEqual(self.said[0], 'cifar-10-binary.tar.gz: 3.00kB, 167B/s')

  def testBar(self):
    self.assertRegex(self.show(9000, terminal=True), r'cifar-10-binary.tar.gz: .*/9.00k')
    self.assertEqual(self.said, [])


if __name__ == '__main__':
  tf.test.main()
