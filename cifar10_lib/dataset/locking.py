"""Keeps two programs from filling one data directory at the same time."""
import contextlib
import errno
import os
import socket

import filelock

from cifar10_lib.common.programs import Failure, printable
from cifar10_lib.dataset import archive
from cifar10_lib.dataset.records import BIN_FILES, find_directory, missing_files


def _holder(path):
  """Returns who holds the lock at `path`, as ' (process 12 on HOST)', or '' if it does not say."""
  if not os.path.isfile(path):
    return ''  # opening a FIFO would wait
  try:
    with open(path, encoding='utf-8', errors='replace') as file:
      pid, host = file.read(1000).split('\n')[:2]
    return ' (process %d on %s)' % (int(pid), printable(host, 100))
  except (OSError, ValueError):  # Windows lets nobody read a file that is locked
    return ''


def _sign(path):
  """Writes process and host into the lock file at `path`, which this process holds."""
  with contextlib.suppress(OSError), open(path, 'r+', encoding='utf-8', errors='replace') as file:
    if not file.read(1000).startswith('%d\n' % os.getpid()):  # filelock's own, without flock
      file.seek(0)
      file.write('%d\n%s\n' % (os.getpid(), socket.gethostname()))
      file.truncate()


@contextlib.contextmanager
def locked(data_dir):
  """Makes `data_dir` if necessary, and keeps other programs out of the block while it runs.

  Args:
    data_dir: the directory to fill.

  Raises:
    Failure: the directory cannot be made, written to or locked.
  """
  path = os.path.join(data_dir, '.lock')
  try:
    os.makedirs(data_dir, exist_ok=True)
    if os.path.lexists(path) and not os.path.isfile(path):
      raise FileExistsError(errno.EEXIST, 'it is not a regular file')
    holder, lock = _holder(path), filelock.FileLock(path)
    try:
      acquired = lock.acquire(timeout=0)
    except filelock.Timeout:
      # filelock also reports this where no file can be made, as in /proc, or no lock be taken.
      with open(path, 'r+b'):
        archive.say('Waiting for another program%s that is filling %s.'
                     % (_holder(path) or holder, data_dir))  # older filelocks empty the file
      acquired = lock.acquire()
  except (OSError, NotImplementedError) as error:
    raise Failure('Cannot make or lock %s: %s. Choose another --data_dir.' % (
        path, getattr(error, 'strerror', None) or error)) from error
  with acquired:
    _sign(path)
    yield


def filled(data_dir, title, fill):
  """Returns the directory of the .bin files (str), after `fill(directory)` if it lacks any.

  Args:
    data_dir: directory to fill, made if necessary; or a directory that holds the .bin files.
    title: name of the data set, for a message.
    fill: function of the path of the directory, DATA_DIR/cifar-10-batches-bin. It is called while
      no other program fills `data_dir`.

  Raises:
    Failure: `data_dir` holds some of the .bin files itself, or cannot be written.
  """
  directory = find_directory(data_dir)
  missing = missing_files(directory)
  if missing and directory == data_dir:
    raise Failure('%s lacks %s. Add them, or choose another --data_dir to fetch %s into.'
                  % (data_dir, ', '.join(missing), title))
  if missing:
    with locked(data_dir):
      missing = missing_files(directory)  # another program may have filled it during the wait
      if 0 < len(missing) < len(BIN_FILES):
        archive.say('%s lacks %s. Filling it again.' % (directory, ', '.join(missing)))
      if missing:
        fill(directory)
  return directory
