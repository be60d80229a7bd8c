"""Writes files that others may read at any moment."""
import contextlib
import glob
import os
import time
import uuid

LEFT_SECONDS = 60  # after which a file that is being written counts as left by a killed process


@contextlib.contextmanager
def replacing(path, mode='wb', shared=False, **how):
  """Yields a file to write. It takes its place at `path` at once, when all is written.

  Args:
    path: a path. A file that is there stays until then, and for good if the block fails.
    mode, how: as for `open`.
    shared: whether other processes may write the file at the same time. The last one to end wins.
      A process that is killed while it writes leaves a file PATH.*.new; the next one removes it.
  """
  new = '%s.%s.new' % (path, uuid.uuid4().hex[:8]) if shared else path + '.new'
  if shared:
    _remove_left('%s.*.new' % glob.escape(path))
  try:
    with open(new, mode, **how) as file:
      yield file
    os.replace(new, path)
  except BaseException:
    with contextlib.suppress(OSError):
      os.remove(new)
    raise


def _remove_left(pattern):
  """Removes the files whose writers must have been killed."""
  for path in glob.glob(pattern):
    with contextlib.suppress(OSError):
      if time.time() - os.path.getmtime(path) > LEFT_SECONDS:
        os.remove(path)
