"""The row `numbers` of `faults`: NaN and infinity wherever the programs compute.

A program must stop and say where, or say which checkpoint it passes over; and the last good
checkpoint stays. All cases run in this process, on a small sample data set.
"""
import contextlib
import glob
import io
import os
import shutil
from unittest import mock

import numpy as np

import cifar10
import cifar10_eval
import cifar10_predict
import cifar10_train
from benchmarks import attacks
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import checkpoints, trainer_files
from tests import testing

VALUES = (np.nan, np.inf, -np.inf)
STEPS = 4  # of a run that goes wrong
HUGE = 1e9  # learning rate


class Numbers:
  """Tries cases on copies of one training directory with the checkpoints 0, 1 and 2."""

  def __init__(self, directory):
    self.place = directory
    self.data_dir = attacks.draw_sample(directory, 50, 20)
    self.train_dir, self.sound = (os.path.join(directory, name) for name in ('train', 'sound'))
    self.run(cifar10_train.train, max_steps=2)
    shutil.copytree(self.train_dir, self.sound)

  def run(self, function, **changes):
    """Calls a function of the options; returns what it printed."""
    printed = io.StringIO()
    options = testing.defaults(
        cifar10, cifar10_train, cifar10_eval, cifar10_predict, **dict(dict(
            data_dir=self.data_dir, train_dir=self.train_dir, checkpoint_dir=self.train_dir,
            eval_dir=os.path.join(self.place, 'eval'), batch_size=8, save_checkpoint_steps=1,
            log_frequency=1), **changes))
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
      function(options)
    return printed.getvalue()

  def poison(self, random, path):
    """Puts NaN or infinity into one number of a checkpoint; returns the variable's name."""
    values = {name: np.array(value) for name, value in testing.tensors(path).items()}
    names = [name for name, value in values.items() if value.dtype.kind == 'f']
    name = names[random.randint(len(names))]
    values[name].flat[random.randint(values[name].size)] = VALUES[random.randint(len(VALUES))]
    with tf.Graph().as_default(), tf.Session() as session:
      variables = {each: tf.Variable(value, name=each) for each, value in values.items()}
      session.run(tf.global_variables_initializer())
      tf.train.Saver(variables).save(session, path, write_meta_graph=False, write_state=False)
    return name

  def checkpoint(self, random):
    """NaN in the latest checkpoint or in all: in weights, averages or the optimizer's state."""
    everywhere = random.rand() < 0.3
    paths = checkpoints.find_all(self.train_dir)
    name = [self.poison(random, path) for path in (paths if everywhere else paths[-1:])][-1]
    function, passed = [
        (cifar10_train.train, 'Its files are now called'),
        (cifar10_eval.evaluate, 'Taking an earlier one'),
        (lambda options: cifar10_eval.evaluate(
            type(options)(**{**vars(options), 'run_once': False})), 'cannot be scored'),
        (lambda options: cifar10_predict.Predictor(cifar10_predict.choose_checkpoint(options)),
         'Taking an earlier one')][random.randint(4)]
    trainer_files.write_status(self.train_dir, 'finished')
    printed = self.run(function, max_steps=3, run_once=True)
    assert not everywhere, 'all are damaged: ' + printed
    assert passed in printed and name + ' is NaN or infinite' in printed, (passed, name, printed)
    return True

  def training(self, random):
    """NaN in the loss, in its gradients or in the pictures of one step."""
    step = random.randint(3, 3 + STEPS)
    kind = ['loss', 'gradients', 'pictures'][random.randint(3)]
    value = np.float32(VALUES[random.randint(len(VALUES))])
    original, build_input = cifar10.loss, cifar10_train.build_input

    def factor():  # read before the update increments the step
      before = tf.identity(tf.train.get_or_create_global_step())
      return tf.where(tf.equal(before, step - 1), value, np.float32(1))

    def loss(*args, **options):
      found = original(*args, **options)
      if kind == 'loss':
        return found * factor()
      same = tf.custom_gradient(lambda x: (tf.identity(x), lambda gradient: gradient * factor()))
      return same(found)

    def pictures(*args, **options):
      [(images, labels)], count = build_input(*args, **options)
      return [(images * factor(), labels)], count
    with contextlib.ExitStack() as stack:
      if kind == 'pictures':
        stack.enter_context(mock.patch.object(cifar10_train, 'build_input', pictures))
      else:
        stack.enter_context(mock.patch.object(cifar10, 'loss', loss))
      self.stops(step)

  def rate(self, random):
    """A learning rate of 1e9."""
    name = sorted(cifar10.RECIPES)[random.randint(len(cifar10.RECIPES))]
    recipe = cifar10.RECIPES[name]
    huge = {name: lambda steps: recipe(steps)._replace(learning_rate=HUGE)}
    with mock.patch.dict(cifar10.RECIPES, huge):
      self.stops(None, recipe=name)

  def stops(self, step, **changes):
    """Trains on; raises the Failure, which names the step. All checkpoints must be from before it.

    Args:
      step: the step that goes wrong; None if it is not known.
    """
    try:
      self.run(cifar10_train.train, max_steps=3 + STEPS, **changes)
    except Failure as failure:
      assert step is None or 'step %d' % step in str(failure), failure
      raise
    finally:
      latest, damaged = checkpoints.find_sound(self.train_dir)
      assert not damaged and (step is None or checkpoints.step_of(latest) == step - 1), (
          latest, damaged, step)
      assert trainer_files.read_status(self.train_dir)['state'] == 'failed'

  def __call__(self, random):
    for name in self.train_dir, os.path.join(self.place, 'eval'):
      shutil.rmtree(name, ignore_errors=True)
    shutil.copytree(self.sound, self.train_dir)
    tf.summary.FileWriterCache.clear()
    kinds = [self.checkpoint, self.checkpoint, self.training, self.rate]
    return kinds[random.randint(len(kinds))](random)


def row(directory):
  """Returns the function that tries one case."""
  assert not glob.glob(os.path.join(directory, '*'))
  return Numbers(directory)
