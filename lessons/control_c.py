"""Presses Ctrl-C at a chosen moment, and ends a cell whose training the reader interrupts."""
import contextlib
import signal
import sys

from lessons.lesson import say


class _Watched:
  """Passes text on to a stream; sends this process an interrupt when a text first appears."""

  def __init__(self, stream, text):
    self._stream, self._text = stream, text
    self.pressed = False

  def write(self, text):
    self._stream.write(text)
    if self._text in text and not self.pressed:
      self.pressed = True
      self._stream.write('^C\n')
      signal.raise_signal(signal.SIGINT)

  def flush(self):
    self._stream.flush()


@contextlib.contextmanager
def after(text):
  """Interrupts the block when it prints a line that holds `text`, as Ctrl-C would.

  The interrupt ends with the block. An interrupt by the reader is raised as always.
  """
  watched = _Watched(sys.stdout, text)
  try:
    with contextlib.redirect_stdout(watched):
      yield
  except KeyboardInterrupt:
    if not watched.pressed:
      raise


def check(code):
  """Raises KeyboardInterrupt if a trainer's exit code says that an interrupt ended it.

  The trainer saves and returns. Without an error, a notebook would go on with the next cell.
  """
  if code == 128 + signal.SIGINT:
    raise KeyboardInterrupt(say('Training was interrupted. Run the cell again to go on.'))
