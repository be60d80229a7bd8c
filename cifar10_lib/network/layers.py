"""Layers that compute what TensorFlow's own ops do, faster on a CPU.

Each function asks whether its shortcut applies and calls TensorFlow's plain op where it does not.
So the network may be changed freely: kernels, filters, activations, picture sizes.
"""
import itertools

import numpy as np

from cifar10_lib.common.tf1 import tf
from cifar10_lib.network import winograd

_gradient_numbers = itertools.count()


def _scope(name):
  """Enters the name scope `name` and leaves the name itself free for an op."""
  outer = tf.get_default_graph().get_name_scope()
  return tf.name_scope('%s/%s/' % (outer, name) if outer else name + '/')


def _with_gradient(name, y, inputs, gradient):
  """Returns `y`, computed from `inputs`, under a name and with a gradient of our own.

  `gradient` takes the gradient of `y` and returns a list of gradients, one for each input.
  `tf.custom_gradient` gives its result no name that `get_tensor_by_name` could find.
  """
  key = 'Cifar10Layer%d' % next(_gradient_numbers)
  tf.RegisterGradient(key)(lambda op, dy, *unused: [None, *gradient(dy)])
  with tf.get_default_graph().gradient_override_map({'IdentityN': key}):
    with _scope(name):
      y = tf.raw_ops.IdentityN(input=[y, *inputs])[0]
  return tf.identity(y, name=name)


def conv2d(x, weights, dtype='float32'):
  """Convolves with stride 1 and padding SAME, as `tf.nn.conv2d` does.

  Gradients are computed by Winograd's method where that is fast and exact enough
  (`winograd.applies`). The output equals that of the plain op to the last bit.

  Args:
    x: float32 [B, H, W, C]; B may be unknown.
    weights: float32 [K, K, C, F].
    dtype: what the session computes in, as `precision.compute_dtype` returns it.

  Returns:
    float32 [B, H, W, F].
  """
  if dtype == 'float32' and winograd.applies(x, weights):
    return winograd.conv2d(x, weights)
  return tf.nn.conv2d(x, weights, 1, 'SAME')


def max_pool(x, name):
  """Takes the maximum of each 3x3 window, every second pixel, as `tf.nn.max_pool2d` does.

  Directly after `tf.nn.relu(tf.nn.bias_add(...))` the gradient is computed faster. The pool's
  gradient goes to the largest value of each window, and the ReLU passes it on where that value is
  above 0. The pooled value shows this too. So the gradients of ReLU and biases are computed on the
  pooled values, a quarter as many. This saves 3 ms of a step of 50 ms in bfloat16. Gradients then
  flow to the inputs of the ReLU, and none to `x` itself.

  Args:
    x: float32 [B, H, W, C].
    name: name of the result.

  Returns:
    float32 [B, H/2, W/2, C], rounded up.
  """
  def pool(name):
    return tf.nn.max_pool2d(x, ksize=3, strides=2, padding='SAME', name=name)

  if x.op.type != 'Relu' or x.op.inputs[0].op.type != 'BiasAdd':
    return pool(name)
  unbiased, biases = x.op.inputs[0].op.inputs
  with _scope(name):
    pooled = pool('max')

  def gradient(dy):
    dy = tf.raw_ops.ReluGrad(gradients=dy, features=pooled)
    return [tf.gradients(pooled, x, dy)[0], tf.raw_ops.BiasAddGrad(out_backprop=dy)]
  return _with_gradient(name, pooled, [unbiased, biases], gradient)


def lrn(x, depth_radius, bias, alpha, beta, name):
  """Normalises each value by the neighbouring channels, as `tf.nn.lrn` does.

  The result is x / (bias + alpha * sum of x^2 over the channels around it) ** beta: section 3.3 of
  https://papers.nips.cc/paper/4824. `tf.nn.lrn` is slow on a CPU. Here a 1x1 convolution with a
  banded matrix sums over the neighbours, two square roots give the power 0.75, and the gradient
  reuses results of the forward pass. For a beta other than 0.75 it calls `tf.nn.lrn`.

  Args:
    x: float32 [B, H, W, C].
    depth_radius: number of channels on either side in the sum.
    bias, alpha, beta: as in the formula.
    name: name of the result.

  Returns:
    float32 [B, H, W, C].
  """
  if beta != 0.75 or x.shape[-1] is None or x.dtype != tf.float32:
    return tf.nn.lrn(x, depth_radius, bias, alpha, beta, name=name)
  channel = np.arange(int(x.shape[-1]))
  neighbours = abs(channel[:, None] - channel) <= depth_radius  # [C, C]

  def over_neighbours(x, factor):
    band = tf.constant(factor * neighbours[None, None], tf.float32)  # [1, 1, C, C]
    return tf.nn.conv2d(x, band, 1, 'SAME')

  with _scope(name):
    s = bias + over_neighbours(tf.square(x), alpha)
    power = tf.math.rsqrt(s * tf.sqrt(s))  # s ** -0.75
    y = x * power

  def gradient(dy):
    return [dy * power - x * over_neighbours(dy * y / s, 2 * 0.75 * alpha)]
  return _with_gradient(name, y, [x], gradient)
