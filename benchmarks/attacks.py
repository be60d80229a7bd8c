"""Helps the attacks on running programs: starts them, sends signals, reads what they wrote.

Attacks are kills.py, kills_cluster.py, full_disk.py and soak.py. Each prints one JSON line for each
row, and describes each loss on standard error.
"""
import contextlib
import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import typing

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import sample
from tests import testing

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
END_SECONDS = 60  # for a program to end after a signal, or to make a few steps
EXPORTED = ['encoded', 'saved_model.pb', 'variables']  # names in the directory of a whole export
SIGNALS = ('SIGKILL', 'SIGTERM', 'SIGINT')
WAYS = ('process', 'process', 'group', 'twice')  # how a signal goes, by lot; SIGKILL never twice
PAUSE = (0.05, 1.0)  # seconds, range of the time before a second signal
LOSSES = (AssertionError, subprocess.TimeoutExpired)


def command(program, *arguments, **flags):
  """Returns the argv of one of the project's programs: a file's name without .py, then flags."""
  return [sys.executable, os.path.join(ROOT, program + '.py'), *arguments,
          *('--%s=%s' % each for each in flags.items())]


def trainer(program, data_dir, train_dir, max_steps, **flags):
  """Returns the argv of a trainer with small batches that saves every second step."""
  return command(program, **dict(dict(
      data_dir=data_dir, train_dir=train_dir, batch_size=16, log_frequency=1,
      save_checkpoint_steps=2, summary_steps=1, max_steps=max_steps), **flags))


def draw_sample(directory, train_examples=200, test_examples=50):
  """Draws a small sample data set; returns its --data_dir."""
  data_dir = os.path.join(directory, 'data')
  sample.make_sample(data_dir, train_examples, test_examples)
  return data_dir


@contextlib.contextmanager
def running(argv, output=subprocess.PIPE, errors=subprocess.STDOUT, **options):
  """Yields a process in a group of its own, which is killed at the end of the block.

  Its output and errors are one stream, unless `errors` is another file. It has the default signals,
  whatever started the attack.
  """
  process = subprocess.Popen(argv, stdout=output, stderr=errors, text=True,
                             start_new_session=True, preexec_fn=testing.default_signals, **options)
  try:
    yield process
  finally:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
      process.stdout.close()


def run(argv, code=0, seconds=END_SECONDS):
  """Runs a program to its end; returns its output. Another exit code or a traceback is a loss."""
  with running(argv) as process:
    output, _ = process.communicate(timeout=seconds)
  assert process.returncode == code, 'exit code %s: %s' % (process.returncode, output[-2000:])
  assert 'Traceback' not in output, output[-2000:]
  return output


class Blow(typing.NamedTuple):
  """A signal, and how it is sent."""
  number: int
  way: str      # 'process', 'group' or 'twice'
  pause: float  # seconds before the second signal

  @classmethod
  def draw(cls, random, name):
    """Returns a signal of that name, sent in a way chosen by lot."""
    ways = WAYS[:3] if name == 'SIGKILL' else WAYS
    return cls(getattr(signal, name), random.choice(ways), random.uniform(*PAUSE))

  @property
  def saves(self):
    """Whether a trainer may finish its step and save: not after SIGKILL or a second signal."""
    return self.number != signal.SIGKILL and self.way != 'twice'

  def strike(self, process, codes=()):
    """Sends the signal, and waits for the end; returns the output.

    Another exit code than `codes` or the signal's own, or a traceback, is a loss.
    """
    send = os.killpg if self.way == 'group' else os.kill
    ended = process.poll() is not None
    if not ended:
      send(process.pid, self.number)
    if self.way == 'twice' and not ended:
      time.sleep(self.pause)
      if process.poll() is None:
        process.send_signal(self.number)
    output, _ = process.communicate(timeout=END_SECONDS)
    allowed = (-self.number, 128 + self.number, *codes)
    assert process.returncode in allowed, (process.returncode, self, output and output[-2000:])
    assert 'Traceback' not in (output or ''), output
    return output


def steps_of(output):
  """Returns the steps in the log lines of a trainer."""
  return [int(step) for step in re.findall(r': step (\d+), loss', output)]


def event_steps(directory):
  """Returns the steps of all summaries: a list for each event file, in the order of their names.

  A file that cannot be read to its end is a loss, but for its last record. A step that is before
  an earlier one of its file is a loss.
  """
  found = []
  for path in sorted(glob.glob(os.path.join(directory, 'events.*'))):
    steps = []
    with contextlib.suppress(tf.errors.DataLossError):  # the last record of a killed writer
      steps += (event.step for event in tf.train.summary_iterator(path)
                if event.HasField('summary'))
    assert steps == sorted(steps), '%s goes backwards: %s' % (path, steps)
    found.append(steps)
  return found


def leftovers(directory):
  """Returns the names of unfinished files in a directory."""
  return [name for name in os.listdir(directory)
          if 'tempstate' in name or name.endswith(('.new', '.unfinished'))]


def seconds_of(argv, code=0):
  """Returns how long a program takes undisturbed, so that signals fall into its whole life."""
  began = time.monotonic()
  run(argv, code)
  return time.monotonic() - began


@contextlib.contextmanager
def workplace(name):
  """Yields a new directory, removed at the end; SIGTERM to the attack ends it in order."""
  signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
  with tempfile.TemporaryDirectory(prefix=name + '-', ignore_cleanup_errors=True) as directory:
    yield directory


def repeat(row, rounds, one_round):
  """Calls `one_round(number)` so many times; returns its results and the number of losses."""
  results, losses = [], 0
  for number in range(rounds):
    try:
      results.append(one_round(number))
    except LOSSES as error:
      losses += 1
      print('%s, round %d: %s' % (row, number, error), file=sys.stderr, flush=True)
  return results, losses


def report(row, **figures):
  """Prints a row as one line of JSON."""
  print(json.dumps({'row': row, **figures}), flush=True)
