"""The files of a trainer beside its checkpoints: lock, names of the classes, status.

Evaluators read them while the trainer writes.
"""
import contextlib
import glob
import json
import math
import os
import re
import time

import filelock

from cifar10_lib.common import writing
from cifar10_lib.common.programs import Failure
from cifar10_lib.dataset import records
from cifar10_lib.training import checkpoints

STATUS = 'trainer.json'
LOCK = 'trainer.lock'
POLL_SECONDS = 1  # between two checks for the end of training
ABANDONED_SECONDS = 30  # for a killed trainer to be started again; loading TensorFlow takes 3
LOCK_SECONDS = 2  # for an evaluator that tests the lock to release it
MAX_STATUS_BYTES = 1 << 20


@contextlib.contextmanager
def exclusive(directory):
  """Makes a directory if necessary, and keeps other trainers out of it while the block runs.

  Raises:
    Failure: another trainer uses the directory, or it cannot be written.
  """
  try:
    os.makedirs(directory, exist_ok=True)
    lock = filelock.FileLock(os.path.join(directory, LOCK)).acquire(
        timeout=LOCK_SECONDS)
  except filelock.Timeout as error:
    status = read_status(directory)
    raise Failure('%s is in use by another trainer (process %s). Wait for it, or choose another '
                  '--train_dir.' % (directory, status.get('pid', 'unknown'))) from error
  except OSError as error:
    raise Failure('Cannot write to %s: %s. Choose another --train_dir.'
                  % (directory, error.strerror)) from error
  with lock:  # releases it at the end
    yield


def _unfinished(directory):
  """Yields the paths of files that a writer left when it was killed or its disk was full.

  The .index of a checkpoint comes last. Without it the checkpoint was never complete, unless the
  file `checkpoint` lists it.
  """
  start = os.path.join(glob.escape(directory), checkpoints.BASENAME)
  for pattern in '-*.tempstate*', '-*.meta.new':
    yield from glob.glob(start + pattern)
  for name in STATUS, records.META_FILE:
    yield os.path.join(directory, name + '.new')
  listed = checkpoints.listed(directory)
  for file in glob.glob(start + '-*.meta') + glob.glob(start + '-*.data-*'):
    path = re.sub(r'\.(meta|data-.*)$', '', file)  # without an ending: TensorFlow 0.x
    if path not in listed and not os.path.exists(path + '.index') and not os.path.exists(path):
      yield file


def remove_unfinished(directory):
  """Removes the files that a trainer left unfinished when it was killed or its disk was full.

  The caller holds the lock of the directory.
  """
  for path in _unfinished(directory):
    with contextlib.suppress(OSError):
      os.remove(path)


def replace(path, content):
  """Replaces a file by one with this content, str or bytes, in one step for those who read it."""
  content = content.encode() if isinstance(content, str) else content
  with writing.replacing(path) as file:
    file.write(content)


def keep_names(directory, names):
  """Writes the names of the classes beside the checkpoints, so that they need no data set."""
  replace(os.path.join(directory, records.META_FILE), '\n'.join(names) + '\n')


def kept_names(directory):
  """Returns the names that `keep_names` wrote beside checkpoints, or None if there are none."""
  kept = os.path.exists(os.path.join(directory, records.META_FILE))
  return records.class_names(directory) if kept else None


def learned_names(checkpoint):
  """Returns the names of the classes that a checkpoint has learned, by label: list of str [K].

  They lie beside it. Where they are missing, CIFAR-10's names stand in for ten classes, and
  'class 0', 'class 1' and so on for another number.

  Raises:
    Failure: their number is not that of the checkpoint's classes, or a file cannot be read.
  """
  names = kept_names(os.path.dirname(checkpoint))
  with checkpoints.readable(checkpoint):
    count = checkpoints.num_classes(checkpoint) or len(names or records.CLASS_NAMES)
  if names is None:
    ten = count == len(records.CLASS_NAMES)
    names = records.CLASS_NAMES if ten else ['class %d' % label for label in range(count)]
  if len(names) != count:
    raise Failure('%s has learned %d classes, but %s beside it holds %d names. Write one name per '
                  'line, or move that file away.'
                  % (checkpoint, count, records.META_FILE, len(names)))
  return list(names)


def _listed(names, first):
  """Returns the names of two classes from label `first` on, in brackets."""
  shown = ['...'] * (first > 0) + names[first:first + 2] + ['...'] * (first + 2 < len(names))
  return ' (%s)' % ', '.join(shown)


def require_same_classes(checkpoint, names, data_dir, flag):
  """Raises Failure unless a checkpoint has learned the classes of a data set, label by label.

  If it has no names beside it, their number counts.

  Args:
    checkpoint: path of a checkpoint.
    names: list of str, the classes of the data set by label.
    data_dir: directory of the data set.
    flag: name of the flag that chose the directory of the checkpoint.

  Raises:
    tf.errors.OpError: the checkpoint cannot be read.
  """
  kept = kept_names(os.path.dirname(checkpoint))
  count = len(kept) if kept else checkpoints.num_classes(checkpoint)
  if kept == names or not kept and count in (None, len(names)):
    return
  both = list(zip(kept or names, names, strict=False))
  # The first label that has two names; else one list continues the other, so their last common one.
  first = next((label for label, (one, other) in enumerate(both) if one != other), len(both) - 1)
  raise Failure('%s has learned %d classes%s, %s has %d%s. Choose another %s or --data_dir.' % (
      os.path.dirname(checkpoint) or '.', count, _listed(kept, first) if kept else '', data_dir,
      len(names), _listed(names, first if kept else 0), flag))


def write_status(directory, state, **details):
  """Writes how training stands: 'training', 'stopped', 'finished' or 'failed', and details."""
  status = dict(state=state, pid=os.getpid(), **details)
  replace(os.path.join(directory, STATUS), json.dumps(status))


def read_status(directory):
  """Returns the last status of `write_status`, a dict; an empty one if there is none.

  What another program wrote there in another form is left out.
  """
  try:
    with open(os.path.join(directory, STATUS), 'rb') as file:
      status = json.loads(file.read(MAX_STATUS_BYTES))
  except (OSError, ValueError, RecursionError):
    return {}
  if not isinstance(status, dict):
    return {}
  hparams = status.get('hparams')
  if isinstance(hparams, dict):
    status['hparams'] = {name: value for name, value in hparams.items() if _is_plain(value)}
  kinds = {'state': str, 'run': str, 'data': str, 'hparams': dict, 'pid': int, 'max_steps': int}
  return {name: value for name, value in status.items()
          if isinstance(value, kinds.get(name, object))
          and (name == 'hparams' or _is_plain(value))}


def _is_plain(value):
  """Returns whether TensorBoard can show a value: None, a finite number or valid text."""
  if isinstance(value, str):
    return not any('\ud800' <= character <= '\udfff' for character in value)
  return value is None or isinstance(value, (int, float)) and math.isfinite(value)


def has_ended(directory):
  """Returns whether training in a directory has finished or failed."""
  return read_status(directory).get('state') in ('finished', 'failed')


def is_abandoned(directory):
  """Returns whether the status says 'training' but no trainer holds the lock of the directory."""
  if read_status(directory).get('state') != 'training':
    return False
  try:
    with filelock.FileLock(os.path.join(directory, LOCK)).acquire(timeout=0):
      return True
  except (filelock.Timeout, OSError):  # OSError: unknown
    return False


def wait(directory, seconds):
  """Sleeps for so many seconds, or until training in a directory has ended.

  Returns:
    Whether the trainer was killed: no trainer came back to an abandoned directory for
    ABANDONED_SECONDS.
  """
  now = time.monotonic()
  due, seen_alive = now + seconds, now
  while now < due and not has_ended(directory):
    time.sleep(POLL_SECONDS)
    now = time.monotonic()
    if not is_abandoned(directory):
      seen_alive = now
    elif now - seen_alive > ABANDONED_SECONDS:
      return True
    else:
      due = max(due, now + POLL_SECONDS)
  return False


def new_checkpoints(directory, seconds):
  """Yields the path of each checkpoint once, as it appears, until training has ended.

  Args:
    directory: directory of checkpoints; it may not exist yet.
    seconds: time between two searches.

  Raises:
    Failure: training has ended without a checkpoint.
  """
  seen, killed, ended, was_stopped = set(), False, False, False
  while not ended:
    ended = killed or has_ended(directory)  # before the search, which then finds the last one
    found = checkpoints.find_all(directory)
    for checkpoint in found:
      if checkpoint not in seen:
        yield checkpoint
        seen.add(checkpoint)
    if not ended:
      if not found:
        print('Waiting for a checkpoint in %s.' % directory, flush=True)
      stopped = read_status(directory).get('state') == 'stopped'
      if stopped and not was_stopped:
        print('Training is stopped. Waiting until it goes on; Ctrl-C ends this program.',
              flush=True)
      was_stopped = stopped
      killed = wait(directory, seconds)
      if killed:
        print('The trainer of %s has ended without saying so.' % directory, flush=True)
  if not seen:
    raise Failure('Training in %s has ended without a checkpoint.' % directory)
