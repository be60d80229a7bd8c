"""Distorts batches of pictures: geometry, colour, noise, cutout, mixup and standardisation.

Every function is pure: tensors in, tensors out, no variables. Each picture of a batch gets its own
draw, except in `mixup`; `tf.image.random_*` makes one draw for the whole batch. Draws repeat if the
graph has a seed (`tf.set_random_seed`). Except in `mixup`, a
strength of zero or a factor of one leaves a picture unchanged, and no function changes the dtype:
uint8 stays in 0..255, float32 may leave that range.

A geometric distortion is a 3x3 matrix. It maps coordinates (x, y, 1) in the result to coordinates
in the picture, in pixels to the right of and below the centre. The product of several matrices
applies several distortions, and `warp` resamples the picture only once.
"""
import functools
import math

import numpy as np

from cifar10_lib.common.tf1 import tf

BORDERS = ('REFLECT', 'NEAREST', 'WRAP', 'CONSTANT')
RADIANS = math.pi / 180  # radians per degree
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # weights of red, green, blue: ITU-R BT.601

# Geometry: random matrices, float32 [count, 3, 3], one for each picture.


def _matrix(rows):
  """Builds float32 [B, 3, 3] from its first two rows. An entry is 0, 1 or a float32 [B]."""
  entries = [entry for row in rows + [[0, 0, 1]] for entry in row]
  drawn = next(entry for entry in entries if isinstance(entry, tf.Tensor))
  fixed = {0: tf.zeros_like(drawn), 1: tf.ones_like(drawn)}
  columns = [entry if isinstance(entry, tf.Tensor) else fixed[entry] for entry in entries]
  return tf.reshape(tf.stack(columns, axis=1), [-1, 3, 3])


def _whole_pixels(pixels):
  """Converts a number to int; returns an int32 scalar tensor (a changing strength) as it is."""
  return pixels if isinstance(pixels, tf.Tensor) else int(pixels)


def random_translation(count, pixels):
  """Returns matrices that move along x and y by whole pixels, drawn from -pixels..pixels."""
  pixels = _whole_pixels(pixels)
  x, y = tf.unstack(tf.cast(tf.random.uniform([2, count], -pixels, pixels + 1, tf.int32),
                            tf.float32))  # [B] each
  return _matrix([[1, 0, x], [0, 1, y]])


def random_rotation(count, degrees):
  """Returns matrices that rotate by an angle drawn from [-degrees, degrees)."""
  angle = degrees * RADIANS * tf.random.uniform([count], -1.0, 1.0)
  cos, sin = tf.cos(angle), tf.sin(angle)
  return _matrix([[cos, -sin, 0], [sin, cos, 0]])


def random_scaling(count, factor):
  """Returns matrices that enlarge by a factor drawn log-uniformly from [1 / factor, factor)."""
  shrink = tf.exp(tf.math.log(factor) * tf.random.uniform([count], -1.0, 1.0))
  return _matrix([[shrink, 0, 0], [0, shrink, 0]])


def _random_sign(count, probability):
  """Returns float32 [count]: -1 with the given probability, else 1."""
  return tf.where(tf.random.uniform([count]) < probability, -tf.ones([count]), tf.ones([count]))


def random_horizontal_flip(count, probability):
  """Returns matrices that swap left and right with the given probability."""
  return _matrix([[_random_sign(count, probability), 0, 0], [0, 1, 0]])


def random_vertical_flip(count, probability):
  """Returns matrices that swap top and bottom with the given probability."""
  return _matrix([[1, 0, 0], [0, _random_sign(count, probability), 0]])


def _from_centre(size):
  """Returns the matrix [3, 3] from coordinates around the centre to (column, row) indices."""
  height, width = size
  return np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]], np.float32)


def _apply_border(indices, length, border):
  """Maps int32 indices outside 0..length - 1 to indices inside, by the border mode."""
  if border == 'REFLECT':
    indices = tf.math.floormod(indices, 2 * length)
    return tf.minimum(indices, 2 * length - 1 - indices)
  if border == 'WRAP':
    return tf.math.floormod(indices, length)
  return tf.clip_by_value(indices, 0, length - 1)


def _gather_pixels(images, matrices, size, border):
  """Does the work of `warp` for moves by whole pixels and flips, with one gather.

  ImageProjectiveTransformV3 copies the same pixels, channel by channel, in 2.9 times the time.
  """
  if border == 'CONSTANT':  # a black frame; every index outside clips to it
    images, border = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]]), 'NEAREST'
  height, width, depth = images.shape[1:]

  def indices(axis, count, length):
    at = np.arange(count, dtype=np.float32) - (count - 1) / 2
    exact = matrices[:, axis, axis, tf.newaxis] * at + matrices[:, axis, 2:] + (length - 1) / 2
    # If length - count is odd, all indices lie halfway between pixels. The 0.25 rounds them down,
    # as `augmentation.centre` does.
    return _apply_border(tf.cast(tf.floor(exact + 0.25), tf.int32), length, border)  # [B, count]

  x, y = indices(0, size[1], width), indices(1, size[0], height)
  first = tf.range(tf.shape(images)[0])[:, tf.newaxis, tf.newaxis] * (height * width)  # [B, 1, 1]
  index = first + y[:, :, tf.newaxis] * width + x[:, tf.newaxis]  # [B, *size], into all pixels
  return tf.gather(tf.reshape(images, [-1, depth]), index)


def warp(images, matrices, size, smooth, border='REFLECT'):
  """Resamples each picture by its own matrix.

  Args:
    images: uint8 or float32 [B, H, W, C].
    matrices: float32 [B, 3, 3], from coordinates in the result to those in the picture.
    size: (height, width) of the result, pixels.
    smooth: True to interpolate between pixels. False to copy pixels; the matrices may then only
      move by whole pixels and flip.
    border: border mode, for pixels outside the picture: 'REFLECT' (mirror image), 'NEAREST' (edge
      pixel), 'WRAP' (opposite side; interpolation leaves a dark seam) or 'CONSTANT' (black).

  Returns:
    [B, height, width, C] of the dtype of `images`.

  Raises:
    ValueError: `border` is not a border mode.
  """
  if border not in BORDERS:
    raise ValueError('border is %r, but must be one of %s' % (border, ', '.join(BORDERS)))
  if not smooth:
    return _gather_pixels(images, matrices, size, border)
  inner = tf.linalg.matmul(_from_centre(images.shape[1:3]), matrices)
  rows = tf.reshape(tf.linalg.matmul(inner, np.linalg.inv(_from_centre(size))), [-1, 9])
  resampled = tf.raw_ops.ImageProjectiveTransformV3(
      images=tf.cast(images, tf.float32), transforms=rows[:, :8], output_shape=size,
      fill_value=0.0, interpolation='BILINEAR', fill_mode=border)
  return _cast(resampled, images.dtype)


def _cast(images, dtype):
  """Rounds float32 to uint8 within 0..255, or returns float32 unchanged."""
  return tf.saturate_cast(tf.round(images), dtype) if dtype == tf.uint8 else images


# Colour, noise and cutout: from uint8 or float32 [B, H, W, C], in grey levels, to the same.


def _keep_dtype(distortion):
  """Wraps a distortion of float32 so that it accepts and returns uint8 too."""
  @functools.wraps(distortion)
  def keeping_dtype(images, *strength):
    return _cast(distortion(tf.cast(images, tf.float32), *strength), images.dtype)
  return keeping_dtype


def _uniform(images, low, high):
  """Returns float32 [B, 1, 1, 1]: one draw from [low, high) for each picture."""
  return tf.random.uniform([tf.shape(images)[0], 1, 1, 1], low, high)


@_keep_dtype
def brightness(images, levels):
  """Adds a number of grey levels drawn from [-levels, levels) to each picture.

  `standardise` removes this change with the mean. The defaults have it because the tutorial does.
  """
  return images + _uniform(images, -levels, levels)


@_keep_dtype
def contrast(images, low, high):
  """Scales each channel about its mean, by one factor from [low, high) for each picture."""
  means = tf.reduce_mean(images, [1, 2], keepdims=True)  # [B, 1, 1, C]
  factor = _uniform(images, low, high)
  return images * factor + means * (1 - factor)


def _recolour(images, matrices):
  """Multiplies red, green and blue of each pixel by its picture's matrix, float32 [B, 3, 3]."""
  pixels = tf.reshape(images, [-1, images.shape[1] * images.shape[2], 3])  # [B, H * W, 3]
  return tf.reshape(tf.linalg.matmul(pixels, matrices, transpose_b=True), tf.shape(images))


@_keep_dtype
def saturation(images, low, high):
  """Scales each colour's distance from grey by a factor from [low, high); 0 gives grey."""
  factor = _uniform(images, low, high)[..., 0]  # [B, 1, 1]
  return _recolour(images, factor * np.eye(3, dtype=np.float32) + (1 - factor) * LUMA)


@_keep_dtype
def hue(images, degrees):
  """Rotates the colours about the grey axis by an angle drawn from [-degrees, degrees)."""
  # Rodrigues' formula for the axis (1, 1, 1) / sqrt(3): greys do not change.
  angle = degrees * RADIANS * tf.random.uniform([tf.shape(images)[0], 1, 1], -1.0, 1.0)
  cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / math.sqrt(3)
  turn = (tf.cos(angle) * np.eye(3, dtype=np.float32) + tf.sin(angle) * cross
          + (1 - tf.cos(angle)) * np.full([3, 3], 1 / 3, np.float32))  # [B, 3, 3]
  return _recolour(images, turn)


@_keep_dtype
def noise(images, stddev):
  """Adds Gaussian noise, in grey levels, to every value of every pixel."""
  return images + tf.random.normal(tf.shape(images), stddev=stddev)


@_keep_dtype
def cutout(images, pixels):
  """Fills a random square of each picture with its mean: https://arxiv.org/abs/1708.04552."""
  pixels, size = _whole_pixels(pixels), images.shape[1:3]
  inside = []
  for axis in (1, 2):  # the middle of the square is in the picture; its sides may lie outside
    begin = tf.random.uniform([tf.shape(images)[0], 1], 0, size[axis - 1], tf.int32) - pixels // 2
    place = tf.range(size[axis - 1])[tf.newaxis]  # [1, H] or [1, W]
    inside.append((place >= begin) & (place < begin + pixels))  # [B, H] or [B, W]
  covered = inside[0][:, :, tf.newaxis, tf.newaxis] & inside[1][:, tf.newaxis, :, tf.newaxis]
  means = tf.reduce_mean(images, [1, 2], keepdims=True)  # [B, 1, 1, C]
  return tf.where_v2(covered, means, images)


def mixup(images, labels, alpha, num_classes):
  """Blends each picture and its label with another of the batch: https://arxiv.org/abs/1710.09412.

  Picture i is blended with picture B - 1 - i, by one random share for the batch. The network rarely
  sees the same input twice, and learns gradual transitions between classes.

  Args:
    images: float32 [B, H, W, C].
    labels: int32 [B].
    alpha: above 0. The share is drawn from Beta(alpha, alpha); with 0.2 most are near 0 or 1.
    num_classes: number of classes.

  Returns:
    The images, float32 [B, H, W, C], and each class's share of them, float32 [B, num_classes].
  """
  # Two Gamma draws give a Beta draw. A small alpha underflows float32, and the share would be 1/2.
  one, other = tf.unstack(tf.random.gamma([2], alpha, dtype=tf.float64))
  share = tf.cast(one / (one + other), tf.float32)

  def mix(x):
    return share * x + (1 - share) * tf.reverse(x, [0])
  return mix(images), mix(tf.one_hot(labels, num_classes))


def standardise(images):
  """Shifts and scales each picture to mean 0 and variance 1.

  Args:
    images: float32 [B, H, W, C].

  Returns:
    float32 [B, H, W, C]: (x - mean) / max(stddev, 1 / sqrt(H * W * C)). A picture of one colour
    becomes zeros.
  """
  return tf.image.per_image_standardization(images)
