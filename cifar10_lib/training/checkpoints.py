"""Checkpoints: finds them, checks that they are sound and fit a graph, restores them.

A checkpoint is three files: model.ckpt-STEP.index, .data-* and .meta. The file `checkpoint` lists
the latest ones. Its paths are read relative to its directory, so a moved directory still loads.
"""
import contextlib
import functools
import glob
import itertools
import os
import re
import sys

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import reason, tf
from cifar10_lib.network import precision

BASENAME = 'model.ckpt'
MAX_STEP = 2**63 - 1  # of an int64; a file with a larger step in its name is no checkpoint of ours
ASIDE = 'damaged-'  # prefix of the files of a checkpoint that was set aside
WEIGHTS = ('ema', 'raw')
# Variables that a checkpoint may lack: smoothed losses for TensorBoard, which other versions of
# this network name differently, and the state of an optimizer, which not every recipe has.
OPTIONAL = ('/avg', '/Momentum', '/Updates')
LAST_BIASES = 'softmax_linear/biases'  # float32 [K], one for each class


# Finding. All paths of checkpoints are without '.index'.


def step_of(path):
  """Returns the step in a checkpoint's name: 1200 for "…/model.ckpt-1200"; -1 if it has none."""
  match = re.search(r'-(\d+)$', path)
  return int(match[1]) if match else -1


def path_of(directory, step):
  """Returns the path of the checkpoint of a step in a directory."""
  return os.path.join(directory, '%s-%d' % (BASENAME, step))


def exists(path):
  """Returns whether the files of a checkpoint are there."""
  return bool(os.path.exists(path + '.index') and glob.glob(glob.escape(path) + '.data-*'))


def listed(directory):
  """Returns the paths of the checkpoints that the file `checkpoint` lists."""
  try:
    state = tf.train.get_checkpoint_state(directory)
  except ValueError:  # truncated by a crash of the machine
    state = None
  return [os.path.join(directory, os.path.basename(path))
          for path in (state.all_model_checkpoint_paths if state else [])]


def find_all(directory):
  """Returns the paths of the checkpoints in a directory, by ascending step."""
  paths = [path for path in listed(directory) if exists(path)]
  if not paths:  # no list, or the list of another directory
    names = glob.glob(os.path.join(glob.escape(directory), BASENAME + '-*.index'))
    paths = [name[:-len('.index')] for name in names]
  return sorted((path for path in paths if step_of(path) <= MAX_STEP), key=step_of)


def find_latest(directory):
  """Returns the path of the checkpoint with the highest step in a directory, or None."""
  return next(reversed(find_all(directory)), None)


def damage(path):
  """Returns why a checkpoint cannot be used, or '' if every value can be read and is finite.

  Reading a value verifies its checksum. 3 million numbers take 30 ms. The files are not read again
  if the last call was for them and they have not changed.
  """
  files = []
  for file in sorted(glob.glob(glob.escape(path) + '.*')):
    with contextlib.suppress(FileNotFoundError):  # a trainer deletes it
      status = os.stat(file)
      files.append((file, status.st_ino, status.st_size, status.st_mtime_ns))
  return _damage(path, tuple(files))


@functools.lru_cache(1)
def _damage(path, files):
  """Does the work of `damage`; `files` says what the files were."""
  del files
  try:
    reader = tf.train.NewCheckpointReader(path)
    for name in sorted(reader.get_variable_to_shape_map()):
      value = reader.get_tensor(name)
      if value.dtype.kind == 'f' and not np.isfinite(value).all():
        return '%s is NaN or infinite' % name
  except (tf.errors.OpError, LookupError, RuntimeError, ValueError, MemoryError) as error:
    return reason(error) if isinstance(error, tf.errors.OpError) else str(error)
  return ''


def find_sound(directory):
  """Finds the latest checkpoint in a directory that is not damaged.

  Returns:
    Its path, or None if there is no checkpoint at all; and the later checkpoints, which are
    damaged, as a list of (path, damage).

  Raises:
    Failure: there are checkpoints, but all are damaged.
  """
  damaged = []
  for path in reversed(find_all(directory)):
    problem = damage(path)
    if not problem:
      return path, damaged
    if exists(path):  # else a trainer has deleted it meanwhile
      damaged.append((path, problem))
  if damaged:
    raise Failure('No checkpoint in %s is sound: %s is damaged (%s). Choose another directory, or '
                  'restore the files from a copy.' % (directory, *damaged[0]))
  return None, []


def set_aside(path):
  """Renames the files of a checkpoint, so that nothing takes them for one; returns the new name."""
  directory, name = os.path.split(path)
  for number in itertools.count(1):
    aside = os.path.join(directory, '%s%s%s' % (ASIDE, '%d-' % number if number > 1 else '', name))
    if not glob.glob(glob.escape(aside) + '.*'):
      break
  for file in glob.glob(glob.escape(path) + '.*'):
    os.rename(file, aside + file[len(path):])
  return aside


def latest(directory):
  """Returns the path of the latest sound checkpoint in a directory; names those it passes over.

  A path of a checkpoint stands for itself. Raises Failure if there is none.
  """
  if exists(directory):
    return directory
  found, damaged = find_sound(directory)
  for path, problem in damaged:
    print('%s is damaged (%s). Taking an earlier one.' % (path, problem), file=sys.stderr)
  if not found:
    raise Failure('No checkpoint in %s; train first: python cifar10_train.py --train_dir %s'
                  % (directory, directory))
  return found


# Checking.


@contextlib.contextmanager
def readable(path):
  """Turns an error of TensorFlow while it reads a checkpoint into a Failure."""
  try:
    yield
  except tf.errors.OpError as error:
    raise Failure('%s cannot be read: %s. Move its files away, or choose another directory.'
                  % (path, reason(error))) from error


def num_classes(path):
  """Returns the number of classes of a checkpoint; None if its last layer has another name.

  Raises tf.errors.OpError if the checkpoint cannot be read.
  """
  return tf.train.NewCheckpointReader(path).get_variable_to_shape_map().get(LAST_BIASES, [None])[0]


def missing(path, variables):
  """Returns a list of texts, one for each variable that a checkpoint lacks or has in another shape.

  Args:
    path: path of a checkpoint.
    variables: dict from names in the checkpoint to variables of the graph.

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


def require_fit(path, variables, flag='--checkpoint_dir'):
  """Raises Failure, with the first three problems and a way out, unless a checkpoint fits.

  Args:
    path, variables: as for `missing`, which may raise tf.errors.OpError.
    flag: name of the flag that chose the directory.
  """
  problems = missing(path, variables)
  if problems:
    values = {variable.op.name: variable for variable in variables.values()}
    if values.keys() != variables.keys() and not missing(path, values):
      hint = '--weights=raw does without averages.'
    else:
      hint = ('The network was changed since that checkpoint was written (image size, classes or '
              'layers). Choose another %s, or undo the change.' % flag)
    more = ' and %d more' % (len(problems) - 3) if len(problems) > 3 else ''
    raise Failure('%s does not fit this network: %s%s. %s'
                  % (path, '; '.join(problems[:3]), more, hint))


def require_finite(path, log_probabilities):
  """Raises Failure if a checkpoint's log_probabilities, float32 [N, K], are NaN or infinite."""
  finite = np.isfinite(log_probabilities).all(axis=1)
  if not finite.all():
    raise Failure('%s gives logits that are NaN or infinite for %d of %d records; training '
                  'diverged before it. Score an earlier one.'
                  % (path, np.sum(~finite), len(finite)))


# Restoring.


def saved_variables(weights='ema'):
  """Returns a dict for a Saver, from names in a checkpoint to the graph's variables.

  Args:
    weights: 'ema' reads the moving average of each variable in its place, 'raw' its own value.
  """
  if weights == 'raw':
    return {variable.op.name: variable for variable in tf.global_variables()}
  # The names of averages do not depend on the decay.
  return tf.train.ExponentialMovingAverage(0.0).variables_to_restore()


def session(path, weights):
  """Returns a session of the default graph with a checkpoint's `saved_variables(weights)`.

  Raises:
    Failure: the checkpoint does not fit the network, or cannot be read.
  """
  variables = saved_variables(weights)
  restored = tf.Session(config=precision.session_config())
  problem = damage(path)
  if problem and exists(path):
    raise Failure('%s is damaged (%s). Choose another checkpoint.' % (path, problem))
  with readable(path):
    require_fit(path, variables)
    try:
      tf.train.Saver(variables).restore(restored, path)
    except ValueError as error:  # the saver raises it if the files have vanished
      if exists(path):
        raise
      raise Failure('%s vanished before it was read. Run again for the latest one.' % path
                    ) from error
  return restored


def build_saver(keep_checkpoints):
  """Returns a tf.train.Saver of all variables that keeps so many checkpoints."""
  return tf.train.Saver(max_to_keep=keep_checkpoints, save_relative_paths=True)


def restorer(train_dir, saver):
  """Adds the ops that restore the latest checkpoint to the graph.

  Args:
    train_dir: directory of checkpoints.
    saver: a tf.train.Saver of all variables; the checkpoints found count among those it keeps.

  Returns:
    A function that takes a session and returns whether there was a checkpoint to restore.

  Raises:
    Failure: the checkpoint does not fit the graph, or cannot be read.
  """
  first = find_latest(train_dir)
  if first:  # another program may have written it; later ones are the saver's own
    variables = saved_variables('raw')
    with readable(first):
      require_fit(first, {name: variable for name, variable in variables.items()
                          if not name.endswith(OPTIONAL)}, '--train_dir')
      saved = tf.train.NewCheckpointReader(first).get_variable_to_shape_map()
    first_saver = tf.train.Saver({name: variables[name] for name in variables if name in saved})

  def restore(session):
    paths = find_all(train_dir)
    if not paths:
      return False
    with readable(paths[-1]):
      (first_saver if paths[-1] == first else saver).restore(session, paths[-1])
    saver.recover_last_checkpoints(paths)
    return True
  return restore
