"""Puts CIFAR-10, binary version, into a data directory: downloads, verifies, unpacks and checks it.

  DATA_DIR/cifar-10-binary.tar.gz.part       the download so far; the next run continues it
  DATA_DIR/cifar-10-binary.tar.gz            complete, its hash verified; or placed here by hand
  DATA_DIR/cifar-10-batches-bin.unfinished   the directory while it is filled
  DATA_DIR/cifar-10-batches-bin              complete: the eight files

One rename finishes each stage. An interrupted run leaves no incomplete file under a final name.
This module does not need TensorFlow.
"""
import contextlib
import hashlib
import http.client
import itertools
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request

import filelock
from tqdm import tqdm

from cifar10_lib.common.programs import Failure
from cifar10_lib.dataset import archive as archives
from cifar10_lib.dataset.records import BIN_FILES, DIRECTORY, RECORD_BYTES, check_data, is_html

# The archive. TensorFlow Datasets lists this size and hash in url_checksums/cifar10.txt.
DATA_URL = 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz'
ARCHIVE = 'cifar-10-binary.tar.gz'
ARCHIVE_BYTES = 170052171
ARCHIVE_SHA256 = 'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd'
UNPACKED_BYTES = 60000 * RECORD_BYTES
BLOCK_BYTES = 1 << 16  # read at once

# The host sends 70 to 90 kB/s to some users, and sometimes closes the connection.
TIMEOUT_SECONDS = 30  # without a single byte
IDLE_TRIES = 3        # tries in a row that bring nothing new
ALL_TRIES = 100       # tries in all
PAUSE_SECONDS = 2     # before the next try; twice as long after a second idle try
LINE_SECONDS = 10     # between two progress lines, where no terminal shows a bar


@contextlib.contextmanager
def locked(data_dir):
  """Makes `data_dir` if necessary, and keeps other programs out of the block while it runs.

  Args:
    data_dir: the directory to fill.

  Raises:
    Failure: the directory cannot be made or written to.
  """
  try:
    os.makedirs(data_dir, exist_ok=True)
    lock = filelock.FileLock(os.path.join(data_dir, '.lock'))
    try:
      acquired = lock.acquire(timeout=0)
    except filelock.Timeout:
      archives.say('Waiting for another program that is filling %s.' % data_dir)
      acquired = lock.acquire()
  except OSError as error:
    raise Failure('Cannot write to %s: %s. Choose another --data_dir.' % (
        data_dir, error.strerror)) from error
  with acquired:
    yield


def _by_hand(archive):
  return ('Or download %s with a browser and place it at %s, or pass --data_url=sample for a small '
          'drawn data set that needs no network.' % (DATA_URL, archive))


def _size(path):
  return os.path.getsize(path) if os.path.exists(path) else 0


def _with_progress(blocks, have, total):
  """Yields `blocks`; shows progress from `have` to `total` bytes: a bar on a terminal, or lines."""
  started = said = time.monotonic()
  text = '{n_fmt}B' + (' of {total_fmt}B, {remaining} left' if total else '') + ', {rate_fmt}'
  done = have
  with tqdm(initial=have, total=total, unit='B', unit_scale=True, desc=ARCHIVE, file=sys.stderr,
            disable=None) as bar:  # None: disabled unless `file` is a terminal
    for block in blocks:
      yield block
      done += len(block)
      bar.update(len(block))
      now = time.monotonic()
      if bar.disable and now - said >= LINE_SECONDS:
        said = now
        archives.say(ARCHIVE + ': ' + tqdm.format_meter(
            done, total, now - started, initial=have, unit='B', unit_scale=True, bar_format=text))


def _open(url, have, total):
  """Requests the archive from byte `have` on, or from byte 0 if the host cannot do that.

  Returns the open response, its first byte's place in the archive (`have` or 0), and the archive's
  size in bytes. The size, like `total`, is None if unknown.
  """
  request = urllib.request.Request(url, headers={'Range': 'bytes=%d-' % have} if have else {})
  try:
    response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
  except urllib.error.HTTPError as error:
    error.close()
    if have and error.code == 416:  # the host's file ends here, so `have` bytes are of another file
      return _open(url, 0, total)
    raise
  if response.status != 206:  # the whole archive; a file:// URL has no status
    length = response.headers.get('Content-Length', '')
    return response, 0, int(length) if length.isdigit() else total
  content_range = response.headers.get('Content-Range', '')
  span = re.fullmatch(r'bytes (\d+)-\d+/(\d+)', content_range)
  if span and int(span[1]) == have and total in (None, int(span[2])):
    return response, have, int(span[2])
  response.close()
  if have:
    return _open(url, 0, total)
  raise ConnectionError('got a part (%r), asked for the whole' % content_range)


def _fetch_once(url, part, total):
  """Tries once to complete the file `part`. A failed try raises, and `part` keeps what arrived."""
  response, start, size = _open(url, _size(part), total)
  with response:
    blocks = iter(lambda: response.read(BLOCK_BYTES), b'')
    first = next(blocks, b'')
    # These checks come before the file is opened, which may erase what earlier tries brought.
    if is_html(first):
      raise ConnectionError('got %s bytes, expected %s: an HTML page, not an archive' % (
          size or 'some', total or 'more'))
    if total not in (None, size):
      raise ConnectionError('got %d bytes, expected %d (pass --data_sha256 for another archive)' % (
          size, total))
    with open(part, 'ab' if start else 'wb') as file:
      for block in _with_progress(itertools.chain([first], blocks), start, size):
        file.write(block)
        if size and file.tell() > size:
          break  # an endless body must not fill the disk
      file.flush()
      os.fsync(file.fileno())
  if size not in (None, _size(part)):
    raise ConnectionError('got %d bytes, expected %d' % (_size(part), size))


def _fetch(url, part, total):
  """Completes the file `part` from `url`; tries again as long as tries bring new bytes."""
  most, idle = _size(part), 0
  for _ in range(ALL_TRIES):
    try:
      return _fetch_once(url, part, total)
    except (OSError, ValueError, http.client.HTTPException) as error:
      problem = ' '.join(str(error).split())  # the host's answer may have several lines
    idle = 0 if _size(part) > most else idle + 1
    most = max(most, _size(part))
    if idle == IDLE_TRIES:
      break
    archives.say('%s: %s. Trying again.' % (url, problem))
    time.sleep(PAUSE_SECONDS * max(1, idle))
  raise Failure('Cannot download %s to %s: %s. Run again to go on from byte %d. %s' % (
      url, part, problem, _size(part), _by_hand(part[:-len('.part')])))


def sha256_of(path):
  """Returns the SHA-256 of a file in hex (str); takes about 1 ms per MB."""
  digest = hashlib.sha256()
  with open(path, 'rb') as file:
    for block in iter(lambda: file.read(BLOCK_BYTES), b''):
      digest.update(block)
  return digest.hexdigest()


def _check_placed(archive, total, sha256):
  """Raises Failure if an archive, which the user may have placed by hand, has another hash."""
  got = sha256_of(archive)
  if got != sha256:
    raise Failure('%s (%d bytes) has sha256 %s, expected %s%s. If you trust it, run again with '
                  '--data_sha256=%s; if not, move it away and run again to download it.' % (
                      archive, os.path.getsize(archive), got, sha256,
                      ' (%d bytes)' % total if total else '', got))


def _download(url, archive, total, sha256):
  """Downloads `url` to the path `archive`, which appears only once its hash is verified."""
  part = archive + '.part'
  resumed = os.path.exists(part)
  if not resumed or sha256_of(part) != sha256:
    _fetch(url, part, total)
  got = sha256_of(part)
  if got != sha256 and resumed:
    archives.say('%s was not the beginning of this archive; starting again.' % part)
    os.remove(part)
    return _download(url, archive, total, sha256)
  if got != sha256:  # the file stays, so a run with --data_sha256 need not fetch it again
    raise Failure('%s has sha256 %s, expected %s. If you trust it, run again with '
                  '--data_sha256=%s. %s' % (url, got, sha256, got, _by_hand(archive)))
  os.replace(part, archive)
  print('Successfully downloaded', ARCHIVE, os.path.getsize(archive), 'bytes.', flush=True)


def _check_space(data_dir, archive):
  """Raises Failure if the disk lacks room for what is still to be downloaded and unpacked."""
  need = UNPACKED_BYTES
  if not os.path.exists(archive):
    need += max(0, ARCHIVE_BYTES - _size(archive + '.part'))
  free = shutil.disk_usage(data_dir).free
  if free < need:
    raise Failure('Need %d MB free in %s, have %d MB. Make room or choose another --data_dir.' % (
        need / 1e6, data_dir, free / 1e6))


def _is_complete(directory):
  return all(os.path.lexists(os.path.join(directory, name)) for name in BIN_FILES)


def maybe_download_and_extract(data_dir, data_url=DATA_URL, data_sha256=None, num_classes=10):
  """Makes sure that `data_dir` holds CIFAR-10; uses no network if the data or its archive is there.

  Args:
    data_dir: directory to fill; made if necessary.
    data_url: https, http or file URL of the archive.
    data_sha256: SHA-256 (hex) of that archive; None for that of the official archive.
    num_classes: int; labels must be 0..num_classes - 1.

  Returns:
    The path of DATA_DIR/cifar-10-batches-bin, checked by `records.check_data`.

  Raises:
    Failure: the data cannot be fetched, unpacked or written, or is not sound. The message says
      what to do.
  """
  if not data_url.startswith(('https://', 'http://', 'file://')):
    raise Failure('--data_url=%s is not a https, http or file URL.' % data_url)
  directory = os.path.join(data_dir, DIRECTORY)
  if not _is_complete(directory):
    with locked(data_dir):
      if not _is_complete(directory):  # another program may have filled it during the wait
        archive = os.path.join(data_dir, ARCHIVE)
        # The official size exposes a wrong file early. For another archive only the hash is known.
        total, sha256 = (None, data_sha256.lower()) if data_sha256 else (
            ARCHIVE_BYTES, ARCHIVE_SHA256)
        _check_space(data_dir, archive)
        if os.path.exists(archive):
          _check_placed(archive, total, sha256)
        else:
          _download(data_url, archive, total, sha256)
        archives.unpack(archive, directory)
  check_data(directory, num_classes)
  return directory
