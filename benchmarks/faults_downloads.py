"""Lets hosts on this machine answer in hostile ways for `faults`; nothing leaves the loopback."""
import contextlib
import hashlib
import os
import shutil
from unittest import mock

from cifar10_lib.dataset import archive, connection, download
from cifar10_lib.dataset.testing import AGAIN, Host, good_files, members_of, tarball

OK = b'HTTP/1.1 200 OK\r\n'
PART = b'HTTP/1.1 206 P\r\n'
CHUNKED = OK + b'Transfer-Encoding: chunked\r\n\r\n'
POLITE = ['polite', 'whole', 'redirect', 'hang up']
RUDE = ['lie', 'html', 'endless', 'deaf', 403, 404, 416, 500, 503,
        AGAIN + b'HTTP/1.1 100 Continue\r\n\r\n', AGAIN + b'HTTP/1.1 100 x\r\na: b\r\n',
        AGAIN + OK + b'\r\n' + b'x' * 1000, AGAIN + b'x', AGAIN + CHUNKED, AGAIN + OK, b'', b'\r\n',
        b'HTTP/1.1 200', b'HTTP/9.9 200 OK\r\n\r\n', b'HTTP/1.1 99999 x\r\n\r\n',
        b'HTTP/1.1 \xb2\xb2\xb2 x\r\n\r\n',
        b'HTTP/1.1 500 \x1b]0;x\x07' + b'y' * 70000 + b'\r\n\r\n',
        b'HTTP/1.1 302 F\r\nLocation: /x\r\n\r\n', b'HTTP/1.1 302 F\r\nLocation: http://[\r\n\r\n',
        b'HTTP/1.1 302 F\r\nLocation: file:///etc/passwd\r\n\r\n',
        b'HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:99999/\r\n\r\n',
        CHUNKED + b'-1\r\n' + bytes(1 << 20), CHUNKED + b'f' * 5000 + b'\r\n' + bytes(1 << 20),
        CHUNKED + b'1;' + b'x' * 60000 + b'\r\nx\r\n', CHUNKED + b'0\r\n' + b'a: b\r\n' * 200000,
        CHUNKED + '²\r\nx\r\n'.encode(), OK + b'a: b\r\n' * 1000 + b'\r\n', OK + b'x' * 70000,
        PART + b'\r\n', PART + 'Content-Range: bytes ²-3/4\r\n\r\n'.encode(),
        PART + b'Content-Range: bytes %s-1/%s\r\n\r\n' % (b'9' * 5000, b'9' * 5000),
        PART + b'Content-Range: \x1b[2J\r\n\r\n']
SIZES = ['²'.encode(), b'9' * 5000, b'-1', b'0', b'1', b'', b'1e6', b'+5', b' 7 ', b'99999999999']
# So that a case ends soon; the constants' own values differ only in how long a user waits.
QUICK = ((download, 'PAUSE_SECONDS', 0), (connection, 'TIMEOUT_SECONDS', 0.3),
         (connection, 'SLOW_SECONDS', 1), (connection, 'ALLOWANCE', 1 << 17),
         (download, 'MAX_BYTES', 1 << 20), (archive, 'say', lambda _: None),
         (download, 'print', lambda *_, **__: None))


def row(directory, damaged):
  """Returns the function that tries one download; `damaged` is `faults.damaged`."""
  files = good_files()
  body = tarball(members_of(files))
  sha256 = hashlib.sha256(body).hexdigest()
  small = download.CIFAR10._replace(size=len(body), sha256=sha256)
  data_dir = os.path.join(directory, 'data')

  def manner(random):
    kind = random.randint(6)
    if kind == 0:
      return POLITE[random.randint(len(POLITE))]
    if kind == 1:
      return random.randint(len(body))  # hangs up after so many bytes
    if kind == 2:
      return OK + b'Content-Length: %s\r\n\r\n' % SIZES[random.randint(len(SIZES))] + body
    if kind == 3:
      head = OK + b'Content-Length: %d\r\nX: y\r\n\r\n' % len(body)
      return damaged(random, head) + body
    if kind == 4:
      chunks = b''.join(b'%x\r\n%s\r\n' % (len(body[at:at + 9999]), body[at:at + 9999])
                        for at in range(0, len(body), 9999)) + b'0\r\n\r\n'
      return CHUNKED + (damaged(random, chunks) if random.rand() < 0.7 else chunks)
    return RUDE[random.randint(len(RUDE))]

  def case(random):
    manners = [manner(random) for _ in range(random.randint(1, 6))]
    own = random.rand() < 0.3  # the user's own hash, so that no size is known
    try:
      with contextlib.ExitStack() as stack:
        for place, name, value in QUICK + ((download, 'CIFAR10', small),):
          stack.enter_context(mock.patch.object(place, name, value, create=name == 'print'))
        host = stack.enter_context(Host(body, *manners))
        found = download.maybe_download_and_extract(
            data_dir, host.url, sha256 if own else None, max_bytes=1 << 20)
      for name, content in files.items():
        with open(os.path.join(found, name), 'rb') as file:
          if file.read() != content:
            return False
      return True
    finally:
      part = os.path.join(data_dir, small.archive + '.part')
      large = os.path.exists(part) and os.path.getsize(part) > 2 << 20
      shutil.rmtree(data_dir, ignore_errors=True)
      assert not large, 'the download is too large'
  return case
