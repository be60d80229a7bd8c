"""Tests of winograd, compared with direct sums in float64."""
from unittest import mock

import numpy as np

from cifar10_lib.common.tf1 import tf
from cifar10_lib.network import winograd


def padded(x, taps):
  before = (taps - 1) // 2
  return np.pad(x, [(0, 0), (before, before), (before, before), (0, 0)])


def convolve(x, k):
  """Returns the convolution of stride 1 with SAME padding, as a sum over taps."""
  size, taps = x.shape[1], len(k)
  x = padded(x, taps)
  return sum(x[:, i:i + size, j:j + size] @ k[i, j] for i in range(taps) for j in range(taps))


def gradients(x, k, dy):
  """Returns the gradients of sum(y * dy) with respect to x and k, as sums over taps."""
  size, taps = x.shape[1], len(k)
  x = padded(x, taps)
  dx, dk = np.zeros_like(x), np.zeros_like(k)
  for i in range(taps):
    for j in range(taps):
      dx[:, i:i + size, j:j + size] += dy @ k[i, j].T
      dk[i, j] = np.einsum('bhwc,bhwf->cf', x[:, i:i + size, j:j + size], dy)
  before = (taps - 1) // 2
  return dx[:, before:before + size, before:before + size], dk


def problem(batch, size, taps, channels, filters, seed=0):
  """Returns pictures, kernels and an output gradient, float64 with values exact in float32."""
  random = np.random.RandomState(seed)
  shapes = [[batch, size, size, channels], [taps, taps, channels, filters],
            [batch, size, size, filters]]
  return [random.normal(size=shape).astype(np.float32).astype(np.float64) for shape in shapes]


def run(function, *arrays):
  """Evaluates a function of float32 placeholders on arrays."""
  with tf.Graph().as_default(), tf.device('/cpu:0'), tf.Session() as session:
    placeholders = [tf.placeholder(tf.float32, [None] + list(array.shape[1:])) if i != 1 else
                    tf.placeholder(tf.float32, array.shape) for i, array in enumerate(arrays)]
    return session.run(function(*placeholders), dict(zip(placeholders, arrays, strict=True)))


def relative(actual, expected):
  return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


class ConvTest(tf.test.TestCase):

  def testTransformsConvolveOneAxis(self):
    random = np.random.RandomState(3)
    for taps in [1, 3, 5, 7]:
      pixels, kernel, output = winograd.transforms(taps)
      x, k = random.normal(size=8), random.normal(size=taps)
      expected = [k @ x[i:i + taps] for i in range(8 - taps + 1)]
      self.assertAllClose(output @ ((kernel @ k) * (pixels @ x)), expected, rtol=1e-9, atol=1e-9)

  def testWinogradIsAConvolution(self):
    for batch, size, taps, channels, filters in [
        (3, 12, 5, 7, 4), (1, 4, 5, 1, 1), (2, 8, 5, 3, 64), (2, 6, 3, 5, 2), (2, 24, 5, 3, 6)]:
      x, k, _ = problem(batch, size, taps, channels, filters)
      self.assertLess(relative(run(winograd.convolve, x, k), convolve(x, k)), 1e-5)

  def testGradientsMatchDirectSums(self):
    for batch, size, taps, channels, filters in [(5, 12, 5, 64, 64), (1, 4, 5, 2, 3)]:
      x, k, dy = problem(batch, size, taps, channels, filters)

      def both(x, k, dy):
        return tf.gradients(winograd.conv2d(x, k), [x, k], dy)
      for actual, expected in zip(run(both, x, k, dy), gradients(x, k, dy), strict=True):
        self.assertLess(relative(actual, expected), 1e-5)

  def testForwardPassEqualsConv2d(self):
    x, k, _ = problem(4, 12, 5, 64, 64)
    actual = run(winograd.conv2d, x, k)
    self.assertAllEqual(actual, run(lambda x, k: tf.nn.conv2d(x, k, 1, 'SAME'), x, k))
    self.assertLess(relative(actual, convolve(x, k)), 1e-6)

  def testTilesWaitForTheGradient(self):
    """The tiles need four times the memory of the pictures, so they wait for the gradient."""
    with tf.Graph().as_default():
      x = tf.placeholder(tf.float32, [None, 12, 12, 2], 'x')
      k = tf.placeholder(tf.float32, [5, 5, 2, 3])
      dy = tf.placeholder(tf.float32, [None, 12, 12, 3])
      tf.gradients(winograd.conv2d(x, k), [x, k], dy)
      delayed = [op for op in tf.get_default_graph().get_operations()
                 if op.inputs and [c.outputs[0].shape.as_list() for c in op.control_inputs]
                 == [[None, 12, 12, 3]]]
      self.assertEqual([op.inputs[0].shape.as_list() for op in delayed], [[None, 12, 12, 2]])

  def testShapesWithoutTilesAreRefused(self):
    for picture, kernel in [([1, 10, 10, 3], [5, 5, 3, 2]), ([1, 12, 8, 3], [5, 5, 3, 2]),
                            ([1, 12, 12, 3], [5, 3, 3, 2]), ([1, 10, 10, 3], [4, 4, 3, 2]),
                            ([1, 18, 18, 3], [9, 9, 3, 2]), ([1, 22, 22, 3], [11, 11, 3, 2])]:
      with tf.Graph().as_default(), self.assertRaisesRegex(ValueError, 'no tiles of 8 pixels'):
        winograd.convolve(tf.zeros(picture), tf.zeros(kernel))

  def testAppliesToSuitableShapesOnTheCpu(self):
    def applies(picture, kernel, gpus=()):
      with tf.Graph().as_default(), mock.patch.object(
          tf.config, 'list_physical_devices', return_value=list(gpus)):
        return winograd.applies(tf.zeros(picture), tf.zeros(kernel))
    self.assertTrue(applies([2, 12, 12, 64], [5, 5, 64, 64]))
    self.assertTrue(applies([2, 12, 12, 32], [3, 3, 32, 96]))
    self.assertFalse(applies([2, 12, 12, 64], [5, 5, 64, 64], gpus=['GPU:0']))
    for picture, kernel in [([2, 24, 24, 3], [5, 5, 3, 64]), ([2, 10, 10, 64], [5, 5, 64, 64]),
                            ([2, 12, 8, 64], [5, 5, 64, 64]), ([2, 12, 12, 64], [5, 3, 64, 64]),
                            ([2, 12, 12, 64], [7, 7, 64, 64])]:
      self.assertFalse(applies(picture, kernel))


if __name__ == '__main__':
  tf.test.main()
