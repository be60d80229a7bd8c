"""Computes the gradients of a convolution on a CPU with a sixth of the multiplications.

A kernel of 5 taps that slides over 8 pixels gives 4 outputs. The direct sum takes 4 x 5 = 20
multiplications, Winograd's method 8. It treats 4 values and 5 taps as coefficients of two
polynomials. Their product has degree 7, so 8 of its values determine it, and each value takes
one multiplication. Constant matrices convert coefficients to values and back. Transposed, the same
matrices convert 8 pixels to 4 outputs. A tile of 8x8 pixels takes 64 multiplications, not 400.

GPU libraries use this method for 3x3 kernels: Lavin and Gray 2015, "Fast Algorithms for
Convolutional Neural Networks", https://arxiv.org/abs/1509.09308. It costs precision: the relative
error in float32 is about 4e-6, against 3e-7 for a direct sum. It is too large for 16 bits.
"""
import numpy as np

from cifar10_lib.common.tf1 import tf

# The polynomials are evaluated at these points and at infinity. Small numbers and their inverses
# round least: this set had the smallest error of the twelve that were tried.
POINTS = (0, 1, -1, 2, -2, 1 / 2, -1 / 2)
TILE = len(POINTS) + 1  # pixels; side of a tile, which gives TILE - taps + 1 outputs a side


def _evaluate(count):
  """Returns the matrix from `count` coefficients to the values at all points: [TILE, count]."""
  at_infinity = np.eye(count)[-1:]  # the leading coefficient
  return np.concatenate([np.vander(POINTS, count, increasing=True), at_infinity])


def transforms(taps):
  """Returns the three matrices of one axis for a kernel of length `taps`, float64.

  They are pixels [TILE, TILE], kernel [TILE, taps] and output [TILE - taps + 1, TILE]. For TILE
  pixels x and a kernel k, output @ ((kernel @ k) * (pixels @ x)) is the convolution: the
  TILE - taps + 1 sums of k[i] * x[i + j] over i.
  """
  return np.linalg.inv(_evaluate(TILE)).T, _evaluate(taps), _evaluate(TILE - taps + 1).T


def _tiles(pixels, size, taps):
  """Returns the matrix [TILE * T, size] that cuts `size` pixels into T tiles, transformed."""
  step = TILE - taps + 1  # tiles overlap by taps - 1 pixels
  before = (taps - 1) // 2  # zeros before the first pixel, for padding SAME
  matrix = np.zeros([TILE, size // step, size + taps - 1])
  for tile in range(size // step):
    matrix[:, tile, tile * step:tile * step + TILE] = pixels
  return matrix[:, :, before:before + size].reshape(-1, size)


def convolve(x, weights):
  """Convolves by Winograd's method, with stride 1 and padding SAME, as `tf.nn.conv2d` does.

  Args:
    x: float32 [B, S, S, C]; S a multiple of TILE - K + 1; B may be unknown.
    weights: float32 [K, K, C, F], K odd.

  Returns:
    float32 [B, S, S, F].

  Raises:
    ValueError: the method does not apply to these shapes.
  """
  size, taps, channels, filters = x.shape[1], weights.shape[0], x.shape[3], weights.shape[3]
  step = TILE - taps + 1
  if x.shape[2] != size or weights.shape[1] != taps or taps % 2 == 0 or step < 1 or size % step:
    raise ValueError('no tiles of %d pixels for pictures %s and kernels %s'
                     % (TILE, x.shape, weights.shape))
  count = size // step  # tiles a side: T below
  pixels, kernel, output = transforms(taps)
  tiles = tf.constant(_tiles(pixels, size, taps), tf.float32)  # [TILE * T, S]
  kernels = tf.constant(np.kron(kernel, kernel), tf.float32)  # [TILE * TILE, K * K]
  output = tf.constant(output, tf.float32)  # [step, TILE]

  with tf.name_scope('winograd'):
    # One matrix product transforms the rows of all pictures and channels, one their columns.
    x = tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [size, -1])  # [S, S * B * C]
    x = tf.reshape(tiles @ x, [TILE * count, size, -1])  # [TILE * T, S, B * C]
    x = tf.reshape(tiles[tf.newaxis] @ x, [TILE, count, TILE, -1, channels])
    k = kernels @ tf.reshape(weights, [taps * taps, -1])  # [TILE * TILE, C * F]
    k = tf.reshape(k, [TILE, 1, TILE, channels, filters])
    x = x @ k  # a matrix product at each pair of points: [TILE, T, TILE, T * B, C] to [..., F]
    x = output @ tf.reshape(x, [TILE, -1])  # [step, T * TILE * T * B * F]
    x = output[tf.newaxis] @ tf.reshape(x, [step * count, TILE, -1])  # [step * T, step, T * B * F]
    x = tf.reshape(x, [step, count, step, count, -1, filters])
    return tf.reshape(tf.transpose(x, [4, 1, 0, 3, 2, 5]), [-1, size, size, filters])


def applies(x, weights):
  """Returns whether `conv2d` is possible here, and faster than TensorFlow's own gradients.

  It takes tensors [B, H, W, C] and [K, L, C, F]. A GPU's library chooses its own method. With fewer
  than 16 channels, cutting tiles dominates.
  """
  size, taps = x.shape[1], weights.shape[0]
  return (x.dtype == tf.float32 and None not in (size, x.shape[2]) and x.shape[3] >= 16
          and x.shape[2] == size and weights.shape[1] == taps and taps in (3, 5)
          and size % (TILE - taps + 1) == 0 and not tf.config.list_physical_devices('GPU'))


def conv2d(x, weights):
  """Convolves with TensorFlow's own op, and computes the gradients by Winograd's method.

  The loss is then equal to the last bit, and every ReLU and pool selects the same values. Only the
  gradients are rounded differently, by 5e-6 of their size. TensorFlow's forward op runs near the
  processor's peak; its gradients do not.

  Args, returns and errors are those of `convolve`.
  """
  @tf.custom_gradient
  def convolution(x, weights):
    def gradients(dy):
      with tf.control_dependencies([dy]):
        late = tf.identity(x)  # the tiles take four times its memory, so they are cut late
      # A convolution is linear in x and in weights, so the output of `convolve` is never computed.
      return tf.gradients(convolve(late, weights), [late, weights], dy)
    return tf.nn.conv2d(x, weights, 1, 'SAME'), gradients
  return convolution(x, weights)
