"""Trains networks with a fault, in the data or in the recipe: the sick runs of lesson 5."""
import contextlib
import functools
import io
import shutil

import numpy as np

import cifar10
import cifar10_input
import cifar10_train
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import augmentation, records
from lessons import control_c, lesson

PER_FILE = 640  # records to copy of each of the five training files; at most all


def sorted_by_class(raw):
  """Sorts records, uint8 [N, 3073], by their label, as files from one folder a class are."""
  return raw[np.argsort(raw[:, 0], kind='stable')]


def shuffled_labels(raw):
  """Shuffles the labels of records, uint8 [N, 3073]; the pictures stay where they are."""
  labels = np.random.RandomState(0).permutation(raw[:, :1])
  return np.hstack([labels, raw[:, 1:]])


def copy(change):
  """Writes the first records of the lesson's training files, changed, into a directory of runs/.

  Args:
    change: one of the functions above.

  Returns:
    The new directory. It has the eight files; the test file is whole and unchanged.
  """
  folder = lesson.directory(change.__name__, fresh=True)
  shutil.copytree(lesson.data_dir, folder)
  paths = records.data_files(folder)
  size = PER_FILE * records.RECORD_BYTES
  raw = np.concatenate([np.fromfile(path, np.uint8, size) for path in paths])
  changed = change(raw.reshape(-1, records.RECORD_BYTES))
  for path, part in zip(paths, np.array_split(changed, len(paths)), strict=True):
    part.tofile(path)
  return folder


def _build(options, shuffle):
  """Builds a training graph as `cifar10_train.build` does, but may leave records in their order."""
  tf.set_random_seed(1)
  recipe = cifar10_train.recipe_of(options)
  step = tf.train.get_or_create_global_step()
  images, labels = cifar10_input.distorted_inputs(
      options.data_dir, options.batch_size, None, shuffle, augmentation.parse(recipe.augment),
      cifar10_input.Pipeline(repeatable=True, max_steps=options.max_steps))
  loss = cifar10.loss(cifar10.inference(images, recipe), labels)
  train_op = cifar10.train(loss, step, options.batch_size, recipe=recipe)
  summaries = tf.get_collection_ref(tf.GraphKeys.SUMMARIES)
  summaries[:] = [each for each in summaries if each.op.type == 'ScalarSummary']  # others are slow
  with tf.control_dependencies([train_op]):
    return tf.identity(step), loss


def train(name, steps, data=None, shuffle=True, rate=1, decay=1):
  """Trains with the recipe `fast` and a fault, in batches of 16, into the directory runs/NAME.

  The trainer's own lines are not shown: each is a mean over many steps and includes weight decay.

  Args:
    name: of the run.
    steps: of the whole training.
    data: function that changes the records, such as `sorted_by_class`; None: none.
    shuffle: whether to shuffle the records.
    rate: factor of the recipe's learning rate.
    decay: factor of the recipe's weight decay.

  Returns:
    (steps, values), two arrays: the cross entropy every 5 steps.

  Raises:
    KeyboardInterrupt: the cell was interrupted.
  """
  # The recipe has two of each: the optimizer Muon has a rate and a decay of its own.
  factors = {'learning_rate': rate, 'muon_rate': rate, 'weight_decay': decay, 'muon_decay': decay}
  def recipe(max_steps):
    fast = cifar10.RECIPES['fast'](max_steps)
    return fast._replace(**{each: getattr(fast, each) * factors[each] for each in factors})
  cifar10.RECIPES[name] = recipe
  train_dir = lesson.directory(name)
  options = lesson.options(
      cifar10_train, train_dir=train_dir, data_dir=copy(data) if data else lesson.data_dir,
      recipe=name, max_steps=steps, batch_size=16, log_frequency=steps, summary_steps=5)
  with contextlib.redirect_stdout(io.StringIO()):
    code = cifar10_train.train(options, functools.partial(_build, shuffle=shuffle))
  control_c.check(code)
  return lesson.scalars(train_dir)['cross_entropy__raw_']
