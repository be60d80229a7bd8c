"""Starts a new run from the layers of another run's checkpoint, as --init_from asks.

A layer is the trainable variables of one scope, such as conv1/weights and conv1/biases. It is taken
whole if the checkpoint has all its variables in the same shapes, and left fresh otherwise. The last
layer must also have the same classes. Step, optimizer state and averages start anew.

Values are fed to the initialisers of the variables, so the graph gets no op. With a seed, runs with
and without --init_from have the same graph, the same fresh values and the same batches.
"""
import os
from typing import NamedTuple

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import checkpoints, trainer_files

LAST_LAYER = os.path.dirname(checkpoints.LAST_BIASES)
AVERAGE = '/ExponentialMovingAverage'  # follows a variable's name in the name of its average


class Comparison(NamedTuple):
  """The layers of a graph, compared with those of a checkpoint."""
  path: str  # of the checkpoint, without '.index'
  taken: dict  # from the name of a layer to its variables, a list
  fresh: dict  # from the name of a layer to the reason why it is not taken, a text


def find(init_from, train_dir, latest=None):
  """Returns the path of the checkpoint that a run starts from, or None if it does not use any.

  Args:
    init_from: the flag: None or '', a directory of checkpoints, or the path of a checkpoint.
    train_dir: the run's own directory.
    latest: path of the run's own latest checkpoint; None for a new run. A run that has one
      continues from it, so the checkpoint of --init_from need not exist any more.

  Raises:
    Failure: there is no sound checkpoint, or --init_from is the run's own directory.
  """
  if not init_from:
    return None
  is_checkpoint = checkpoints.exists(init_from)
  directory = os.path.dirname(init_from) if is_checkpoint else init_from
  if os.path.realpath(directory) == os.path.realpath(train_dir):
    raise Failure('--init_from=%s is in --train_dir itself. To continue that run, leave out '
                  '--init_from; to start anew from its layers, choose another --train_dir.'
                  % init_from)
  if latest:
    return None
  if not is_checkpoint and not checkpoints.find_all(init_from):
    raise Failure('No checkpoint in --init_from=%s. Give the --train_dir of another run, or the '
                  'path of one of its checkpoints, as in cifar10_train/model.ckpt-12000.'
                  % init_from)
  path = checkpoints.latest(init_from)
  problem = checkpoints.damage(path) if is_checkpoint else ''  # a directory's are checked already
  if problem:
    raise Failure('%s is damaged (%s). Choose another checkpoint for --init_from.'
                  % (path, problem))
  return path


# Comparing.


def _layers():
  """Returns a dict from layer to its trainable variables, in the order of the graph."""
  layers = {}
  for variable in tf.trainable_variables():
    name = variable.op.name
    layers.setdefault(os.path.dirname(name) or name, []).append(variable)
  return layers


def _other_classes(path, variables, train_dir):
  """Returns how the classes of a run differ from those of a checkpoint, or '' if they are the same.

  Args:
    path: path of the checkpoint.
    variables: the variables of the last layer.
    train_dir: directory where the run has written the names of its classes.
  """
  there = checkpoints.num_classes(path)
  for variable in variables:
    if variable.op.name == checkpoints.LAST_BIASES and there not in (None, variable.shape[0]):
      return '%d classes, not %d' % (variable.shape[0], there)
  names, old_names = map(trainer_files.kept_names, (train_dir, os.path.dirname(path)))
  if not names or not old_names:
    return ''
  return next(('class %d is %s, not %s' % (label, name, old_name) for label, (name, old_name)
               in enumerate(zip(names, old_names, strict=False)) if name != old_name), '')


def compare(path, train_dir):
  """Compares the layers of the default graph with those of a checkpoint.

  Args:
    path: path of the checkpoint, without '.index'.
    train_dir: directory of the run, with the names of its classes.

  Returns:
    A Comparison.

  Raises:
    Failure: no layer can be taken, or the checkpoint cannot be read.
  """
  taken, fresh, problems = {}, {}, []
  with checkpoints.readable(path):
    for layer, variables in _layers().items():
      found = checkpoints.missing(path, {each.op.name: each for each in variables})
      reason = '; '.join(found)
      if layer == LAST_LAYER:
        reason = _other_classes(path, variables, train_dir) or reason
      problems += found or ([reason] if reason else [])
      if reason:
        fresh[layer] = reason
      else:
        taken[layer] = variables
  if not taken:
    more = ' and %d more' % (len(problems) - 3) if len(problems) > 3 else ''
    raise Failure('%s is of another network, so that no layer can be taken: %s%s. Choose another '
                  '--init_from, or leave it out.' % (path, '; '.join(problems[:3]), more))
  return Comparison(path, taken, fresh)


# Taking.


def _sources(compared, saved):
  """Returns a dict from each variable to take to the name of its value in the checkpoint.

  That is the name of its moving average, if there is one. `saved` is a dict from name to shape.
  """
  names = {variable: variable.op.name
           for variables in compared.taken.values() for variable in variables}
  return {variable: name + AVERAGE if saved.get(name + AVERAGE) == saved[name] else name
          for variable, name in names.items()}


def describe(compared, sources):
  """Returns a line that says which layers are taken, which values, and which layers are fresh.

  Args:
    compared: a Comparison.
    sources: dict from each variable to take to the name of its value in the checkpoint.
  """
  averaged = [name.endswith(AVERAGE) for name in sources.values()]
  kind = ('moving averages' if all(averaged) else 'moving averages where it has any'
          if any(averaged) else 'the values of its last step')
  fresh = ', '.join('%s (%s)' % item for item in compared.fresh.items())
  return 'Starting from %s: took %s (%s)%s.' % (
      compared.path, ', '.join(compared.taken), kind, '; fresh: ' + fresh if fresh else '')


def starter(train_dir, saver, source=None):
  """Returns the function that gives the variables of a new session their values to start from.

  These are the values of the latest checkpoint in `train_dir`. If there is none, all variables keep
  the values that they were initialised with, except for the layers that `source` has.

  Args:
    train_dir: directory of checkpoints, and of the names of the classes.
    saver: a tf.train.Saver of all variables.
    source: path of the checkpoint to take layers from, as `find` returns it.

  Returns:
    A function that takes a session whose variables are initialised. It prints what it takes.

  Raises:
    Failure: a checkpoint does not fit the default graph, or cannot be read.
  """
  restore = checkpoints.restorer(train_dir, saver)
  if not source or checkpoints.find_latest(train_dir):
    return restore
  compared = compare(source, train_dir)
  averages = {variable.op.name: variable for variable in tf.global_variables()}

  def start(session):
    if restore(session):
      return
    initialisers, feed = [], {}
    with checkpoints.readable(source):
      reader = tf.train.NewCheckpointReader(source)
      sources = _sources(compared, reader.get_variable_to_shape_map())
      for variable, name in sources.items():
        # Its average, too: the initialiser of the average has taken the variable's random value.
        for target in variable, averages.get(variable.op.name + AVERAGE):
          if target is not None:
            initialisers.append(target.initializer)
            feed[target.initializer.inputs[1]] = reader.get_tensor(name)
    session.run(initialisers, feed)
    print(describe(compared, sources), flush=True)
  return start
