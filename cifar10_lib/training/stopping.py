"""Ends training early: on a signal, or when the training files change under way."""
import contextlib
import os
import signal
import socket
import sys
import threading
import time
import types

from cifar10_lib.common import programs
from cifar10_lib.common.programs import SIGPIPE, Failure
from cifar10_lib.common.tf1 import SessionRunHook

ENDING = [getattr(signal, name) for name in ('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGPIPE')
          if hasattr(signal, name)]  # Windows has neither SIGHUP nor SIGPIPE
POLL_SECONDS = 2.0  # between two looks at the sizes of the training files


@contextlib.contextmanager
def catch_signals():
  """Catches signals that end programs, in the block. The first is noted, the second ends it.

  They are SIGTERM, SIGINT, SIGHUP (the terminal closes) and SIGPIPE (nobody reads the output any
  more, as after `| head`).

  StopOnSignalHook then ends the session, and `run.open_run` sets the exit code.

  Yields:
    An object with an attribute `number`: the number of the signal that was caught, or None.
  """
  signals = types.SimpleNamespace(number=None)

  def note(number, frame):
    signals.number = number
    start = '\n' if sys.stderr.isatty() else ''  # the progress bar occupies the line
    if number == SIGPIPE:
      programs.drop_output()
      signal.signal(number, signal.SIG_IGN)
      return
    with contextlib.suppress(OSError):  # the terminal may be gone
      print('%sCaught %s: finishing the step, then saving; once more ends at once.'
            % (start, signal.Signals(number).name), flush=True)
    signal.signal(number, signal.SIG_DFL)

  # A shell starts background jobs with SIGINT ignored. It stays ignored.
  numbers = [number for number in ENDING
             if number == SIGPIPE or signal.getsignal(number) is not signal.SIG_IGN]
  before = {number: signal.signal(number, note) for number in numbers}
  # Python calls `note` only between two of its own instructions, never inside a step that hangs.
  # But the interpreter writes each signal to this socket at once, and a thread reads it.
  reader, writer = socket.socketpair()
  writer.setblocking(False)
  wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

  def watch():
    count = 0
    while byte := reader.recv(1):
      if byte[0] in numbers:
        signals.number = byte[0]  # now: `note` runs only when the step has ended
      count += byte[0] in numbers and byte[0] != SIGPIPE
      if count == 2:
        os._exit(128 + byte[0])
  thread = threading.Thread(target=watch, daemon=True)
  thread.start()
  try:
    yield signals
  finally:
    signal.set_wakeup_fd(wakeup)
    writer.close()
    thread.join()
    reader.close()
    for number, handler in before.items():
      signal.signal(number, handler)


class StopOnSignalHook(SessionRunHook):
  """Ends training after the step during which a signal was caught."""

  def __init__(self, signals):
    self._signals = signals

  def after_create_session(self, session, coord):
    if self._signals.number:
      coord.request_stop()

  def after_run(self, run_context, run_values):
    if self._signals.number:
      run_context.request_stop()


class WatchHook(SessionRunHook):
  """Ends training if a training file becomes shorter, or if a step hangs after a signal.

  A step hangs when no records are left to read, and Python handles no signal until it ends. Here a
  thread stops the session: that closes the queues, and a step that waits for one ends.
  """

  def __init__(self, paths, signals, grace_seconds):
    """Takes the training files, what `catch_signals` yields, and how long a step may take then."""
    self._sizes = {path: os.path.getsize(path) for path in paths}
    self._signals, self._grace_seconds = signals, grace_seconds

  def after_create_session(self, session, coord):
    threading.Thread(target=self._watch, args=(coord,), daemon=True).start()

  def _check_sizes(self):
    """Raises Failure if a file is shorter than at the start."""
    for path, size in self._sizes.items():
      try:
        now = os.path.getsize(path)
      except FileNotFoundError:
        now = 0
      except OSError:  # a file system that does not answer at this moment
        continue
      if now < size:
        raise Failure('%s has %d bytes, and had %d when training started. Restore it, then run the '
                      'same command again to go on.' % (path, now, size))

  def _watch(self, coord):
    give_up = None
    while not coord.wait_for_stop(POLL_SECONDS):
      try:
        self._check_sizes()
      except Failure as failure:
        coord.request_stop(failure)
      if self._signals.number:
        give_up = give_up or time.monotonic() + self._grace_seconds
        if time.monotonic() > give_up:
          coord.request_stop()
