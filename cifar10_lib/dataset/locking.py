"""Keeps two programs from filling one data directory at the same time."""
import contextlib
import errno
import os
import socket

import filelock

from cifar10_lib.common.programs import Failure, printable
from cifar10_lib.dataset import archive


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
