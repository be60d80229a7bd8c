"""Checkpoints: finding them, telling whether they fit, and what a trainer lets an evaluator know.

A checkpoint is three files, model.ckpt-STEP.index, .data-* and maybe .meta; the file `checkpoint`
lists the latest ones. Paths in it are read relative to where it lies, so a directory that was moved
still loads.
"""
import contextlib
import glob
import json
import os
import re

import filelock

from cifar10_lib.dataset import download
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import reason, tf

BASENAME = 'model.ckpt'
_NAMES = download.META_FILE
_STATUS = 'trainer.json'
_LOCK = 'trainer.lock'


def step_of(path):
  """Returns the step in a checkpoint's name: 1200 for "…/model.ckpt-1200"; -1 if it has none."""
  match = re.search(r'-(\d+)$', path)
  return int(match[1]) if match else -1


def exists(path):
  """Tells whether the files of a checkpoint, given without '.index', are there."""
  return bool(os.path.exists(path + '.index') and glob.glob(glob.escape(path) + '.data-*'))


def find_all(directory):
  """Returns the paths of the checkpoints in a directory, without '.index', by ascending step."""
  try:
    state = tf.train.get_checkpoint_state(directory)
  except ValueError:  # cut short when the machine went down
    state = None
  listed = state.all_model_checkpoint_paths if state else []
  paths = [os.path.join(directory, os.path.basename(path)) for path in listed]
  paths = [path for path in paths if exists(path)]
  if not paths:  # no list, or the list of another directory
    names = glob.glob(os.path.join(glob.escape(directory), BASENAME + '-*.index'))
    paths = [name[:-len('.index')] for name in names]
  return sorted(paths, key=step_of)


def find_latest(directory):
  """Returns the path of the checkpoint with the highest step in a directory, or None."""
  return next(reversed(find_all(directory)), None)


def missing(path, variables):
  """Compares a checkpoint with the variables that it should hold.

  Args:
    path: of a checkpoint.
    variables: dict of names in the checkpoint to variables of the graph.

  Returns:
    A list of texts, one for each variable that is not there or has another shape.

  Raises:
    tf.errors.OpError: the checkpoint cannot be read.
  """
  shapes = tf.train.NewCheckpointReader(path).get_variable_to_shape_map()
  problems = []
  for name, variable in sorted(variables.items()):
    shape = variable.shape.as_list()
    if name not in shapes:
      problems.append('%s is missing' % name)
    elif shapes[name] != shape:
      problems.append('%s has shape %s, not %s' % (name, shapes[name], shape))
  return problems


def require_fit(path, variables, hint):
  """Raises Failure, naming the first three problems, unless the checkpoint fits the variables.

  Args:
    path, variables: as for `missing`.
    hint: sentence for the end of the failure's text: what to do next.

  Raises:
    Failure: it does not fit.
    tf.errors.OpError: it cannot be read.
  """
  problems = missing(path, variables)
  if problems:
    more = ' and %d more' % (len(problems) - 3) if len(problems) > 3 else ''
    raise Failure('%s does not fit this network: %s%s. %s'
                  % (path, '; '.join(problems[:3]), more, hint))


def check_fits(path, variables):
  """As `require_fit`, for a checkpoint to go on from: one that cannot be read is a Failure too."""
  try:
    require_fit(path, variables, 'Choose another directory.')
  except tf.errors.OpError as error:
    raise Failure('%s cannot be read: %s. Move it away, or choose another directory.'
                  % (path, reason(error))) from error


# Restoring.

WEIGHTS = ('ema', 'raw')
# Saved, but may be missing in a checkpoint: smoothed losses for TensorBoard, which other versions
# of this network name otherwise, and the state of an optimiser, which not every recipe has.
OPTIONAL = ('/avg', '/Momentum', '/Updates')


def saved_variables(weights='ema'):
  """Returns a dict for a Saver, of names in a checkpoint to the graph's variables.

  Args:
    weights: 'ema' reads each variable's moving average in its place, 'raw' its value at the step.
  """
  if weights == 'raw':
    return {variable.op.name: variable for variable in tf.global_variables()}
  decay = 0.0  # the names of averages do not depend on it
  return tf.train.ExponentialMovingAverage(decay).variables_to_restore()


def build_saver(keep_checkpoints):
  """Returns a tf.train.Saver of all variables that keeps so many checkpoints."""
  return tf.train.Saver(max_to_keep=keep_checkpoints, save_relative_paths=True)


def restorer(train_dir, saver):
  """Builds the ops that restore the latest checkpoint.

  Args:
    train_dir: the directory.
    saver: a tf.train.Saver of all variables; checkpoints that are found count among those it keeps.

  Returns:
    A function that takes a session and returns whether there was a checkpoint to restore.

  Raises:
    Failure: the checkpoint does not fit the graph.
  """
  first = find_latest(train_dir)
  if first:  # another program may have written it; later ones are the saver's own
    variables = {each.op.name: each for each in tf.global_variables()}
    optional = {name for name in variables if name.endswith(OPTIONAL)}
    check_fits(first, {name: variables[name] for name in variables.keys() - optional})
    held = tf.train.NewCheckpointReader(first).get_variable_to_shape_map().keys()
    first_saver = tf.train.Saver({name: variables[name]
                                  for name in variables if name not in optional - held})

  def restore(session):
    paths = find_all(train_dir)
    if not paths:
      return False
    try:
      (first_saver if paths[-1] == first else saver).restore(session, paths[-1])
    except tf.errors.OpError as error:
      raise Failure('%s cannot be read: %s. Move its files away to go on from an earlier one.'
                    % (paths[-1], reason(error))) from error
    saver.recover_last_checkpoints(paths)
    return True
  return restore


# Writing.


@contextlib.contextmanager
def exclusive(directory):
  """Makes `directory` if need be and keeps other trainers out of it.

  Raises:
    Failure: another trainer is at work there, or the directory cannot be written.
  """
  lock = filelock.FileLock(os.path.join(directory, _LOCK))
  try:
    os.makedirs(directory, exist_ok=True)
    lock.acquire(timeout=0)
  except filelock.Timeout as error:
    status = read_status(directory)
    raise Failure('%s is in use by another trainer (process %s). Wait for it, or choose another '
                  '--train_dir.' % (directory, status.get('pid', 'unknown'))) from error
  except OSError as error:
    raise Failure('Cannot write to %s: %s. Choose another --train_dir.'
                  % (directory, error.strerror)) from error
  try:
    yield
  finally:
    lock.release()


def write_whole(path, text):
  """Puts a text in the place of a file at once, so that nobody reads half of it."""
  with open(path + '.new', 'w', encoding='utf-8') as file:
    file.write(text)
  os.replace(path + '.new', path)


def keep_names(directory, names):
  """Writes the classes' names beside the checkpoints: a data set is not needed to tell them."""
  write_whole(os.path.join(directory, _NAMES), '\n'.join(names) + '\n')


def read_names(directory):
  """Returns the classes' names that lie beside checkpoints, by label; CIFAR-10's if none do.

  Raises:
    Failure: they are not ten.
  """
  return download.class_names(directory)


def write_status(directory, state, **details):
  """Tells evaluators how training stands: 'training', 'stopped', 'finished' or 'failed'."""
  status = dict(state=state, pid=os.getpid(), **details)
  write_whole(os.path.join(directory, _STATUS), json.dumps(status))


def read_status(directory):
  """Returns what `write_status` wrote last, as a dict; an empty one if nothing is there."""
  try:
    with open(os.path.join(directory, _STATUS)) as file:
      return dict(json.load(file))
  except (OSError, ValueError, TypeError):
    return {}
