"""Restores checkpoints for evaluation, prediction and export; refuses those that do not fit."""
import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import reason, tf
from cifar10_lib.network import precision
from cifar10_lib.training import checkpoints


def latest(directory):
  """Returns the path of the latest checkpoint in a directory; raises Failure if there is none."""
  found = checkpoints.find_latest(directory)
  if not found:
    raise Failure('No checkpoint in %s; train first: python cifar10_train.py --train_dir %s'
                  % (directory, directory))
  return found


def require_fit(path, variables):
  """Raises Failure unless a checkpoint fits the network, and says what to do next.

  Args:
    path: path of a checkpoint, without '.index'.
    variables: dict of names in the checkpoint to variables of the graph.

  Raises:
    Failure: a variable is missing or has another shape.
    tf.errors.OpError: the checkpoint cannot be read.
  """
  if checkpoints.missing(path, variables):
    values = {variable.op.name: variable for variable in variables.values()}
    if values.keys() != variables.keys() and not checkpoints.missing(path, values):
      hint = '--weights=raw does without averages.'
    else:
      hint = ('The network was changed since that checkpoint was written (image size, classes or '
              'layers). Choose another --checkpoint_dir, or undo the change.')
    checkpoints.require_fit(path, variables, hint)


def session(path, weights):
  """Returns a session of the default graph with the variables of a checkpoint.

  Args:
    path: path of a checkpoint, without '.index'.
    weights: as for `checkpoints.saved_variables`.

  Raises:
    Failure: the checkpoint does not fit the network, or cannot be read.
  """
  variables = checkpoints.saved_variables(weights)
  restored = tf.Session(config=precision.session_config())
  try:
    require_fit(path, variables)
    tf.train.Saver(variables).restore(restored, path)
  except tf.errors.OpError as error:
    raise Failure('%s cannot be read: %s' % (path, reason(error))) from error
  except ValueError as error:  # the saver raises it when the files have vanished
    if checkpoints.exists(path):
      raise
    raise Failure('%s vanished before it was read. Run again for the latest one.' % path
                  ) from error
  return restored


def require_finite(checkpoint, log_probabilities):
  """Raises Failure if a checkpoint gives NaN or infinity for a record.

  Args:
    checkpoint: path, for the message.
    log_probabilities: float32 [N, K].
  """
  finite = np.isfinite(log_probabilities).all(axis=1)
  if not finite.all():
    raise Failure('%s gives logits that are NaN or infinite for %d of %d records; training '
                  'diverged before it. Score an earlier one.'
                  % (checkpoint, np.sum(~finite), len(finite)))
