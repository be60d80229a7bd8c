"""The gradients of a convolution with a sixth of the multiplications, for processors (CPUs).

A kernel of 5 taps that slides over 8 pixels gives 4 values and takes 4 x 5 = 20 products, where
Winograd's way takes 8. Take 4 values and 5 taps as the coefficients of two polynomials: their
product, of degree 7, is known once its values at 8 points are, with one multiplication each. Going
to the points and back are small matrices of constants; transposed, the same matrices take 8 pixels
to 4 values. On tiles of 8x8 pixels 64 products do the work of 400.

It is what GPU libraries do by themselves for kernels of 3x3: Lavin and Gray 2015, "Fast Algorithms
for Convolutional Neural Networks", https://arxiv.org/abs/1509.09308. The price is rounding: about
4e-6 of a value's size in float32, where a direct sum has 3e-7; too much for 16 bits.
"""
import numpy as np

from cifar10_lib.common.tf1 import tf

# Where the polynomials are evaluated, and at infinity besides. Small numbers and their inverses
# round least; of the twelve sets that were tried these were the best.
POINTS = (0, 1, -1, 2, -2, 1 / 2, -1 / 2)
TILE = len(POINTS) + 1  # pixels a side that give TILE - taps + 1 outputs a side


def _evaluate(count):
  """Returns what takes `count` coefficients to the values at the points: [TILE, count]."""
  at_infinity = np.eye(count)[-1:]  # the leading coefficient
  return np.concatenate([np.vander(POINTS, count, increasing=True), at_infinity])


def transforms(taps):
  """Returns the three matrices of one axis.

  For TILE pixels x and a kernel k, values = output @ ((kernel @ k) * (pixels @ x)) are the
  TILE - taps + 1 sums of k[i] * x[i + j].

  Args:
    taps: of the kernel.

  Returns:
    pixels [TILE, TILE], kernel [TILE, taps] and output [TILE - taps + 1, TILE], float64.
  """
  return np.linalg.inv(_evaluate(TILE)).T, _evaluate(taps), _evaluate(TILE - taps + 1).T


def _tiles(pixels, size, taps):
  """Returns what cuts `size` padded pixels into tiles and transforms those: [TILE * T, size]."""
  step = TILE - taps + 1  # tiles overlap by taps - 1
  before = (taps - 1) // 2  # zeros at the border, as padding SAME has them
  matrix = np.zeros([TILE, size // step, size + taps - 1])
  for tile in range(size // step):
    matrix[:, tile, tile * step:tile * step + TILE] = pixels
  return matrix[:, :, before:before + size].reshape(-1, size)


def plain(x, weights):
  """Convolves with stride 1 and padding SAME by TensorFlow's own op; arguments as `winograd`."""
  return tf.nn.conv2d(x, weights, strides=1, padding='SAME')


def winograd(x, weights):
  """Convolves with stride 1 and padding SAME, as `tf.nn.conv2d` does.

  Args:
    x: float32 [B, S, S, C]; S a multiple of TILE - K + 1; B may be unknown.
    weights: float32 [K, K, C, F], K odd.

  Returns:
    float32 [B, S, S, F].

  Raises:
    ValueError: the shapes are others.
  """
  size, taps, channels, filters = x.shape[1], weights.shape[0], x.shape[3], weights.shape[3]
  step = TILE - taps + 1
  if x.shape[2] != size or weights.shape[1] != taps or taps % 2 == 0 or step < 1 or size % step:
    raise ValueError('no tiles of %d pixels for pictures %s and kernels %s'
                     % (TILE, x.shape, weights.shape))
  count = size // step  # tiles a side, T below
  pixels, kernel, output = transforms(taps)
  tiles = tf.constant(_tiles(pixels, size, taps), tf.float32)  # [TILE * T, S]
  kernels = tf.constant(np.kron(kernel, kernel), tf.float32)  # [TILE * TILE, K * K]
  output = tf.constant(output, tf.float32)  # [step, TILE]

  with tf.name_scope('winograd'):
    # Rows, then columns, of all pictures in one product: batch and channels wait at the end.
    x = tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [size, -1])  # [S, S * B * C]
    x = tf.reshape(tiles @ x, [TILE * count, size, -1])  # [TILE * T, S, B * C]
    x = tf.reshape(tiles[tf.newaxis] @ x, [TILE, count, TILE, -1, channels])
    k = kernels @ tf.reshape(weights, [taps * taps, -1])  # [TILE * TILE, C * F]
    k = tf.reshape(k, [TILE, 1, TILE, channels, filters])
    x = x @ k  # one product a point: [TILE, T, TILE, T * B, C] to [..., F]
    x = output @ tf.reshape(x, [TILE, -1])  # [step, T * TILE * T * B * F]
    x = output[tf.newaxis] @ tf.reshape(x, [step * count, TILE, -1])  # [step * T, step, T * B * F]
    x = tf.reshape(x, [step, count, step, count, -1, filters])
    return tf.reshape(tf.transpose(x, [4, 1, 0, 3, 2, 5]), [-1, size, size, filters])


def applies(x, weights):
  """Returns whether `conv2d` is faster than the plain op here, and possible.

  A GPU's library chooses its own method. With fewer than 16 channels the time goes into tiles.

  Args:
    x: tensor [B, H, W, C].
    weights: tensor [K, L, C, F].
  """
  size, taps = x.shape[1], weights.shape[0]
  return (x.dtype == tf.float32 and None not in (size, x.shape[2]) and x.shape[3] >= 16
          and x.shape[2] == size and weights.shape[1] == taps and taps in (3, 5)
          and size % (TILE - taps + 1) == 0 and not tf.config.list_physical_devices('GPU'))


def conv2d(x, weights):
  """Convolves by TensorFlow's own op and computes the gradients by `winograd`.

  So the loss equals that of a plain convolution to the last digit, and every ReLU and pool decides
  as it would there. Rounding affects the gradients alone, by 5e-6 of their size. TensorFlow's
  forward op is near the processor's peak; its gradients are not.

  Args, returns and errors are those of `winograd`.
  """
  @tf.custom_gradient
  def convolve(x, weights):
    def gradients(dy):
      with tf.control_dependencies([dy]):
        late = tf.identity(x)  # its tiles take four times its memory: not before they are due
      # Linear in x and in weights, so that `winograd`'s own result is never computed.
      return tf.gradients(winograd(late, weights), [late, weights], dy)
    return plain(x, weights), gradients
  return convolve(x, weights)
