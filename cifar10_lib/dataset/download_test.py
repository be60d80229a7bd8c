"""Tests for download: a host with bad manners, bad archives, data with flaws."""
import contextlib
import gzip
import hashlib
import http.server
import io
import os
import tarfile
import threading
from unittest import mock

import numpy as np

from cifar10_lib.dataset import download as download
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf

ERRORS = range(400, 600)  # HTTP
HTML = b'<!DOCTYPE html><html><title>503 Service Unavailable</title></html>'


def records(count, seed=0):
  """Returns `count` records of random pictures, as bytes that no compression makes smaller."""
  random = np.random.RandomState(seed)
  data = random.randint(0, 256, (count, download.RECORD_BYTES), dtype=np.uint8)
  data[:, 0] = np.arange(count) % 10
  return data.tobytes()


def good_files():
  """Returns a small data set, file name to content."""
  files = {name: records(4, seed) for seed, name in enumerate(download.BIN_FILES)}
  files[download.META_FILE] = ('\n'.join(download.CLASS_NAMES) + '\n\n').encode()
  files[download.README_FILE] = HTML
  return files


def member(name, size=0, kind=tarfile.REGTYPE, link=''):
  info = tarfile.TarInfo(name)
  info.size, info.type, info.linkname = size, kind, link
  return info


def tarball(members):
  """Returns a .tar.gz of (TarInfo, content) pairs."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w:gz', compresslevel=1) as tar:
    for info, content in members:
      tar.addfile(info, io.BytesIO(content))
  return buffer.getvalue()


def members_of(files, prefix=download.DIRECTORY + '/'):
  return [(member(prefix + name, len(content)), content) for name, content in files.items()]


class Host(http.server.ThreadingHTTPServer):
  """A web server that answers each request in the next of the given manners, then politely.

  A manner is 'polite' (honours Range), 'whole' (ignores it), 'lie' (an untrue Content-Range),
  'html', 'redirect', 'endless' (no Content-Length, and more than there is), 'hang up' (no
  Content-Length, half the body), 'deaf' (waits for self.go), one of ERRORS, or another
  number (honours Range, but cuts the line after so many bytes).
  """
  daemon_threads = True

  def __init__(self, body, *manners):
    super().__init__(('127.0.0.1', 0), Answer)
    self.body, self.manners = body, list(manners)
    self.ranges = []  # the Range header of each request, None where there was none
    self.served = 0   # bytes of body
    self.go = threading.Event()
    self.url = 'http://127.0.0.1:%d/%s' % (self.server_port, download.ARCHIVE)

  def __enter__(self):
    threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()
    return self

  def handle_error(self, *_):
    pass  # the client may hang up, too

  def __exit__(self, *_):
    self.go.set()
    self.shutdown()
    self.server_close()


class Answer(http.server.BaseHTTPRequestHandler):

  def log_message(self, *_):
    pass

  def reply(self, status, body, cut=None, **headers):
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name.replace('_', '-'), value)
    self.end_headers()
    sent = body[:cut]
    self.server.served += len(sent)
    self.wfile.write(sent)

  def do_GET(self):
    host, body = self.server, self.server.body
    manner = host.manners.pop(0) if host.manners else 'polite'
    host.ranges.append(self.headers['Range'])
    start = int((self.headers['Range'] or 'bytes=0-')[len('bytes='):-1])
    if manner == 'deaf':
      host.go.wait(20)
    if manner == 'html':
      self.reply(200, HTML, Content_Length=len(HTML))
    elif manner == 'redirect':
      self.reply(302, b'', Location='/elsewhere')
    elif manner == 'endless':
      self.reply(200, body + bytes(1 << 20))
    elif manner == 'hang up':
      self.reply(200, body, cut=len(body) // 2)
    elif manner in ERRORS:
      self.reply(manner, HTML, Content_Length=len(HTML))
    elif manner == 'whole' or not start:
      self.reply(200, body, cut=manner if isinstance(manner, int) else None,
                 Content_Length=len(body))
    elif start >= len(body):
      self.reply(416, b'', Content_Range='bytes */%d' % len(body))
    else:
      total = len(body) + 7 if manner == 'lie' else len(body)
      self.reply(206, body[start:], cut=manner if isinstance(manner, int) else None,
                 Content_Length=len(body) - start,
                 Content_Range='bytes %d-%d/%d' % (start, len(body) - 1, total))


class DownloadTestCase(tf.test.TestCase):
  """Has a small archive in place of the official one, and no pauses."""

  def setUp(self):
    super().setUp()
    self.data_dir = os.path.join(self.get_temp_dir(), 'data')
    self.directory = os.path.join(self.data_dir, download.DIRECTORY)
    self.archive = os.path.join(self.data_dir, download.ARCHIVE)
    self.part = self.archive + '.part'
    self.body = tarball(members_of(good_files()))
    self.sha256 = hashlib.sha256(self.body).hexdigest()
    for name, value in (('ARCHIVE_BYTES', len(self.body)), ('ARCHIVE_SHA256', self.sha256),
                        ('PAUSE_SECONDS', 0), ('BLOCK_BYTES', 1000)):
      self.enter_context(mock.patch.object(download, name, value))
    self.said = []
    self.enter_context(mock.patch.object(download, '_say', self.said.append))

  def write(self, path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as file:
      file.write(content)

  def read(self, path):
    with open(path, 'rb') as file:
      return file.read()

  def fill(self, files=None):
    for name, content in (good_files() if files is None else files).items():
      self.write(os.path.join(self.directory, name), content)

  def listing(self):
    return sorted(set(os.listdir(self.data_dir)) - {'.lock'})

  def fetch(self, host, **options):
    with host:
      return download.maybe_download_and_extract(self.data_dir, host.url, **options)

  @contextlib.contextmanager
  def fails(self, *texts):
    """Expects a Failure of one line that holds all of `texts`."""
    with self.assertRaises(Failure) as caught:
      yield
    for text in texts:
      self.assertIn(text, str(caught.exception))
    self.assertNotIn('\n', str(caught.exception))

  def assertSound(self):
    for name, content in good_files().items():
      self.assertEqual(self.read(os.path.join(self.directory, name)), content)
    self.assertEqual(self.listing(), [download.DIRECTORY, download.ARCHIVE])


class FetchTest(DownloadTestCase):

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
    os.remove(os.path.join(self.directory, download.META_FILE))  # not worth a download
    host = Host(self.body)
    self.fetch(host)
    self.assertEqual(host.ranges, [])
    self.assertEqual(self.listing(), [download.DIRECTORY])

  def testDataThatIsThereIsChecked(self):
    self.fill({**good_files(), 'data_batch_2.bin': b''})
    with self.fails('data_batch_2.bin', 'empty'):
      self.fetch(Host(self.body))

  def testFileUrl(self):
    mirror = os.path.join(self.get_temp_dir(), 'mirror')
    self.write(mirror, self.body)
    self.write(self.part, self.body[:5000])  # a file URL knows no Range: starts again
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
    with contextlib.suppress(Failure):  # the hash lets it pass; gzip finds the flaw
      self.fetch(host := Host(wrong), data_sha256=got)
    self.assertEqual(host.ranges, [])  # who trusts it need not fetch it again

  def testHtmlPage(self):
    self.write(self.part, self.body[:20000])
    host = Host(self.body, 'html', 'html', 'html')
    with self.fails('got %d bytes, expected %d' % (len(HTML), len(self.body)), 'HTML page'):
      self.fetch(host)
    self.assertEqual(self.read(self.part), self.body[:20000])  # it did not cost what was there

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

  def testTwoStarters(self):
    waiting = threading.Event()
    def start():
      download.maybe_download_and_extract(self.data_dir, host.url)
    def say(text):
      if text.startswith('Waiting for another program'):
        waiting.set()
    with Host(self.body, 'deaf') as host, mock.patch.object(download, '_say', say):
      starters = [threading.Thread(target=start) for _ in range(2)]
      for starter in starters:
        starter.start()
      self.assertTrue(waiting.wait(20))
      host.go.set()
      for starter in starters:
        starter.join(20)
    self.assertEqual(host.ranges, [None])
    self.assertSound()

  def testDiskSpace(self):
    host = Host(self.body)
    official = mock.patch.object(download, 'ARCHIVE_BYTES', 170052171)
    scarce = mock.patch.object(download.shutil, 'disk_usage', return_value=mock.Mock(free=120e6))
    with official, scarce, self.fails('Need 354 MB free in ' + self.data_dir, 'have 120 MB'):
      self.fetch(host)
    self.assertEqual(host.ranges, [])

  def testUnwritableDirectory(self):
    denied = mock.patch.object(download.os, 'makedirs', side_effect=PermissionError(13, 'Not you'))
    with denied, self.fails(self.data_dir, 'Not you', '--data_dir'):
      self.fetch(Host(self.body))
    self.write(self.data_dir, b'')
    with self.fails(self.data_dir, 'File exists'):
      self.fetch(Host(self.body))

  def testDiskFull(self):
    full = mock.patch.object(
        download.os, 'fsync', side_effect=OSError(28, 'No space left on device'))
    with full, self.fails(self.part, 'No space left'):
      self.fetch(Host(self.body, *['whole'] * 4))
    self.write(self.archive, self.body)
    with full, self.fails(self.directory, 'No space left'):
      self.fetch(Host(self.body))
    self.assertEqual(self.listing(), [download.ARCHIVE, os.path.basename(self.part)])


class ProgressTest(DownloadTestCase):

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


class UnpackTest(DownloadTestCase):

  def placed(self, body, **options):
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
    self.assertEqual(self.read(self.archive), wrong)  # the user's file stays
    self.assertEqual(self.listing(), [download.ARCHIVE])
    self.placed(wrong, data_sha256=got)

  def testDirectoryEntries(self):
    folders = [(member(name, kind=tarfile.DIRTYPE), b'') for name in
               ('.', './', './cifar-10-batches-bin/', 'cifar-10-batches-bin')]
    self.placed(tarball(folders + members_of(good_files())))
    self.assertSound()

  def testTextsAreOptional(self):
    files = {name: good_files()[name] for name in download.BIN_FILES}
    self.placed(tarball(members_of(files)))
    self.assertEqual(sorted(os.listdir(self.directory)), download.BIN_FILES)

  def testBadMembers(self):
    folder = download.DIRECTORY + '/'
    name = folder + 'data_batch_1.bin'
    size = download.RECORD_BYTES
    for info in (
        member('../x'), member(folder + '../../x'), member('/etc/x'), member('/' + name),
        member('x'), member(folder + 'x.bin'), member(folder + 'deeper/data_batch_1.bin'),
        member('.//' + name), member('x/', kind=tarfile.DIRTYPE),
        member(folder + 'deeper', kind=tarfile.DIRTYPE), member(download.DIRECTORY, size),
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
    aside, = set(self.listing()) - {download.DIRECTORY, download.ARCHIVE}
    self.assertStartsWith(aside, download.DIRECTORY + '.incomplete-')
    self.assertEqual(self.read(os.path.join(self.data_dir, aside, 'notes.txt')), b'mine')
    self.assertIn(aside, self.said[-1])
    self.assertEqual(self.read(os.path.join(self.directory, 'data_batch_1.bin')), records(4, 0))


class CheckDataTest(DownloadTestCase):

  def flawed(self, name, content):
    self.fill()
    self.write(os.path.join(self.directory, name), content)

  def testCounts(self):
    self.fill({**good_files(), 'data_batch_3.bin': records(7)})
    self.assertEqual(download.check_data(self.directory), {
        'data_batch_1.bin': 4, 'data_batch_2.bin': 4, 'data_batch_3.bin': 7,
        'data_batch_4.bin': 4, 'data_batch_5.bin': 4, 'test_batch.bin': 4})

  def testTruncated(self):
    self.flawed('data_batch_3.bin', records(3)[:-1])
    with self.fails('data_batch_3.bin: 9218 bytes is not a multiple of 3073 '
                    '(2 records + 3072 bytes)', 'Move it away'):
      download.check_data(self.directory)

  def testEmpty(self):
    self.flawed('test_batch.bin', b'')
    with self.fails('test_batch.bin: empty'):
      download.check_data(self.directory)

  def testLabel(self):
    content = bytearray(records(20))
    content[17 * 3073] = 200
    self.flawed('data_batch_1.bin', content)
    with self.fails('data_batch_1.bin: label 200 at record 17 (byte 52241)', 'CIFAR-100'):
      download.check_data(self.directory)

  def testCifar100Records(self):
    self.flawed('data_batch_1.bin', bytes(3074 * 5))
    with self.fails('is this CIFAR-100 (3074-byte records)?'):
      download.check_data(self.directory)

  def testHtml(self):
    for content in (HTML, b'\n  <html>' + bytes(3064)):  # the second has a record's size
      self.flawed('data_batch_5.bin', content)
      with self.fails('data_batch_5.bin: an HTML page'):
        download.check_data(self.directory)

  def testMissing(self):
    with self.fails(self.directory + ' is missing', 'cifar10_train.py'):
      download.check_data(self.directory)
    self.fill()
    os.remove(os.path.join(self.directory, 'data_batch_2.bin'))
    with self.fails('data_batch_2.bin is missing'):
      download.check_data(self.directory)

  def testOtherDataSets(self):
    for name in 'cifar-10-batches-py', 'cifar-100-binary':
      for place in self.data_dir, self.directory:
        found = os.path.join(place, name)
        os.makedirs(found)
        with self.fails('Found ' + found, 'BINARY'):
          download.check_data(self.directory)
        os.rmdir(found)

  def testNotRegular(self):
    self.write(self.directory, b'')
    with self.fails(self.directory + ' is not a directory'):
      download.check_data(self.directory)
    os.remove(self.directory)
    self.fill()
    path = os.path.join(self.directory, 'data_batch_1.bin')
    os.remove(path)
    os.symlink(path, path)
    with self.fails(path + ' is not a regular file'):
      download.check_data(self.directory)

  def testUnreadable(self):
    self.fill()
    denied = mock.patch('builtins.open', side_effect=PermissionError(13, 'Permission denied'))
    with denied, self.fails('data_batch_1.bin: Permission denied'):
      download.check_data(self.directory)

  def testClassNames(self):
    self.fill({'batches.meta.txt': b'\n'.join(b'kind %d' % i for i in range(10)) + b'\n\n'})
    self.assertEqual(download.class_names(self.directory), ['kind %d' % i for i in range(10)])
    self.fill({'batches.meta.txt': b'one\ntwo\n'})
    with self.fails('holds 2 names'):
      download.class_names(self.directory)
    self.assertEqual(download.class_names(self.data_dir)[9], 'truck')

  def testFacts(self):
    self.assertEqual(download.RECORD_BYTES, 3073)
    self.assertLen(download.FILES, 8)


if __name__ == '__main__':
  tf.test.main()
