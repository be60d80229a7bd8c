"""Writes files that others may read at any moment."""
import contextlib
import os
import uuid


@contextlib.contextmanager
def replacing(path, mode='wb', shared=False, **how):
  """Yields a file to write. It takes its place at `path` at once, when all is written.

  Args:
    path: a path. A file that is there stays until then, and for good if the block fails.
    mode, how: as for `open`.
    shared: whether other processes may write the file at the same time. The last one to end wins.
      A process that is killed while it writes leaves a file PATH.*.new.
  """
  new = '%s.%s.new' % (path, uuid.uuid4().hex[:8]) if shared else path + '.new'
  try:
    with open(new, mode, **how) as file:
      yield file
    os.replace(new, path)
  except BaseException:
    with contextlib.suppress(OSError):
      os.remove(new)
    raise
