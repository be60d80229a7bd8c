"""Writes files that others may read at any moment."""
import contextlib
import os


@contextlib.contextmanager
def replacing(path, mode='wb', **how):
  """Yields a file to write. It takes its place at `path` at once, when all is written.

  Args:
    path: a path. A file that is there stays until then, and for good if the block fails.
    mode, how: as for `open`.
  """
  try:
    with open(path + '.new', mode, **how) as file:
      yield file
    os.replace(path + '.new', path)
  except OSError:
    with contextlib.suppress(OSError):
      os.remove(path + '.new')
    raise
