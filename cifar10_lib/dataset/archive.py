"""Unpacks the archive of CIFAR-10; trusts nothing in it. `download` lists the paths."""
import contextlib
import os
import shutil
import sys
import tarfile
import time
import zlib

from cifar10_lib.common.programs import Failure
from cifar10_lib.dataset.records import BIN_FILES, DIRECTORY, FILES, RECORD_BYTES

# The largest files that unpacking writes. A .bin file of CIFAR-10 has 30,730,000 bytes.
MAX_BIN_BYTES = 64 << 20
MAX_TEXT_BYTES = 1 << 20


def say(text):
  """Prints a line to standard error at once."""
  print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def replacing(directory):
  """Yields the path of an empty directory, which becomes `directory` if the block succeeds.

  Whatever stood at `directory` is moved aside, never deleted. The caller holds the lock of the data
  directory (`download.locked`).

  Args:
    directory: path to fill.

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
    raise Failure('Cannot fill %s: %s.' % (directory, error)) from error
  finally:
    shutil.rmtree(unfinished, ignore_errors=True)


def _member_file(member, taken):
  """Returns which of the eight files a tarfile.TarInfo is, or None for the directory itself.

  Raises Failure if it is anything else, or one of `taken`, the names already unpacked.
  """
  folder, _, name = member.name.removeprefix('./').partition('/')
  if member.isdir() and not name and folder in ('.', DIRECTORY):
    return None
  if folder != DIRECTORY or name not in FILES:
    problem = 'it is not one of the files of CIFAR-10'
  elif name in taken:
    problem = 'the archive holds it twice'
  elif not member.isreg():
    problem = 'it is not a regular file'
  elif name in BIN_FILES and (not 0 < member.size <= MAX_BIN_BYTES or member.size % RECORD_BYTES):
    problem = '%d bytes are not a plausible number of %d-byte records' % (member.size, RECORD_BYTES)
  elif name not in BIN_FILES and member.size > MAX_TEXT_BYTES:
    problem = '%d bytes are too many for a text file' % member.size
  else:
    return name
  raise Failure('Refusing archive member %r: %s.' % (member.name, problem))


def unpack(archive, directory):
  """Copies the eight files out of an archive into a new directory, without `extractall`.

  Args:
    archive: path of a .tar.gz file.
    directory: path to fill, a cifar-10-batches-bin directory.

  Raises:
    Failure: the archive is damaged, holds an unexpected member or lacks a .bin file, or the
      directory cannot be written.
  """
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
