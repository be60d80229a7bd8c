"""Puts CIFAR-10, binary version, into a data directory: downloads, verifies, unpacks and checks it.

  DATA_DIR/cifar-10-binary.tar.gz.part       the download so far; the next run continues it
  DATA_DIR/cifar-10-binary.tar.gz            complete, its hash verified; or placed here by hand
  DATA_DIR/cifar-10-batches-bin.unfinished   the directory while it is filled
  DATA_DIR/cifar-10-batches-bin              complete: the eight files

One rename finishes each stage. An interrupted run leaves no incomplete file under a final name.
This module does not need TensorFlow.
"""
import errno
import hashlib
import http.client
import itertools
import os
import re
import shutil
import sys
import time

from tqdm import tqdm

from cifar10_lib.common.programs import Failure, is_full, printable
from cifar10_lib.dataset import archive as archives
from cifar10_lib.dataset import connection
from cifar10_lib.dataset.archive import UNPACKED_BYTES
from cifar10_lib.dataset.locking import locked
from cifar10_lib.dataset.records import (
    BIN_FILES, DIRECTORY, check_data, find_directory, is_html, missing_files)

# The archive. TensorFlow Datasets lists this size and hash in url_checksums/cifar10.txt.
DATA_URL = 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz'
ARCHIVE = 'cifar-10-binary.tar.gz'
ARCHIVE_BYTES = 170052171
ARCHIVE_SHA256 = 'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd'
BLOCK_BYTES = 1 << 16  # read at once
MAX_BYTES = 1 << 30    # the largest archive to download

IDLE_TRIES = 3        # tries in a row that bring nothing new
ALL_TRIES = 100       # tries in all; `connection` ends a try that is too slow
PAUSE_SECONDS = 2     # before the next try; twice as long after a second idle try
LINE_SECONDS = 10     # between two progress lines, where no terminal shows a bar


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


def _fetch_once(url, part, total, max_bytes):
  """Tries once to complete the file `part`. A failed try raises, and `part` keeps what arrived."""
  response, start, size = connection.request(url, _size(part), total)
  with response:
    if size and size > max_bytes:
      raise Failure('%s has %d MB, more than the limit of %d MB. See --data_max_bytes.' % (
          printable(url), size / 1e6, max_bytes / 1e6))
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
        if file.tell() > (size or max_bytes):
          break  # an endless body must not fill the disk
      file.flush()
      os.fsync(file.fileno())
  if size is None and _size(part) > max_bytes:
    os.remove(part)
    raise Failure('%s states no size and sends more than the limit of %d MB. Is it the '
                  'archive? --data_max_bytes sets the limit.' % (
                      printable(url), max_bytes / 1e6))
  if size not in (None, _size(part)):
    raise ConnectionError('got %d bytes, expected %d' % (_size(part), size))


def _check_local(error, part, total):
  """Raises Failure if the disk, not the host, made a try fail; another try would not help."""
  if not isinstance(error, OSError):
    return
  have = _size(part)
  if is_full(error):
    need = max(0, (total or ARCHIVE_BYTES) - have) + UNPACKED_BYTES
    raise Failure('Cannot write %s: no space left on device. Free about %d MB and run the same '
                  'command again; it goes on from byte %d.' % (part, need / 1e6, have)) from error
  if error.filename == part or error.errno in (errno.EFBIG, errno.EIO, errno.EROFS):
    raise Failure('Cannot write %s: %s. Choose another --data_dir.'
                  % (part, error.strerror)) from error


def _fetch(url, part, total, max_bytes):
  """Completes the file `part` from `url`; tries again as long as tries bring new bytes."""
  most, idle = _size(part), 0
  local = url.startswith('file:')
  if local:
    connection.check_file(url)
  for _ in range(1 if local else ALL_TRIES):
    try:
      return _fetch_once(url, part, total, max_bytes)
    except (OSError, ValueError, OverflowError, http.client.HTTPException) as error:
      _check_local(error, part, total)
      problem = printable(' '.join(str(error).split()), 200)  # the host's answer, perhaps long
      slow = isinstance(error, connection.TooSlow)
    idle = 0 if _size(part) > most and not slow else idle + 1
    most = max(most, _size(part))
    if local or idle == IDLE_TRIES:
      break
    archives.say('%s: %s. Trying again.' % (printable(url), problem))
    time.sleep(PAUSE_SECONDS * max(1, idle))
  raise Failure('Cannot download %s to %s: %s. Run again to go on from byte %d. %s' % (
      printable(url), part, problem, _size(part), _by_hand(part[:-len('.part')])))


def sha256_of(path):
  """Returns the SHA-256 of a file in hex (str); takes about 1 ms per MB."""
  digest = hashlib.sha256()
  try:
    with open(path, 'rb') as file:
      for block in iter(lambda: file.read(BLOCK_BYTES), b''):
        digest.update(block)
  except OSError as error:
    raise Failure('Cannot read %s: %s. Move it away and run again.'
                  % (path, error.strerror)) from error
  return digest.hexdigest()


def _check_regular(path, most):
  """Raises Failure if there is something at `path` that is no regular file of at most `most` bytes.

  A FIFO would hang the program, a directory or an endless file stop it later.
  """
  if os.path.lexists(path) and not os.path.isfile(path):
    raise Failure('%s is not a regular file. Move it away and run again.' % path)
  if _size(path) > most:
    raise Failure('%s has %d MB, more than the limit of %d MB. Move it away and run again.' % (
        path, _size(path) / 1e6, most / 1e6))


def _check_placed(archive, total, sha256):
  """Raises Failure if an archive, which the user may have placed by hand, has another hash."""
  got = sha256_of(archive)
  if got != sha256:
    raise Failure('%s (%d bytes) has sha256 %s, expected %s%s. If you trust it, run again with '
                  '--data_sha256=%s; if not, move it away and run again to download it.' % (
                      archive, os.path.getsize(archive), got, sha256,
                      ' (%d bytes)' % total if total else '', got))


def _download(url, archive, total, sha256, max_bytes):
  """Downloads `url` to the path `archive`, which appears only once its hash is verified."""
  part = archive + '.part'
  resumed = os.path.exists(part)
  if not resumed or sha256_of(part) != sha256:
    _fetch(url, part, total, max_bytes)
  got = sha256_of(part)
  if got != sha256 and resumed:
    archives.say('%s was not the beginning of this archive; starting again.' % part)
    os.remove(part)
    return _download(url, archive, total, sha256, max_bytes)
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


def _fill(data_dir, data_url, data_sha256, max_bytes):
  """Downloads and unpacks what `data_dir` lacks; the caller holds its lock."""
  directory, archive = os.path.join(data_dir, DIRECTORY), os.path.join(data_dir, ARCHIVE)
  # The official size exposes a wrong file early. For another archive only the hash is known.
  total, sha256 = (None, data_sha256.lower()) if data_sha256 else (ARCHIVE_BYTES, ARCHIVE_SHA256)
  _check_regular(archive, archives.MAX_BYTES)
  _check_regular(archive + '.part', max_bytes)
  _check_space(data_dir, archive)
  missing = missing_files(directory)
  if len(missing) < len(BIN_FILES):
    then = 'Unpacking ' + archive if os.path.exists(archive) else 'Fetching the archive of CIFAR-10'
    archives.say('%s lacks %s. %s.' % (directory, ', '.join(missing), then))
  if os.path.exists(archive):
    _check_placed(archive, total, sha256)
  else:
    _download(data_url, archive, total, sha256, max_bytes)
  archives.unpack(archive, directory)


def maybe_download_and_extract(data_dir, data_url=DATA_URL, data_sha256=None, max_bytes=MAX_BYTES):
  """Makes sure that `data_dir` holds CIFAR-10; uses no network if the data or its archive is there.

  Args:
    data_dir: directory to fill, made if necessary; or a directory that holds the .bin files.
    data_url: https, http or file URL of the archive.
    data_sha256: SHA-256 (64 hex digits) of that archive; None for that of the official archive.
    max_bytes: int, the size of the largest archive to download.

  Returns:
    The path of the directory with the .bin files, DATA_DIR/cifar-10-batches-bin unless DATA_DIR
    holds them itself, checked by `records.check_data`.

  Raises:
    Failure: the data cannot be fetched, unpacked or written, or is not sound. The message says
      what to do.
  """
  if not data_url.startswith(('https://', 'http://', 'file://')):
    raise Failure('--data_url=%s is not a https, http or file URL.' % printable(data_url))
  if data_sha256 is not None and not re.fullmatch('[0-9a-fA-F]{64}', data_sha256):
    raise Failure('--data_sha256=%s is no SHA-256, which has 64 hex digits. Leave the flag out for '
                  'the official archive.' % printable(data_sha256, 100))
  directory = find_directory(data_dir)
  missing = missing_files(directory)
  if missing and directory == data_dir:
    raise Failure('%s lacks %s. Add them, or choose another --data_dir to fetch CIFAR-10 into.'
                  % (data_dir, ', '.join(missing)))
  if missing:
    with locked(data_dir):
      if missing_files(directory):  # another program may have filled it during the wait
        _fill(data_dir, data_url, data_sha256, max_bytes)
  check_data(directory)
  return directory
