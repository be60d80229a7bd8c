"""The files of a trainer beside its checkpoints: lock, names of the classes, status.

Evaluators read them while the trainer writes.
"""
import contextlib
import json
import os
import time

import filelock

from cifar10_lib.common.programs import Failure
from cifar10_lib.dataset import records
from cifar10_lib.training import checkpoints

STATUS = 'trainer.json'
LOCK = 'trainer.lock'
POLL_SECONDS = 1  # between two checks for the end of training


@contextlib.contextmanager
def exclusive(directory):
  """Makes a directory if necessary, and keeps other trainers out of it while the block runs.

  Raises:
    Failure: another trainer uses the directory, or it cannot be written.
  """
  try:
    os.makedirs(directory, exist_ok=True)
    lock = filelock.FileLock(os.path.join(directory, LOCK)).acquire(timeout=0)
  except filelock.Timeout as error:
    status = read_status(directory)
    raise Failure('%s is in use by another trainer (process %s). Wait for it, or choose another '
                  '--train_dir.' % (directory, status.get('pid', 'unknown'))) from error
  except OSError as error:
    raise Failure('Cannot write to %s: %s. Choose another --train_dir.'
                  % (directory, error.strerror)) from error
  with lock:  # releases it at the end
    yield


def replace(path, content):
  """Replaces a file by one with this content, str or bytes, in one step for those who read it."""
  content = content.encode() if isinstance(content, str) else content
  with open(path + '.new', 'wb') as file:
    file.write(content)
  os.replace(path + '.new', path)


def keep_names(directory, names):
  """Writes the names of the classes beside the checkpoints, so that they need no data set."""
  replace(os.path.join(directory, records.META_FILE), '\n'.join(names) + '\n')


def write_status(directory, state, **details):
  """Writes how training stands: 'training', 'stopped', 'finished' or 'failed', and details."""
  status = dict(state=state, pid=os.getpid(), **details)
  replace(os.path.join(directory, STATUS), json.dumps(status))


def read_status(directory):
  """Returns the last status of `write_status`, a dict; an empty one if there is none."""
  try:
    with open(os.path.join(directory, STATUS)) as file:
      return dict(json.load(file))
  except (OSError, ValueError, TypeError):
    return {}


def has_ended(directory):
  """Returns whether training in a directory has finished or failed."""
  return read_status(directory).get('state') in ('finished', 'failed')


def wait(directory, seconds):
  """Sleeps for so many seconds, or until training in a directory has ended."""
  due = time.monotonic() + seconds
  while time.monotonic() < due and not has_ended(directory):
    time.sleep(POLL_SECONDS)


def new_checkpoints(directory, seconds):
  """Yields the path of each checkpoint once, as it appears, until training has ended.

  Args:
    directory: directory of checkpoints; it may not exist yet.
    seconds: time between two searches.

  Raises:
    Failure: training has ended without a checkpoint.
  """
  seen, ended = set(), False
  while not ended:
    ended = has_ended(directory)  # checked before the search, which then finds the last one
    found = checkpoints.find_all(directory)
    for checkpoint in found:
      if checkpoint not in seen:
        yield checkpoint
        seen.add(checkpoint)
    if not ended:
      if not found:
        print('Waiting for a checkpoint in %s.' % directory, flush=True)
      wait(directory, seconds)
  if not seen:
    raise Failure('Training in %s has ended without a checkpoint.' % directory)
