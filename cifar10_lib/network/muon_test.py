"""Tests of Muon, compared with NumPy."""
import os

import numpy as np

from cifar10_lib.common.tf1 import tf
from cifar10_lib.network import muon, precision


def curve(x):
  """Returns a singular value after the two iterations."""
  for a, b, c in (7.3625, -20.7434, 15.1606), (2.9175, -2.1824, 0.4755):
    x = a * x + b * x ** 3 + c * x ** 5
  return x


def expected(matrix):
  """Returns a matrix with `curve` applied to its scaled singular values, in float64."""
  left, values, right = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
  return left * curve(values / np.sum(values ** 4) ** 0.25) @ right


def run(matrix, dtype='float32', cast=tf.float32):
  """Returns the orthogonalised matrix, float32.

  Args:
    matrix: array [M, N].
    dtype: dtype that TensorFlow rewrites products of the graph to.
    cast: dtype of the tensor to orthogonalise.
  """
  config = precision.session_config(dtype)
  config.graph_options.rewrite_options.min_graph_nodes = -1  # rewrites small graphs too
  with tf.Graph().as_default(), tf.Session(config=config) as session:
    fed = tf.placeholder(tf.float32, matrix.shape)  # TensorFlow would fold a constant
    result = muon.orthogonalise(tf.cast(fed, cast))
    return session.run(tf.cast(result, tf.float32), {fed: matrix})


def uneven(random, shape, smallest):
  """Returns a matrix whose directions differ in size, from 1 to 10 ** smallest, like a gradient."""
  matrix = random.normal(size=shape) * np.logspace(0, smallest, shape[1])
  return matrix @ np.linalg.qr(random.normal(size=[shape[1]] * 2))[0]


class OrthogonaliseTest(tf.test.TestCase):

  def testMatchesTheIterationInFloat64(self):
    random = np.random.RandomState(0)
    for shape, smallest in ((40, 8), 0), ((8, 8), 0), ((90, 30), -4), ((1600, 64), -2):
      matrix = uneven(random, shape, smallest)
      for scale in 1.0, 1e-4, 1e4:
        self.assertAllClose(run(scale * matrix), expected(matrix), atol=1e-5)

  def testCoefficientsAreOptimal(self):
    """Chebyshev: the best polynomial has its largest error at four points, with changing sign."""
    low, high = 0.03, 1.0
    for a, b, c in muon.COEFFICIENTS:
      x = np.linspace(low, high, 100001)
      error = a * x + b * x ** 3 + c * x ** 5 - 1
      largest = abs(error).max()
      extremes = error[abs(error) > largest - 1e-3]
      self.assertLen(np.flatnonzero(np.diff(np.sign(extremes))), 3)
      low, high = 1 - largest, 1 + largest
    self.assertAllClose([low, high], [0.62, 1.38], atol=1e-3)

  def testSingularValuesAreBroughtNearOne(self):
    random = np.random.RandomState(1)
    left = np.linalg.qr(random.normal(size=[50, 6]))[0]
    right = np.linalg.qr(random.normal(size=[6, 6]))[0]
    result = run(7.0 * left * [1, 0.5, 0.2, 0.1, 0.05, 0.04] @ right)
    found = left.T @ result @ right.T  # diagonal if the singular vectors are unchanged
    self.assertAllClose(found, np.diag(np.diag(found)), atol=1e-3)
    self.assertAllInRange(np.diag(found), 0.61, 1.39)

  def testBfloat16ProductsAreCloseToFloat64(self):
    """Uses bfloat16 throughout, which is slow on some CPUs, and then TensorFlow's graph rewrite."""
    if os.environ.get('TF_ENABLE_ONEDNN_OPTS') == '0':
      self.skipTest('only oneDNN rewrites a graph to bfloat16 on a CPU')
    matrix = uneven(np.random.RandomState(0), (576, 64), -4)
    exact = expected(matrix)
    for cast, dtype in (tf.bfloat16, 'float32'), (tf.float32, 'bfloat16'):
      rounded = run(matrix, dtype, cast)
      error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
      self.assertBetween(error, 1e-3, 0.05)  # float32 would give 1e-6

  def testZerosStayZero(self):
    self.assertAllEqual(run(np.zeros([5, 3])), np.zeros([5, 3]))


class MuonOptimizerTest(tf.test.TestCase):

  def testStepsMatchNumpy(self):
    """Muon updates the kernel and Nesterov momentum the biases; their gradients change."""
    self._check(1, 3)

  def testUpdateInEveryThirdStepMatchesNumpy(self):
    """Muon updates the kernel every third step, three times as far. The momentum uses all steps."""
    self._check(3, 8)

  def _check(self, every, steps):
    random = np.random.RandomState(2)
    start = {'k/weights': random.normal(size=[2, 2, 3, 4]), 'k/biases': random.normal(size=[4])}
    target = {name: random.normal(size=value.shape) for name, value in start.items()}
    with tf.Graph().as_default(), tf.Session() as session:
      variables = {name: tf.get_variable(name, initializer=value.astype(np.float32))
                   for name, value in start.items()}
      # The gradient is value - target.
      loss = sum(tf.nn.l2_loss(variables[name] - target[name].astype(np.float32)) for name in start)
      optimizer = muon.MuonOptimizer(0.1, 0.3, 0.8, {'k/weights': every}, decay=0.5)
      step = optimizer.minimize(loss)
      session.run(tf.global_variables_initializer())
      values, velocities = dict(start), dict.fromkeys(start, 0.0)
      for n in range(steps):
        session.run(step)
        for name, value in values.items():
          gradient = value - target[name]
          velocities[name] = 0.8 * velocities[name] + gradient
          lookahead = gradient + 0.8 * velocities[name]
          if name == 'k/weights' and n % every == 0:
            orthogonal = expected(lookahead.reshape(12, 4)).reshape(value.shape)
            values[name] = value - every * 0.3 * (orthogonal + 0.5 * value)
          elif name == 'k/biases':
            values[name] = value - 0.1 * lookahead
        for name, variable in variables.items():
          self.assertAllClose(session.run(variable), values[name], atol=1e-5)
      self.assertEqual({variable.op.name for variable in tf.global_variables()},
                       {'k/weights', 'k/biases', 'k/weights/Momentum', 'k/biases/Momentum',
                        *(['k/weights/Updates'] if every > 1 else [])})


if __name__ == '__main__':
  tf.test.main()
