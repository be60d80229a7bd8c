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
  """Returns `y` under a name, with a gradient of our own.

  As `tf.custom_gradient`, which gives its result no name that `get_tensor_by_name` could find.

  Args:
    name: of the tensor that is returned.
    y: tensor, computed from `inputs`.
    inputs: list of tensors that gradients flow back to.
    gradient: function from the gradient of `y` to a list of gradients, one for each input.
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
  (`winograd.applies`). The output is that of the plain op to the last bit.

  Args:
    x: float32 [B, H, W, C]; B may be unknown.
    weights: float32 [K, K, C, F].
    dtype: what the session computes in, as `precision.compute_dtype` returns it.

  Returns:
    float32 [B, H, W, F].
  """
  if dtype == 'float32' and winograd.applies(x, weights):
    return winograd.conv2d(x, weights)
  return winograd.plain(x, weights)


def max_pool(x, name):
  """Takes the maximum of each 3x3 window, every second pixel, as `tf.nn.max_pool2d` does.

  Directly after `tf.nn.relu(tf.nn.bias_add(...))` the way back is shorter. The pool sends each
  gradient to the largest value of its window, and the ReLU passes it on if that value is above 0,
  which the pooled value shows as well. So the ReLU's gradient and the sum for the biases are taken
  before the pool spreads them, of a quarter as many numbers: 3 ms of a step of 58 in bfloat16.
  Gradients then flow to the inputs of the ReLU, not to `x` itself.

  Args:
    x: float32 [B, H, W, C].
    name: of the result.

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
  """Normalises each value by its neighbours among the channels, as `tf.nn.lrn` does.

  x / (bias + alpha * sum of x^2 over the channels around it) ** beta, section 3.3 of
  https://papers.nips.cc/paper/4824. `tf.nn.lrn` is slow on a CPU. Here the sum over neighbours is a
  1x1 convolution with a banded matrix, the power 0.75 is two square roots, and the gradient uses
  what the forward pass has computed. A beta other than 0.75 takes `tf.nn.lrn`.

  Args:
    x: float32 [B, H, W, C].
    depth_radius: channels to either side that count.
    bias, alpha, beta: as in the formula.
    name: of the result.

  Returns:
    float32 [B, H, W, C].
  """
  if beta != 0.75 or x.shape[-1] is None or x.dtype != tf.float32:
    return tf.nn.lrn(x, depth_radius, bias, alpha, beta, name=name)
  channel = np.arange(int(x.shape[-1]))
  near = abs(channel[:, None] - channel) <= depth_radius  # [C, C]

  def over_neighbours(x, factor):
    band = tf.constant(factor * near[None, None], tf.float32)  # [1, 1, C, C]
    return winograd.plain(x, band)

  with _scope(name):
    s = bias + over_neighbours(tf.square(x), alpha)
    power = tf.math.rsqrt(s * tf.sqrt(s))  # s ** -0.75
    y = x * power

  def gradient(dy):
    return [dy * power - x * over_neighbours(dy * y / s, 2 * 0.75 * alpha)]
  return _with_gradient(name, y, [x], gradient)
