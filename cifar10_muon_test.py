"""Tests of Muon against numpy."""
import numpy as np

import cifar10
import cifar10_muon
from cifar10_tf import tf


def iterate(matrix):
  """Newton and Schulz's iteration in float64, on the matrix itself."""
  x = np.asarray(matrix, np.float64)
  x = x / np.linalg.norm(x)
  for _ in range(5):
    square = x.T @ x
    x = x @ (3.4445 * np.eye(len(square)) - 4.7750 * square + 2.0315 * square @ square)
  return x


def run(matrix, how=cifar10_muon.orthogonalise, dtype='float32'):
  config = cifar10.session_config(dtype)
  config.graph_options.rewrite_options.min_graph_nodes = -1  # small graphs too
  with tf.Graph().as_default(), tf.Session(config=config) as session:
    fed = tf.placeholder(tf.float32, matrix.shape)  # a constant would be computed beforehand
    return session.run(how(fed), {fed: matrix})


def uneven(random, shape, smallest):
  """A matrix whose directions differ as 1 to 10 ** smallest, as those of gradients do."""
  matrix = random.normal(size=shape) * np.logspace(0, smallest, shape[1])
  return matrix @ np.linalg.qr(random.normal(size=[shape[1]] * 2))[0]


class OrthogonaliseTest(tf.test.TestCase):

  def testIsTheIteration(self):
    random = np.random.RandomState(0)
    for shape, smallest in ((40, 8), 0), ((8, 8), 0), ((90, 30), -4):
      matrix = uneven(random, shape, smallest)
      for how in cifar10_muon.orthogonalise, cifar10_muon.orthogonalise_in_16_bits:
        self.assertAllClose(run(matrix, how), iterate(matrix), atol=1e-3)

  def testEveryDirectionIsAsLargeAsAnyOther(self):
    random = np.random.RandomState(1)
    left = np.linalg.qr(random.normal(size=[50, 6]))[0]
    right = np.linalg.qr(random.normal(size=[6, 6]))[0]
    result = run(7.0 * left * [1, 0.5, 0.2, 0.1, 0.05, 0.01] @ right)
    found = left.T @ result @ right.T  # diagonal, if singular vectors are left as they are
    self.assertAllClose(found, np.diag(np.diag(found)), atol=1e-3)
    self.assertAllInRange(np.diag(found), 0.65, 1.25)

  def testProductsIn16Bits(self):
    """The products of the other form, rounded so, diverge: beyond 10 for this matrix."""
    matrix = uneven(np.random.RandomState(0), (576, 64), -4)
    rounded = run(matrix, cifar10_muon.orthogonalise_in_16_bits, 'bfloat16')
    found = np.linalg.svd(rounded, compute_uv=False)
    exact = np.linalg.svd(iterate(matrix), compute_uv=False)
    self.assertAllClose(found[:40], exact[:40], atol=0.1)  # beyond, 16 bits know no direction
    self.assertLess(found.max(), 1.3)
    self.assertGreater(np.vdot(rounded, matrix) / np.vdot(iterate(matrix), matrix), 0.98)

  def testZeros(self):
    for how in cifar10_muon.orthogonalise, cifar10_muon.orthogonalise_in_16_bits:
      self.assertAllEqual(run(np.zeros([5, 3]), how), np.zeros([5, 3]))


class MuonOptimizerTest(tf.test.TestCase):

  def testSteps(self):
    """Three steps of kernels by Muon and of biases by Nesterov, with gradients that change."""
    random = np.random.RandomState(2)
    start = {'k/weights': random.normal(size=[2, 2, 3, 4]), 'k/biases': random.normal(size=[4])}
    pull = {name: random.normal(size=value.shape) for name, value in start.items()}
    with tf.Graph().as_default(), tf.Session() as session:
      variables = {name: tf.get_variable(name, initializer=value.astype(np.float32))
                   for name, value in start.items()}
      # Its gradient: the value less where it is pulled to.
      loss = sum(tf.nn.l2_loss(variables[name] - pull[name].astype(np.float32)) for name in start)
      optimizer = cifar10_muon.MuonOptimizer(0.1, 0.3, 0.8, ['k/weights'], decay=0.5)
      step = optimizer.minimize(loss)
      session.run(tf.global_variables_initializer())
      values, velocities = dict(start), dict.fromkeys(start, 0.0)
      for _ in range(3):
        session.run(step)
        for name, value in values.items():
          gradient = value - pull[name]
          velocities[name] = 0.8 * velocities[name] + gradient
          ahead = gradient + 0.8 * velocities[name]
          if name == 'k/weights':
            even = iterate(ahead.reshape(12, 4)).reshape(value.shape)
            values[name] = value - 0.3 * (even + 0.5 * value)
          else:
            values[name] = value - 0.1 * ahead
        for name, variable in variables.items():
          self.assertAllClose(session.run(variable), values[name], atol=1e-3)
      self.assertEqual({variable.op.name for variable in tf.global_variables()},
                       {'k/weights', 'k/biases', 'k/weights/Momentum', 'k/biases/Momentum'})


if __name__ == '__main__':
  tf.test.main()
