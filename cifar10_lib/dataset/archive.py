"""Unpacks an archive of CIFAR-10 or CIFAR-100; trusts nothing in it. `download` lists the paths.

Whatever an archive holds, unpacking ends within seconds and takes a few megabytes of memory.
`tarfile.open` does not promise that. This module goes from header to header itself, and tarfile
decodes each header.
"""
import contextlib
import os
import re
import shutil
import sys
import tarfile
import time
import zlib
from typing import NamedTuple

from cifar10_lib.common.programs import Failure, is_full, printable
from cifar10_lib.dataset.records import RECORD_BYTES

UNPACKED_BYTES = 60000 * RECORD_BYTES  # what a data directory takes, from either data set
MAX_TEXT_BYTES = 1 << 20  # the largest file of text in an archive
# What a whole archive may take: bytes when unpacked (and when packed), headers, gzip streams in a
# row (pigz and bgzip write many), bytes of an extended header, characters of a name in a message.
MAX_BYTES = 392 << 20
MAX_HEADERS = 100
MAX_STREAMS = 10000
MAX_EXTENDED_BYTES = 64 << 10
MAX_NAME = 100
TAR_BLOCK = 512  # tar pads every header and file to a multiple of this
BLOCK_BYTES = 1 << 16  # read at once

# Fields of an extended header that would change which bytes a file has, or its name.
_DECISIVE = re.compile(rb'(?:^|\n)\d+ (path|linkpath|size|GNU\.sparse[^=\n]*)=')


class Source(NamedTuple):
  """Describes an archive: where it is, how to recognise it, and what it holds."""
  title: str           # of the data set, for messages
  url: str             # the official one
  archive: str         # name of the file
  size: int            # of the file, bytes
  sha256: str          # of the file, 64 hex digits
  directory: str       # holds all members
  bin_files: list      # names of the members that hold records; an archive lacks none
  text_files: list     # names of other members
  record_bytes: int    # size of a record
  max_bin_bytes: int   # size of the largest member of records to accept
  has_others: bool     # whether other small files may be among the members; they are left out

  def problem(self, name, size):
    """Returns why a file called `name` cannot have `size` bytes, or '' if it can."""
    if name not in self.bin_files:
      return '' if 0 <= size <= MAX_TEXT_BYTES else '%d bytes are too many for a text file' % size
    if 0 < size <= self.max_bin_bytes and not size % self.record_bytes:
      return ''
    return '%d bytes are not a plausible number of %d-byte records' % (size, self.record_bytes)


def say(text):
  """Prints a line to standard error at once."""
  print(printable(text), file=sys.stderr, flush=True)


@contextlib.contextmanager
def replacing(directory, need=0):
  """Yields the path of an empty directory, which becomes `directory` if the block succeeds.

  Whatever stood at `directory` is moved aside, never deleted. The caller holds the lock of the data
  directory (`locking.locked`).

  Args:
    directory: path to fill.
    need: about how many bytes the block writes, for the message about a full disk; 0 if unknown.

  Raises:
    Failure: the file system reports an error, such as a full disk.
  """
  unfinished = directory + '.unfinished'
  shutil.rmtree(unfinished, ignore_errors=True)  # a killed run leaves one
  try:
    os.mkdir(unfinished)
    yield unfinished
    if os.path.lexists(directory):
      aside = '%s.incomplete-%s' % (directory, time.strftime('%Y%m%d-%H%M%S'))
      os.rename(directory, aside)
      say('%s was incomplete; moved it to %s.' % (directory, aside))
    os.rename(unfinished, directory)
  except OSError as error:
    if is_full(error):
      room = 'Free about %d MB' % (need / 1e6) if need else 'Make room'
      raise Failure('Cannot fill %s: no space left on device. %s and run the same command again.'
                    % (directory, room)) from error
    raise Failure('Cannot fill %s: %s%s.' % (
        directory, error.strerror or error, ' (%s)' % error.filename if error.filename else '')
    ) from error
  finally:
    shutil.rmtree(unfinished, ignore_errors=True)


def _unzipped(file):
  """Yields what a gzip file holds, in blocks of bytes. zlib checks length and CRC at the end."""
  total, rest = 0, b''
  for _ in range(MAX_STREAMS):
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with gzip's header and end
    data = rest
    while not stream.eof:
      data = data or file.read(BLOCK_BYTES)
      block = stream.decompress(data, BLOCK_BYTES)
      if not (data or block or stream.eof):
        raise EOFError('it ends too early')
      data = stream.unconsumed_tail
      total += len(block)
      if total > MAX_BYTES:
        raise tarfile.ReadError('it unpacks to more than %d MB' % (MAX_BYTES / 1e6))
      yield block
    rest = stream.unused_data + (file.read(BLOCK_BYTES) if len(stream.unused_data) < 2 else b'')
    if not rest.startswith(b'\x1f\x8b'):
      return  # no further stream; other bytes at the end are ignored, as gzip does
  raise tarfile.ReadError('it has more than %d gzip streams' % MAX_STREAMS)


class _Content:
  """What a .tar.gz file holds, read from front to back."""

  def __init__(self, file):
    self._blocks, self._buffer = _unzipped(file), bytearray()

  def read(self, size):
    """Returns the next `size` bytes; fewer at the end."""
    while len(self._buffer) < size:
      block = next(self._blocks, None)
      if block is None:
        break
      self._buffer += block
    data = bytes(self._buffer[:size])
    del self._buffer[:size]
    return data

  def blocks(self, size):
    """Yields the next `size` bytes in blocks, and skips tar's padding."""
    left = size
    while left:
      block = self.read(min(left, BLOCK_BYTES))
      if not block:
        raise EOFError('it ends too early')
      left -= len(block)
      yield block
    padding = -size % TAR_BLOCK
    if len(self.read(padding)) < padding:
      raise EOFError('it ends too early')


def _refuse(member, problem):
  raise Failure("Refusing archive member '%s': %s." % (printable(member.name, MAX_NAME), problem))


def _members(content):
  """Yields the header of each member, a tarfile.TarInfo, without extended headers.

  Extended headers hold times and owners, which are ignored. One that gives a file another name or
  size is refused, because the files of CIFAR-10 need none.
  """
  for _ in range(MAX_HEADERS):
    header = content.read(TAR_BLOCK)
    if not header or not any(header):  # a block of zeros ends the archive
      return
    member = tarfile.TarInfo.frombuf(header, 'utf-8', 'surrogateescape')
    if member.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
      _refuse(member, 'its name or link is too long')
    if member.type not in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE):
      yield member
    elif not 0 <= member.size <= MAX_EXTENDED_BYTES:
      _refuse(member, 'a header of %d bytes is too long' % member.size)
    else:
      found = _DECISIVE.search(b''.join(content.blocks(member.size)))
      if found:
        _refuse(member, 'it sets %s' % printable(found[1].decode('latin-1'), MAX_NAME))
  raise tarfile.ReadError('it has more than %d members' % MAX_HEADERS)


def _member_file(source, member, taken):
  """Returns which file of a Source a tarfile.TarInfo is, or '' for one that is left out.

  Raises Failure if it is anything else, or one of `taken`, the names already returned.
  """
  folder, _, name = member.name.removeprefix('./').partition('/')
  if member.isdir() and not name and folder in ('.', source.directory):
    return ''
  known = name in source.bin_files + source.text_files
  if folder != source.directory or not known and (not source.has_others or '/' in name):
    problem = 'it is not one of the files of %s' % source.title
  elif name in taken:
    problem = 'the archive holds it twice'
  elif member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
    problem = 'it is not a regular file'
  else:
    problem = source.problem(name, member.size)
  if problem:
    _refuse(member, problem)
  return name if known else ''


def _files(source, archive, content):
  """Yields what `opened` describes."""
  taken = set()
  for member in _members(content):
    name = _member_file(source, member, taken)
    if member.isdir():
      continue
    blocks = content.blocks(member.size)
    if name:
      taken.add(name)
      yield name, member.size, blocks
    for _ in blocks:
      pass  # what nobody has read
  while content.read(BLOCK_BYTES):
    pass  # the CRC comes last
  missing = [name for name in source.bin_files if name not in taken]
  if missing:
    raise Failure('%s holds no %s. Move it away and run again.' % (archive, missing[0]))


@contextlib.contextmanager
def opened(source, archive):
  """Yields an iterator over the files in an archive: (name, size in bytes, blocks of bytes).

  The next file begins where the blocks of the last one end. Only at the end of the iterator is it
  known that the archive is sound and complete.

  Args:
    source: the Source that describes the archive.
    archive: path of a .tar.gz file.

  Raises:
    Failure: the archive is damaged, holds an unexpected member or lacks a file of records.
    OSError: the archive cannot be read.
  """
  try:
    with open(archive, 'rb') as packed:
      yield _files(source, archive, _Content(packed))
  except (tarfile.TarError, EOFError, zlib.error) as error:
    raise Failure('%s is damaged: %s. Move it away and run again.' % (archive, error)) from error


def unpack(source, archive, directory):
  """Copies the files out of an archive into a new directory, without `extractall`.

  Args:
    source: the Source that describes the archive.
    archive: path of a .tar.gz file.
    directory: path to fill.

  Raises:
    Failure: as `opened`, or the directory cannot be written.
  """
  with replacing(directory, UNPACKED_BYTES) as unfinished, opened(source, archive) as files:
    for name, _, blocks in files:
      with open(os.path.join(unfinished, name), 'wb') as file:
        file.writelines(blocks)
        file.flush()
        os.fsync(file.fileno())
