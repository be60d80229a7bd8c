"""Recipes: the numbers that decide how training goes, and the rate and update they lead to.

A recipe is a function of the length of a run that returns a Recipe. `fast` is here; `tutorial`,
with the tutorial's own constants, is in cifar10.py.
"""
from collections.abc import Callable
from typing import NamedTuple

from cifar10_lib.common.tf1 import tf


class Recipe(NamedTuple):
  """The numbers that decide how a run of `max_steps` goes."""
  max_steps: int  # the last step
  learning_rate: float  # at the start; the highest, where there is a warm-up
  weight_decay: float  # times l2_loss of the weights of local3 and local4
  moving_average_decay: float  # per step, of the averages that evaluation uses
  augment: str  # as --augment takes it
  epochs_per_decay: float = 1.0  # passes over the training pictures from one drop of the rate ...
  decay_factor: float = 1.0  # ... to the next, which multiplies the rate by this
  warmup_steps: float = 0.0  # in which the rate rises linearly from 0
  final_rate: float = 1.0  # share of the rate left at the last step; it changes linearly
  momentum: float = 0.0  # of Nesterov's method; 0 is plain gradient descent
  muon_rate: float = 0.0  # step length of `muon.MuonOptimizer`; 0 updates all weights alike
  muon_decay: float = 0.0  # each of Muon's updates shrinks the weights by rate * muon_decay
  muon_every: int = 1  # steps from one move of local3 to the next, which is as many times as long
  label_smoothing: float = 0.0  # probability mass spread evenly over all classes
  mixup: float = 0.0  # alpha of `distortions.mixup`; 0 mixes no pictures


def fast(max_steps=12000):
  """Returns the recipe for the best accuracy after a given number of steps.

  It was chosen on 5,000 held-out pictures. The comment on a number says how many points (hundredths
  of precision @ 1, one view) are lost without it after 1,200 steps, as the mean of two runs; less
  than about 0.6 points may be chance (docs/accuracy.md). What changes with the length was chosen in
  longer runs on a GPU (benchmarks/results/on_a_gpu.jsonl).

  Args:
    max_steps: of the whole run. The default takes 10 minutes on two cores with avx512_bf16, and 13
      minutes in float32.
  """
  # A run above 3,000 steps needs shorter steps of Muon.
  share = min(1.0, 3000 / max_steps)
  # A run of 10,000 steps or more sees each picture often enough to learn it by heart, so it keeps
  # the widest crop to the end ...
  long_run = max_steps >= 10000
  # ... and one of 40,000 or more mixes pictures too.
  mixes = max_steps >= 40000
  return Recipe(
      max_steps=max_steps,
      learning_rate=0.05,  # 2.2 without warm-up and without the fall to zero
      warmup_steps=max(1.0, 0.05 * max_steps),
      final_rate=0.0,
      momentum=0.9,  # 10.2 in a run without Muon, though at a rate of 0.1
      muon_rate=0.02 * share ** (1 / 2),  # 5.4 for Nesterov's updates in place of Muon's
      muon_decay=0.1 * share ** (1 / 3),  # 0.7
      # Moving local3 in each step gains nothing (0.1 lost), and takes 2 to 9% longer.
      muon_every=4,
      weight_decay=0.0 if long_run else 0.002,  # 0.2
      moving_average_decay=1 - 1 / max(1.0, 0.05 * max_steps),  # 0.2 for the tutorial's
      # 1.1 for a crop of 4 pixels to the end; 0.3 for no crop or no flip
      augment='crop:4,flip' if long_run else 'crop:4..1,flip',
      mixup=0.2 if mixes else 0.0)  # 1.0 with it in a short run


# Flags that override a number of the recipe: its least and greatest value, and what it means.
NUMBERS = {
    'learning_rate': (1e-9, 100.0, 'Learning rate at the start; the highest one, where there is a '
                      'warm-up. In --recipe=fast it also scales the steps of Muon, which updates '
                      'most of the weights: half the rate makes half the steps.'),
    'weight_decay': (0.0, 10.0, 'Factor of the l2_loss of the weights of local3 and local4 in the '
                     'loss. In --recipe=fast, Muon has a decay of its own, which stays.'),
    'momentum': (0.0, 0.9999, "Momentum of Nesterov's method, or of Muon; 0 for none."),
    'label_smoothing': (0.0, 0.9, 'Probability mass to spread evenly over all classes.'),
    'moving_average_decay': (0.0, 1.0, 'Decay, per step, of the moving averages of the weights, '
                             'which evaluation uses; at most (1 + step) / (10 + step).'),
}


def override(recipe, options):
  """Returns a Recipe with the values of flags in place of its own.

  Args:
    recipe: a Recipe.
    options: the parsed flags, or anything with their names as attributes. A flag of NUMBERS, or
      `augment`, that is None or not there leaves the recipe's value.
  """
  given = {name: getattr(options, name, None) for name in (*NUMBERS, 'augment')}
  given = {name: value for name, value in given.items() if value is not None}
  if recipe.muon_rate and 'learning_rate' in given:  # else most weights would keep their rate
    given['muon_rate'] = recipe.muon_rate * (given['learning_rate'] / recipe.learning_rate)
  return recipe._replace(**given)


def differences(recipe, own):
  """Returns how a Recipe differs from another, as 'momentum 0.9 (0)', with commas between; or ''.

  The values of the other Recipe, `own`, stand in brackets.
  """
  def shown(value):
    return value if isinstance(value, str) else '%.7g' % value
  return ', '.join('%s %s (%s)' % (name, shown(value), shown(before))
                   for name, value, before in zip(recipe._fields, recipe, own, strict=True)
                   if value != before)


def learning_rate(global_step, batch_size, num_examples, recipe):
  """Returns the rate at a step, float32 scalar.

  It drops by a factor after so many epochs, rises in the warm-up, and changes linearly to its last
  value; a recipe uses what it needs.

  Args:
    global_step: integer scalar, steps done.
    batch_size: pictures a step, over all devices.
    num_examples: pictures an epoch.
    recipe: a Recipe.
  """
  steps_per_decay = max(1, int(recipe.epochs_per_decay * num_examples / batch_size))
  # Integers, because a division of floats may come out just below a whole number.
  drops = tf.cast(global_step // steps_per_decay, tf.float32)
  rate = recipe.learning_rate * tf.pow(recipe.decay_factor, drops)
  step = tf.cast(global_step, tf.float32)
  risen = max(1.0, recipe.warmup_steps)
  up = (step + 1) / risen
  left = (recipe.max_steps - step) / max(1.0, recipe.max_steps - risen)
  down = recipe.final_rate + (1 - recipe.final_rate) * left
  return rate * tf.clip_by_value(tf.minimum(up, down), 0.0, 1.0)


def optimizer(rate, recipe):
  """Returns the recipe's tf.train.Optimizer at a rate, as `learning_rate` returns it."""
  if not recipe.muon_rate and not recipe.momentum:
    return tf.train.GradientDescentOptimizer(rate)
  if not recipe.muon_rate:
    return tf.train.MomentumOptimizer(rate, recipe.momentum, use_nesterov=True)
  from cifar10_lib.network import muon  # here, because its class loads TensorFlow
  # Not the last layer's weights: each of its columns belongs to a class.
  names = [variable.op.name for variable in tf.trainable_variables()
           if variable.op.name.endswith('weights') and 'softmax_linear' not in variable.op.name]
  every = {name: recipe.muon_every if 'local3' in name else 1 for name in names}
  muon_rate = rate * (recipe.muon_rate / recipe.learning_rate)
  return muon.MuonOptimizer(rate, muon_rate, recipe.momentum, every, recipe.muon_decay)


class VariableAverages:
  """Moving averages of variables that are computed on the device of each variable.

  tf.train.ExponentialMovingAverage keeps them there but computes them elsewhere, so that each step
  would fetch variable and average from a parameter server and send back the difference.
  """

  def __init__(self, decay, global_step):
    self._averages = tf.train.ExponentialMovingAverage(decay, global_step)

  def apply(self, var_list=None):
    """Returns the op that updates the averages of the variables in a list."""
    updates = []
    for device in dict.fromkeys(variable.device for variable in var_list):
      with tf.device(device):
        updates.append(self._averages.apply([each for each in var_list if each.device == device]))
    return tf.group(*updates)


class Parallel(NamedTuple):
  """What training on several devices or machines replaces in `cifar10.train`."""
  # From the optimizer to a list of (gradient, variable); None: those of the total loss.
  compute_gradients: Callable | None = None
  # From the optimizer and the ExponentialMovingAverage to an optimizer that applies both, as
  # tf.train.SyncReplicasOptimizer does; None: one after the other.
  synchronise: Callable | None = None


ONE_DEVICE = Parallel()
