"""Puts CIFAR-10, binary version, into a data directory: downloads, verifies, unpacks, checks.

  DATA_DIR/cifar-10-binary.tar.gz.part       as far as the download has come; the next run goes on
  DATA_DIR/cifar-10-binary.tar.gz            complete, its hash verified; or put here by hand
  DATA_DIR/cifar-10-batches-bin.unfinished   being unpacked
  DATA_DIR/cifar-10-batches-bin              complete: the eight files

Each stage is finished by one rename, so a run that is cut short leaves no half-made file under a
name that a later run would trust. Nothing here needs TensorFlow.
"""
import contextlib
import hashlib
import http.client
import itertools
import os
import re
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zlib

import filelock
import numpy as np
from tqdm import tqdm

from cifar10_lib.common.programs import Failure

# The data set, as https://www.cs.toronto.edu/~kriz/cifar.html describes it. A record is one byte of
# label, then the picture: 32x32 red values row by row, then green, then blue.
DIRECTORY = 'cifar-10-batches-bin'
TRAIN_FILES = ['data_batch_%d.bin' % i for i in range(1, 6)]
TEST_FILE = 'test_batch.bin'
META_FILE = 'batches.meta.txt'  # the ten names, one a line
README_FILE = 'readme.html'
BIN_FILES = TRAIN_FILES + [TEST_FILE]
FILES = BIN_FILES + [META_FILE, README_FILE]
CLASS_NAMES = ['airplane', 'automobile', 'bird', 'cat', 'deer',
               'dog', 'frog', 'horse', 'ship', 'truck']
LABEL_BYTES = 1
IMAGE_BYTES = 3 * 32 * 32
RECORD_BYTES = LABEL_BYTES + IMAGE_BYTES
CIFAR100_RECORD_BYTES = RECORD_BYTES + 1  # a coarse label before the fine one

# The archive. Size and hash are those of TensorFlow Datasets' url_checksums/cifar10.txt.
DATA_URL = 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz'
ARCHIVE = 'cifar-10-binary.tar.gz'
ARCHIVE_BYTES = 170052171
ARCHIVE_SHA256 = 'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd'
UNPACKED_BYTES = 60000 * RECORD_BYTES

# How patient a download is. The host is slow, 70-90 kB/s for some, and now and then hangs up.
TIMEOUT_SECONDS = 30  # without a single byte
IDLE_TRIES = 3        # in a row that bring nothing new
ALL_TRIES = 100       # however much they bring
PAUSE_SECONDS = 2     # before the next try; twice that after a second idle one
LINE_SECONDS = 10     # between two lines of progress, where there is no terminal for a bar
BLOCK_BYTES = 1 << 16

# What unpacking will write at most. A real .bin has 30,730,000 bytes.
MAX_BIN_BYTES = 64 << 20
MAX_TEXT_BYTES = 1 << 20


def _say(text):
  print(text, file=sys.stderr, flush=True)


# Is a data directory sound?

def _way_out(directory):
  """Says what to do about missing data; names the usual mix-up in or beside `directory`."""
  for name in 'cifar-10-batches-py', 'cifar-100-binary', 'cifar-100-python':
    for place in directory, os.path.dirname(os.path.abspath(directory)):
      found = os.path.join(place, name)
      if os.path.exists(found):
        return 'Found %s; this program needs the BINARY version of CIFAR-10.' % found
  return 'Run cifar10_train.py to fetch CIFAR-10, or choose another --data_dir.'


def _is_html(head):
  return head.lstrip().lower().startswith((b'<!doctype', b'<html', b'<?xml'))


def _size_problem(size, head):
  """Says why a .bin of `size` bytes that begins with `head` cannot hold whole records, or ''."""
  if not size:
    return 'empty'
  if _is_html(head):
    return 'an HTML page (an error page of a web server?), not pictures'
  if size % RECORD_BYTES:
    problem = '%d bytes is not a multiple of %d (%d records + %d bytes)' % (
        size, RECORD_BYTES, size // RECORD_BYTES, size % RECORD_BYTES)
    if size % CIFAR100_RECORD_BYTES == 0:
      problem += '; is this CIFAR-100 (%d-byte records)?' % CIFAR100_RECORD_BYTES
    return problem
  return ''


def _count_records(path):
  """Returns the number of records in the .bin file `path`; raises Failure if it is not sound."""
  if not os.path.isfile(path):
    what = 'is not a regular file' if os.path.lexists(path) else 'is missing'
    raise Failure('%s %s. %s' % (path, what, _way_out(os.path.dirname(path))))
  try:
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
      problem = _size_problem(size, file.read(512))
    if problem:
      raise Failure('%s: %s. Move it away and run again to unpack it anew.' % (path, problem))
    records = np.memmap(path, np.uint8, 'r', shape=(size // RECORD_BYTES, RECORD_BYTES))
  except OSError as error:
    raise Failure('Cannot read %s: %s.' % (path, error.strerror)) from error
  labels = records[:, 0]  # [N]; strided, so the pictures are not copied
  wrong = np.flatnonzero(labels >= len(CLASS_NAMES))
  if wrong.size:
    raise Failure('%s: label %d at record %d (byte %d); CIFAR-10 labels are 0..9. '
                  'Is this CIFAR-100 (%d-byte records)?' % (
                      path, labels[wrong[0]], wrong[0], wrong[0] * RECORD_BYTES,
                      CIFAR100_RECORD_BYTES))
  return len(labels)


def check_data(directory):
  """Checks that the six .bin files hold whole records with labels of CIFAR-10.

  Only structure is checked, not content: part of CIFAR-10, or other data in its format, will do.

  Args:
    directory: path of a cifar-10-batches-bin.

  Returns:
    A dict, file name to number of records (>= 1), training files first.

  Raises:
    Failure: naming the file, and the record and byte (both from 0) where that helps.
  """
  if not os.path.isdir(directory):
    what = 'is not a directory' if os.path.lexists(directory) else 'is missing'
    raise Failure('%s %s. %s' % (directory, what, _way_out(directory)))
  return {name: _count_records(os.path.join(directory, name)) for name in BIN_FILES}


def class_names(directory):
  """Returns the ten names (str) in batches.meta.txt, or those of CIFAR-10 if there is no such file.

  Args:
    directory: path of a cifar-10-batches-bin.

  Raises:
    Failure: if the file holds more or fewer than ten names.
  """
  path = os.path.join(directory, META_FILE)
  if not os.path.exists(path):
    return list(CLASS_NAMES)
  with open(path, encoding='utf-8', errors='replace') as file:
    names = [line.strip() for line in file if line.strip()]
  if len(names) != len(CLASS_NAMES):
    raise Failure('%s holds %d names, not %d. Write one a line, or move it away.'
                  % (path, len(names), len(CLASS_NAMES)))
  return names


# One writer at a time, and whole directories only.

@contextlib.contextmanager
def locked(data_dir):
  """Makes `data_dir` if need be and keeps every other program out of this block meanwhile.

  Args:
    data_dir: the directory to fill.

  Raises:
    Failure: if the directory cannot be made or written to.
  """
  try:
    os.makedirs(data_dir, exist_ok=True)
    lock = filelock.FileLock(os.path.join(data_dir, '.lock'))
    try:
      lock.acquire(timeout=0)
    except filelock.Timeout:
      _say('Waiting for another program that is filling %s.' % data_dir)
      lock.acquire()
  except OSError as error:
    raise Failure('Cannot write to %s: %s. Choose another --data_dir.' % (
        data_dir, error.strerror)) from error
  try:
    yield
  finally:
    lock.release()


@contextlib.contextmanager
def replacing(directory):
  """Gives the path of an empty directory that becomes `directory` if the block succeeds.

  What stood there before is moved aside, never deleted. Call it with the lock held.

  Args:
    directory: path to fill.

  Raises:
    Failure: if the disk is full, or does not take it for another reason.
  """
  unfinished = directory + '.unfinished'
  shutil.rmtree(unfinished, ignore_errors=True)  # left by a run that was killed
  try:
    os.mkdir(unfinished)
    yield unfinished
    if os.path.lexists(directory):
      aside = '%s.incomplete-%s' % (directory, time.strftime('%Y%m%d-%H%M%S'))
      os.rename(directory, aside)
      _say('%s was incomplete; moved it to %s.' % (directory, aside))
    os.rename(unfinished, directory)
  except OSError as error:
    raise Failure('Cannot fill %s: %s.' % (directory, error)) from error
  finally:
    shutil.rmtree(unfinished, ignore_errors=True)


# The archive: download.

def _by_hand(archive):
  return ('Or download %s with a browser and place it at %s, or pass --data_url=sample for a small '
          'drawn data set that needs no network.' % (DATA_URL, archive))


def _size(path):
  return os.path.getsize(path) if os.path.exists(path) else 0


def _sha256(path):
  """Returns the SHA-256 of a file in hex; about 1 ms per MB."""
  digest = hashlib.sha256()
  with open(path, 'rb') as file:
    for block in iter(lambda: file.read(BLOCK_BYTES), b''):
      digest.update(block)
  return digest.hexdigest()


def _with_progress(blocks, have, total):
  """Yields `blocks` and shows how far they have come: a bar on a terminal, lines elsewhere.

  Args:
    blocks: iterable of bytes.
    have: bytes there already.
    total: bytes in the end, or None if that is not known.
  """
  started = said = time.monotonic()
  text = '{n_fmt}B' + (' of {total_fmt}B, {remaining} left' if total else '') + ', {rate_fmt}'
  done = have
  with tqdm(initial=have, total=total, unit='B', unit_scale=True, desc=ARCHIVE, file=sys.stderr,
            disable=None) as bar:  # None: only where `file` is no terminal
    for block in blocks:
      yield block
      done += len(block)
      bar.update(len(block))
      now = time.monotonic()
      if bar.disable and now - said >= LINE_SECONDS:
        said = now
        _say(ARCHIVE + ': ' + tqdm.format_meter(done, total, now - started, initial=have, unit='B',
                                                unit_scale=True, bar_format=text))


def _open(url, have, total):
  """Asks for the archive at `url` from byte `have` on, and takes it from 0 where that cannot be.

  Args:
    url: https, http or file URL.
    have: bytes there already.
    total: size of the archive in bytes, or None if that is not known.

  Returns:
    (response, start, size): the open answer; the archive's byte it begins with, `have` or 0; the
    archive's size in bytes, or None.
  """
  request = urllib.request.Request(url, headers={'Range': 'bytes=%d-' % have} if have else {})
  try:
    response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
  except urllib.error.HTTPError as error:
    error.close()
    if have and error.code == 416:  # nothing follows; and yet it is not what we look for
      return _open(url, 0, total)
    raise
  if response.status != 206:  # the whole; a file:// URL has no status
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
  """Tries once to bring the file `part` from its present size to that of the archive at `url`.

  Raises:
    OSError, ValueError or http.client.HTTPException: it did not; `part` holds what came so far.
  """
  response, start, size = _open(url, _size(part), total)
  with response:
    blocks = iter(lambda: response.read(BLOCK_BYTES), b'')
    first = next(blocks, b'')
    # Seen before it is written over what came so far.
    if _is_html(first):
      raise ConnectionError('got %s bytes, expected %s: an HTML page, not an archive' % (
          size or 'some', total or 'more'))
    if total not in (None, size):
      raise ConnectionError('got %d bytes, expected %d (pass --data_sha256 for another archive)' % (
          size, total))
    with open(part, 'ab' if start else 'wb') as file:
      for block in _with_progress(itertools.chain([first], blocks), start, size):
        file.write(block)
        if size and file.tell() > size:
          break  # a body without end must not fill the disk
      file.flush()
      os.fsync(file.fileno())
  if size not in (None, _size(part)):
    raise ConnectionError('got %d bytes, expected %d' % (_size(part), size))


def _fetch(url, part, total):
  """Brings the file `part` to the size of the archive at `url`, in as many tries as get further."""
  most, idle = _size(part), 0
  for _ in range(ALL_TRIES):
    try:
      return _fetch_once(url, part, total)
    except (OSError, ValueError, http.client.HTTPException) as error:
      problem = ' '.join(str(error).split())  # one line, whatever the host answered
    idle = 0 if _size(part) > most else idle + 1
    most = max(most, _size(part))
    if idle == IDLE_TRIES:
      break
    _say('%s: %s. Trying again.' % (url, problem))
    time.sleep(PAUSE_SECONDS * max(1, idle))
  raise Failure('Cannot download %s to %s: %s. Run again to go on from byte %d. %s' % (
      url, part, problem, _size(part), _by_hand(part[:-len('.part')])))


def _download(url, archive, total, sha256):
  """Downloads `url` to the path `archive`, which appears only when its hash is right."""
  part = archive + '.part'
  resumed = os.path.exists(part)
  if not resumed or _sha256(part) != sha256:
    _fetch(url, part, total)
  got = _sha256(part)
  if got != sha256 and resumed:
    _say('%s was not the beginning of this archive; starting again.' % part)
    os.remove(part)
    return _download(url, archive, total, sha256)
  if got != sha256:  # kept, so that --data_sha256 need not fetch it again
    raise Failure('%s has sha256 %s, expected %s. If you trust it, run again with '
                  '--data_sha256=%s. %s' % (url, got, sha256, got, _by_hand(archive)))
  os.replace(part, archive)
  print('Successfully downloaded', ARCHIVE, os.path.getsize(archive), 'bytes.', flush=True)


def _check_archive(archive, total, sha256):
  """Raises Failure unless the file `archive`, maybe put there by hand, is the one meant."""
  got = _sha256(archive)
  if got != sha256:
    raise Failure('%s (%d bytes) has sha256 %s, expected %s%s. If you trust it, run again with '
                  '--data_sha256=%s; if not, move it away and run again to download it.' % (
                      archive, os.path.getsize(archive), got, sha256,
                      ' (%d bytes)' % total if total else '', got))


# The archive: unpacking, which trusts nothing in it.

def _member_file(member, taken):
  """Returns the one of our eight names that an archive member is for, or None for their directory.

  Args:
    member: tarfile.TarInfo.
    taken: names already unpacked.

  Raises:
    Failure: for everything else.
  """
  folder, _, name = member.name.removeprefix('./').partition('/')
  if member.isdir() and not name and folder in ('.', DIRECTORY):
    return None
  if folder != DIRECTORY or name not in FILES:
    problem = 'it is none of the files of CIFAR-10'
  elif name in taken:
    problem = 'it is there twice'
  elif not member.isreg():
    problem = 'it is not a regular file'
  elif name in BIN_FILES and (not 0 < member.size <= MAX_BIN_BYTES or member.size % RECORD_BYTES):
    problem = '%d bytes are not a sane number of %d-byte records' % (member.size, RECORD_BYTES)
  elif name not in BIN_FILES and member.size > MAX_TEXT_BYTES:
    problem = '%d bytes are too many for a text' % member.size
  else:
    return name
  raise Failure('Refusing archive member %r: %s.' % (member.name, problem))


def _unpack(archive, directory):
  """Copies the eight files out of `archive` to a new `directory`; never extractall()."""
  taken = set()
  try:
    with replacing(directory) as unfinished, tarfile.open(archive, 'r:gz') as tar:
      for member in tar:
        name = _member_file(member, taken)
        if name:
          taken.add(name)
          with open(os.path.join(unfinished, name), 'wb') as file:
            shutil.copyfileobj(tar.extractfile(member), file)
            file.flush()
            os.fsync(file.fileno())
      missing = [name for name in BIN_FILES if name not in taken]
      if missing:
        raise Failure('%s holds no %s. Move it away and run again.' % (archive, missing[0]))
  except (tarfile.TarError, EOFError, zlib.error) as error:
    raise Failure('%s is damaged: %s. Move it away and run again.' % (archive, error)) from error


# The whole.

def _check_space(data_dir, archive):
  need = UNPACKED_BYTES
  if not os.path.exists(archive):
    need += max(0, ARCHIVE_BYTES - _size(archive + '.part'))
  free = shutil.disk_usage(data_dir).free
  if free < need:
    raise Failure('Need %d MB free in %s, have %d MB. Make room or choose another --data_dir.' % (
        need / 1e6, data_dir, free / 1e6))


def _is_complete(directory):
  return all(os.path.lexists(os.path.join(directory, name)) for name in BIN_FILES)


def maybe_download_and_extract(data_dir, data_url=DATA_URL, data_sha256=None):
  """Makes sure that CIFAR-10 is in `data_dir`; touches no network if it is, or if its archive is.

  Args:
    data_dir: directory to look in and to fill; made if need be.
    data_url: where to take the archive from: https, http or file URL.
    data_sha256: SHA-256 (hex) of that archive; None for the one of the official archive.

  Returns:
    The path of DATA_DIR/cifar-10-batches-bin, which check_data has passed.

  Raises:
    Failure: what is missing or wrong, and what to do about it.
  """
  if not data_url.startswith(('https://', 'http://', 'file://')):
    raise Failure('--data_url=%s is not a https, http or file URL.' % data_url)
  directory = os.path.join(data_dir, DIRECTORY)
  if not _is_complete(directory):
    with locked(data_dir):
      if not _is_complete(directory):  # or another program filled it while we waited
        archive = os.path.join(data_dir, ARCHIVE)
        # The official size tells a wrong file early; of another archive only the hash is known.
        total, sha256 = (None, data_sha256.lower()) if data_sha256 else (
            ARCHIVE_BYTES, ARCHIVE_SHA256)
        _check_space(data_dir, archive)
        if os.path.exists(archive):
          _check_archive(archive, total, sha256)
        else:
          _download(data_url, archive, total, sha256)
        _unpack(archive, directory)
  check_data(directory)
  return directory
