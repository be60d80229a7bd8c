"""What the tests of the data set share: small files and archives, and a host with bad manners."""
import contextlib
import hashlib
import http.server
import io
import os
import tarfile
import threading
from unittest import mock

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import archive, cifar100, download, records

ERRORS = range(400, 600)  # HTTP
AGAIN = b'again: '  # a manner of Host
HTML = b'<!DOCTYPE html><html><title>503 Service Unavailable</title></html>'


def random_records(count, seed=0):
  """Returns `count` records of random pictures (bytes), which no compression makes smaller."""
  random = np.random.RandomState(seed)
  data = random.randint(0, 256, (count, records.RECORD_BYTES), dtype=np.uint8)
  data[:, 0] = np.arange(count) % 10
  return data.tobytes()


def good_files():
  """Returns a small data set: dict from file name to content (bytes)."""
  files = {name: random_records(4, seed) for seed, name in enumerate(records.BIN_FILES)}
  files[records.META_FILE] = ('\n'.join(records.CLASS_NAMES) + '\n\n').encode()
  files[records.README_FILE] = HTML
  return files


def cifar100_files(train=13, test=4, seed=0):
  """Returns the files of a small CIFAR-100: dict from file name to content (bytes).

  The labels of record I are I % 20 and 99 - I % 100, so that a record with a wrong label is found.
  """
  random, files = np.random.RandomState(seed), {}
  for labels, count in cifar100.LABELS.items():
    names = ['%s %d' % (labels, number) for number in range(count)]
    files[cifar100.NAMES[labels]] = ('\n'.join(names) + '\n').encode()
  for name, count in zip(cifar100.PARTS, (train, test), strict=True):
    data = random.randint(0, 256, (count, records.CIFAR100_RECORD_BYTES), dtype=np.uint8)
    data[:, 0], data[:, 1] = np.arange(count) % 20, 99 - np.arange(count) % 100
    files[name] = data.tobytes()
  return files


def member(name, size=0, kind=tarfile.REGTYPE, link=''):
  """Returns the header of an archive member (tarfile.TarInfo)."""
  info = tarfile.TarInfo(name)
  info.size, info.type, info.linkname = size, kind, link
  return info


def tarball(members):
  """Returns a .tar.gz file (bytes) of (TarInfo, content) pairs."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w:gz', compresslevel=1) as tar:
    for info, content in members:
      tar.addfile(info, io.BytesIO(content))
  return buffer.getvalue()


def members_of(files, prefix=records.DIRECTORY + '/'):
  """Returns (TarInfo, content) pairs of a dict from file name to content."""
  return [(member(prefix + name, len(content)), content) for name, content in files.items()]


class Host(http.server.ThreadingHTTPServer):
  """A web server that answers each request in the next of the given manners, then politely.

  A manner is 'polite' (honours Range), 'whole' (ignores it), 'lie' (a false Content-Range),
  'html', 'redirect', 'endless' (no Content-Length, more bytes than the body), 'hang up' (no
  Content-Length, half the body), 'deaf' (waits for self.go), one of ERRORS, another number (honours
  Range, but closes the connection after this many bytes), or bytes (sends them as they are, again
  and again if they start with AGAIN, until the client closes the connection).
  """
  daemon_threads = True

  def __init__(self, body, *manners):
    super().__init__(('127.0.0.1', 0), Answer)
    self.body, self.manners = body, list(manners)
    self.ranges = []  # the Range header of each request, or None
    self.served = 0   # bytes of body sent
    self.go = threading.Event()
    self.url = 'http://127.0.0.1:%d/%s' % (self.server_port, download.CIFAR10.archive)

  def __enter__(self):
    threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()
    return self

  def handle_error(self, *_):
    pass  # the client may close the connection

  def __exit__(self, *_):
    self.go.set()
    self.shutdown()
    self.server_close()


class Answer(http.server.BaseHTTPRequestHandler):
  """Answers one request of a Host."""

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

  def raw(self, content):
    self.close_connection = True
    again = content.startswith(AGAIN)
    with contextlib.suppress(OSError):
      while True:
        self.wfile.write(content.removeprefix(AGAIN))
        self.server.served += len(content)
        if not again or self.server.go.is_set():
          return

  def do_GET(self):
    host, body = self.server, self.server.body
    manner = host.manners.pop(0) if host.manners else 'polite'
    host.ranges.append(self.headers['Range'])
    start = int((self.headers['Range'] or 'bytes=0-')[len('bytes='):-1])
    if manner == 'deaf':
      host.go.wait(20)
    if isinstance(manner, bytes):
      return self.raw(manner)
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
  """Replaces the official archive by a small one and removes the pauses."""

  def setUp(self):
    super().setUp()
    self.data_dir = os.path.join(self.get_temp_dir(), 'data')
    self.directory = os.path.join(self.data_dir, records.DIRECTORY)
    self.archive = os.path.join(self.data_dir, download.CIFAR10.archive)
    self.part = self.archive + '.part'
    self.body = tarball(members_of(good_files()))
    self.sha256 = hashlib.sha256(self.body).hexdigest()
    small = download.CIFAR10._replace(size=len(self.body), sha256=self.sha256)
    for name, value in ('CIFAR10', small), ('PAUSE_SECONDS', 0), ('BLOCK_BYTES', 1000):
      self.enter_context(mock.patch.object(download, name, value))
    self.said = []
    self.enter_context(mock.patch.object(archive, 'say', self.said.append))

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
    self.assertEqual(self.listing(), [records.DIRECTORY, download.CIFAR10.archive])
