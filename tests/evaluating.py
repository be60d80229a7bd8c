"""Helpers for tests of evaluation: the network in NumPy, and checkpoints that the tests write."""
import contextlib
import glob
import io
import os
import re
import tempfile

import numpy as np

import cifar10
import cifar10_eval
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import checkpoints
from tests import testing

TEST_EXAMPLES = 60
EMA = '/ExponentialMovingAverage'


def numpy_features(images, tensors, suffix):
  """Returns the input of the last layer, float64 [N, 192], computed in NumPy.

  Args:
    images: float [N, 24, 24, 3], standardised.
    tensors: dict from variable name to array.
    suffix: suffix of the variable names to use, '' or '/ExponentialMovingAverage'.
  """
  def layer(name):
    return [tensors[name + kind + suffix].astype(np.float64) for kind in ('/weights', '/biases')]

  def conv(x, name):
    weights, biases = layer(name)
    padded = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)])
    size = x.shape[1]
    total = sum(padded[:, i:i + size, j:j + size] @ weights[i, j]
                for i in range(5) for j in range(5))
    return np.maximum(total + biases, 0)

  def pool(x):  # even sizes: SAME pads one row below and one column to the right
    padded = np.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)], constant_values=-np.inf)
    size = x.shape[1]
    return np.max([padded[:, i:i + size:2, j:j + size:2] for i in range(3) for j in range(3)], 0)

  def norm(x):
    squares = np.pad(x * x, [(0, 0)] * 3 + [(4, 4)])
    total = sum(squares[..., i:i + x.shape[-1]] for i in range(9))
    return x / (1 + 0.001 / 9 * total) ** 0.75

  x = norm(pool(conv(images, 'conv1')))
  x = pool(norm(conv(x, 'conv2'))).reshape(len(images), -1)
  for name in 'local3', 'local4':
    weights, biases = layer(name)
    x = np.maximum(x @ weights + biases, 0)
  return x


def numpy_logits(images, tensors, suffix):
  """Returns the logits, float64 [N, 10]. The arguments are those of `numpy_features`."""
  features = numpy_features(images, tensors, suffix)
  weights, biases = (tensors['softmax_linear/' + kind + suffix].astype(np.float64)
                     for kind in ('weights', 'biases'))
  return features @ weights + biases


def numpy_examples(path):
  """Returns the standardised centres [N, 24, 24, 3] and the labels [N] of a file's records."""
  records = np.fromfile(path, np.uint8).reshape(-1, 3073)
  images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)[:, 4:28, 4:28] / 1.0
  mean, stddev = (f(images, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.std))
  return (images - mean) / np.maximum(stddev, 1728 ** -0.5), records[:, 0]


class EvalTestCase(testing.SampleTestCase):
  """Base class that writes checkpoints of random weights and evaluates them."""
  TEST_EXAMPLES = TEST_EXAMPLES

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    with tf.Graph().as_default():
      tf.train.get_or_create_global_step()
      cifar10.inference(tf.placeholder(tf.float32, [None, 24, 24, 3]))
      cls.shapes = {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}

  def setUp(self):
    super().setUp()
    root = tempfile.mkdtemp(dir=self.root)
    self.train_dir, self.eval_dir = os.path.join(root, 'train'), os.path.join(root, 'eval')
    os.mkdir(self.train_dir)

  def random_tensors(self, seed=0, scale=0.05, averages=True):
    """Returns random weights, and random averages if asked for, by variable name."""
    random = np.random.RandomState(seed)
    tensors = {}
    for name, shape in sorted(self.shapes.items()):
      tensors[name] = random.normal(0, scale, shape).astype(np.float32)
      if averages:
        average = random.normal(0, scale, shape).astype(np.float32)
        tensors[name + '/ExponentialMovingAverage'] = average
    return tensors

  def save(self, step, changes=None, **options):
    """Writes a checkpoint of random weights with `changes` applied; returns its arrays by name."""
    tensors = dict(self.random_tensors(**options), **(changes or {}))
    with tf.Graph().as_default(), tf.Session() as session:
      for name, value in tensors.items():
        tf.get_variable(name, initializer=value)
      tf.get_variable('global_step', initializer=np.int64(step))
      session.run(tf.global_variables_initializer())
      saver = tf.train.Saver(max_to_keep=9)
      saver.recover_last_checkpoints(checkpoints.find_all(self.train_dir))
      saver.save(session, os.path.join(self.train_dir, 'model.ckpt'), step)
    return tensors

  def save_predicting(self, step, images, classes):
    """Writes a checkpoint whose last layer predicts given classes for `images`.

    Args:
      step: global step of the checkpoint.
      images: float [N, 24, 24, 3]; N is at most 192, the number of inputs of the last layer.
      classes: dict from suffix of variable names to the classes to predict, int [N].

    Returns:
      A dict from variable name to array.
    """
    changes = {}
    for suffix, predicted in classes.items():
      features = numpy_features(images, self.random_tensors(), suffix)
      weights = np.linalg.lstsq(features, np.eye(10)[predicted], rcond=None)[0]
      changes['softmax_linear/weights' + suffix] = weights.astype(np.float32)
      changes['softmax_linear/biases' + suffix] = np.zeros(10, np.float32)
    return self.save(step, changes)

  def options(self, **changes):
    """Returns the evaluator's options, with `changes` applied."""
    return testing.defaults(cifar10, cifar10_eval, **dict(
        dict(data_dir=self.data_dir, checkpoint_dir=self.train_dir, eval_dir=self.eval_dir,
             run_once=True), **changes))

  def evaluate(self, **changes):
    """Runs the evaluator; returns its standard output."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
      cifar10_eval.evaluate(self.options(**changes))
    return out.getvalue()

  def scores(self, out):
    """Returns (hits, total, step) of each line in `out` with a precision."""
    found = re.findall(r'precision @ 1 = [\d.]+ \((\d+)/(\d+)\) at step (\d+)', out)
    return [tuple(map(int, groups)) for groups in found]

  def values(self):
    """Returns all summary values in --eval_dir."""
    return [value for path in glob.glob(os.path.join(self.eval_dir, 'events.*'))
            for event in tf.train.summary_iterator(path) for value in event.summary.value]

  def written(self):
    """Returns a dict from (step, tag) to value of the scalars in --eval_dir, but none by class."""
    return {(event.step, value.tag): value.simple_value
            for path in glob.glob(os.path.join(self.eval_dir, 'events.*'))
            for event in tf.train.summary_iterator(path) for value in event.summary.value
            if value.HasField('simple_value') and '/' not in value.tag}
