"""Watches a trainer's directory for new checkpoints."""
import time

from cifar10_lib.common.programs import Failure
from cifar10_lib.training import checkpoints

POLL_SECONDS = 1  # between two checks for the end of training


def ended(directory):
  """Returns whether the trainer of a directory has finished or failed."""
  return checkpoints.read_status(directory).get('state') in ('finished', 'failed')


def wait(directory, seconds):
  """Sleeps for so many seconds, or until training in a directory has ended."""
  due = time.monotonic() + seconds
  while time.monotonic() < due and not ended(directory):
    time.sleep(POLL_SECONDS)


def new_checkpoints(directory, seconds):
  """Yields the path of each checkpoint once, as it appears, until training has ended.

  Args:
    directory: the directory of checkpoints; it may not exist yet.
    seconds: time between two searches.

  Raises:
    Failure: training has ended without a checkpoint.
  """
  seen, last_search = set(), False
  while not last_search:
    last_search = ended(directory)  # checked before the search, which then finds the last one
    found = checkpoints.find_all(directory)
    for checkpoint in found:
      if checkpoint not in seen:
        yield checkpoint
        seen.add(checkpoint)
    if not last_search:
      if not found:
        print('Waiting for a checkpoint in %s.' % directory, flush=True)
      wait(directory, seconds)
  if not seen:
    raise Failure('Training in %s has ended without a checkpoint.' % directory)
