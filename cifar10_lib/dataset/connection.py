"""Opens the URL of the archive, and gives up on a host that is too slow or never sends data.

Python's http.client sets no such limits. A host may send one byte every few seconds, or repeat the
answer '100 Continue' for ever.
"""
import http.client
import io
import os
import re
import stat
import time
import urllib.error
import urllib.parse
import urllib.request

from cifar10_lib.common.programs import Failure, printable

# The host sends 70 to 90 kB/s to some users, and sometimes closes the connection.
TIMEOUT_SECONDS = 30     # without a single byte
SLOW_SECONDS = 30        # of waiting, over which the rate is measured
LEAST_RATE = 1000        # bytes per second
ALLOWANCE = 1 << 20      # bytes received before a body, or for one block of it
MAX_DIGITS = 18          # of a size that a host states


class TooSlow(TimeoutError):
  """The host sends less than LEAST_RATE."""


class _Watched(io.RawIOBase):
  """The raw stream of a socket, which raises once the host is too slow or sends too much.

  `left` is the number of bytes that may still come; whoever reads sets it.
  """

  def __init__(self, raw):
    super().__init__()
    self._raw, self._seconds, self._bytes = raw, 0, 0
    self.left = ALLOWANCE

  def readable(self):
    return True

  def readinto(self, buffer):
    started = time.monotonic()
    count = self._raw.readinto(buffer)
    self._seconds += time.monotonic() - started  # without the time for writing to the disk
    self._bytes += count
    self.left -= count
    if self.left < 0:
      raise ConnectionError('the host sends without end, but no data')
    if count and self._seconds >= SLOW_SECONDS:
      if self._bytes < LEAST_RATE * self._seconds:
        raise TooSlow('only %d bytes in %.0f s' % (self._bytes, self._seconds))
      self._seconds = self._bytes = 0
    return count

  def close(self):
    self._raw.close()
    super().close()


class _Response(http.client.HTTPResponse):
  """An answer over HTTP that is watched."""

  def __init__(self, sock, *args, **options):
    super().__init__(sock, *args, **options)
    self._watched = _Watched(self.fp.detach())
    self.fp = io.BufferedReader(self._watched)

  def read(self, amt=None):
    self._watched.left = ALLOWANCE
    return super().read(amt)


class _Connection(http.client.HTTPConnection):
  response_class = _Response


class _SecureConnection(http.client.HTTPSConnection):
  response_class = _Response


class _Handler(urllib.request.HTTPHandler):

  def http_open(self, req):
    return self.do_open(_Connection, req)


class _SecureHandler(urllib.request.HTTPSHandler):

  def https_open(self, req):
    return self.do_open(_SecureConnection, req)


def _opener():
  """Returns an opener for https, http and file; a host cannot redirect to other protocols."""
  opener = urllib.request.OpenerDirector()
  for handler in (urllib.request.ProxyHandler, urllib.request.UnknownHandler,
                  urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPRedirectHandler,
                  urllib.request.HTTPErrorProcessor, urllib.request.FileHandler,
                  _Handler, _SecureHandler):
    opener.add_handler(handler())
  return opener


def check_file(url):
  """Raises Failure if a file URL names anything but a regular file that can be read."""
  path = urllib.request.url2pathname(urllib.parse.urlsplit(url).path)
  try:
    regular = stat.S_ISREG(os.stat(path).st_mode)
  except (OSError, ValueError) as error:
    raise Failure('--data_url=%s cannot be read: %s. Name an archive that is there.' % (
        printable(url), getattr(error, 'strerror', error))) from error
  if not regular:
    raise Failure('--data_url=%s is not a regular file. Name the archive (.tar.gz) itself.'
                  % printable(url))


def _number(text):
  """Returns a size that a host states, or None if it is no plausible number."""
  return int(text) if re.fullmatch('[0-9]{1,%d}' % MAX_DIGITS, text) else None


def request(url, have, total):
  """Requests the archive from byte `have` on, or from byte 0 if the host cannot do that.

  Args:
    url: https, http or file URL.
    have: int, the number of bytes that are there already.
    total: int, the size of the archive, bytes; None if unknown.

  Returns:
    The open response, its first byte's place in the archive (`have` or 0), and the archive's size
    in bytes, or None if unknown.

  Raises:
    OSError, ValueError, http.client.HTTPException: the host cannot be reached or answers otherwise.
  """
  asked = urllib.request.Request(url, headers={'Range': 'bytes=%d-' % have} if have else {})
  try:
    response = _opener().open(asked, timeout=TIMEOUT_SECONDS)
  except urllib.error.HTTPError as error:
    error.close()
    if have and error.code == 416:  # the host's file ends here, so `have` bytes are of another file
      return request(url, 0, total)
    raise
  if response.status != 206:  # the whole archive; a file:// URL has no status
    size = _number(response.headers.get('Content-Length', ''))
    return response, 0, total if size is None else size
  content_range = response.headers.get('Content-Range', '')
  span = re.fullmatch('bytes ([0-9]+)-[0-9]+/([0-9]+)', content_range)
  first, size = map(_number, span.groups()) if span else (None, None)
  if size is not None and first == have and total in (None, size):
    return response, have, size
  response.close()
  if have:
    return request(url, 0, total)
  raise ConnectionError('got a part (%r), asked for the whole' % content_range)
