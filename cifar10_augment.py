"""The distortions that make a model generalise, each a pure function on a batch of pictures.

A picture of a cat that is moved, mirrored or lit otherwise is still a cat. A network that meets each training picture anew in every epoch
learns what the pictures have in common rather than the pictures themselves.

Every function draws for each picture of the batch on its own; the functions of `tf.image.random_*` draw once for a whole batch. Given the
graph's seed (`tf.set_random_seed`), the draws repeat.

Geometric distortions are 3x3 matrices that say, for a pixel of the result, which point of the picture it shows. Coordinates are (x, y, 1)
in pixels, x to the right and y downwards, from the centre of the picture; so matrices of several distortions multiply, and pictures are
resampled once however many there are.

Summary of available functions:

  # What a picture goes through on its way into training, and into evaluation.
  images = distort(images)
  images = evaluate(images)
"""
import numpy as np

from cifar10_tf import tf

IMAGE_SIZE = 24  # pixels; height and width of what the network sees, cut from 32 x 32 (cuda-convnet's layers-conv-local-*.cfg crop alike)
MAX_BRIGHTNESS = 63.0  # grey levels out of 255; the tutorial's
CONTRAST_RANGE = (0.2, 1.8)  # factor; the tutorial's


def _uniform(low, high, images):
  """Returns float32 [B, 1, 1, 1], drawn from [low, high) for each picture."""
  return tf.random.uniform([tf.shape(images)[0], 1, 1, 1], low, high)


# Geometry: matrices float32 [B, 3, 3].


def _matrix(rows):
  """Stacks three rows of three scalars or [B] into [B, 3, 3]."""
  count = next(tf.shape(entry)[0] for row in rows for entry in row if isinstance(entry, tf.Tensor))
  entries = [tf.broadcast_to(tf.cast(entry, tf.float32), [count]) for row in rows for entry in row]
  return tf.reshape(tf.stack(entries, axis=1), [count, 3, 3])


def translation(offset_x, offset_y):
  """Returns the matrices that show the point (x + offset_x, y + offset_y) at (x, y); offsets float32 [B], pixels."""
  return _matrix([[1, 0, offset_x],
                  [0, 1, offset_y],
                  [0, 0, 1]])


def random_crop_offset(count, image_size, size):
  """Draws where to cut a window, every whole-pixel place alike.

  Args:
    count: int32 scalar, pictures in the batch.
    image_size: (height, width) of the picture, pixels.
    size: height and width of the window, pixels; at most the picture's.

  Returns:
    Matrices float32 [count, 3, 3].
  """
  height, width = image_size
  x = tf.cast(tf.random.uniform([count], 0, width - size + 1, tf.int32), tf.float32)
  y = tf.cast(tf.random.uniform([count], 0, height - size + 1, tf.int32), tf.float32)
  return translation(x - (width - size) / 2, y - (height - size) / 2)


def random_mirror(count):
  """Returns matrices float32 [count, 3, 3] that swap left and right with probability 1/2."""
  sign = 1 - 2 * tf.cast(tf.random.uniform([count], 0, 2, tf.int32), tf.float32)
  return _matrix([[sign, 0, 0],
                  [0, 1, 0],
                  [0, 0, 1]])


def warp(images, matrices, size):
  """Resamples a batch of pictures, each by its own matrix.

  Args:
    images: [B, H, W, C], uint8 or float32.
    matrices: float32 [B, 3, 3]; from the result's coordinates to the picture's, both from their centres.
    size: height and width of the result, pixels.

  Returns:
    [B, size, size, C] of the same dtype; where all offsets are whole pixels, copies of the picture's pixels.
  """
  height, width = images.shape[1:3]
  to_corner = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]], np.float32)
  from_corner = np.array([[1, 0, (1 - size) / 2], [0, 1, (1 - size) / 2], [0, 0, 1]], np.float32)
  matrices = tf.reshape(to_corner @ matrices @ from_corner, [-1, 9])  # [B, 9], row by row; the last is 1
  return tf.raw_ops.ImageProjectiveTransformV3(
      images=images, transforms=matrices[:, :8], output_shape=[size, size], fill_value=0.0,
      interpolation='NEAREST', fill_mode='CONSTANT')


# Colour: pictures float32 [B, H, W, C] in grey levels; what leaves the range 0..255 is kept, so that nothing is lost before standardising.


def random_brightness(images, max_delta):
  """Adds to each picture a number of grey levels drawn from [-max_delta, max_delta)."""
  return images + _uniform(-max_delta, max_delta, images)


def random_contrast(images, low, high):
  """Stretches each picture about the mean of each of its channels by a factor drawn from [low, high)."""
  means = tf.reduce_mean(images, [1, 2], keepdims=True)  # [B, 1, 1, C]
  return (images - means) * _uniform(low, high, images) + means


# The two ways of a picture.


def standardise(images):
  """Shifts and scales each picture to mean 0 and variance 1.

  Args:
    images: float32 [B, H, W, C], grey levels.

  Returns:
    float32 [B, H, W, C]; (x - mean) / max(stddev, 1 / sqrt(H * W * C)), so that a picture of one colour becomes zeros.
  """
  return tf.image.per_image_standardization(images)


def distort(images, size=IMAGE_SIZE):
  """Distorts pictures for training as the tutorial does: crop, mirror, brightness, contrast, standardisation.

  Args:
    images: uint8 [B, H, W, 3].
    size: height and width of the result, pixels.

  Returns:
    float32 [B, size, size, 3], each picture with mean 0 and variance 1.
  """
  count = tf.shape(images)[0]
  matrices = random_crop_offset(count, images.shape[1:3], size) @ random_mirror(count)
  images = tf.cast(warp(images, matrices, size), tf.float32)
  images = random_brightness(images, MAX_BRIGHTNESS)
  images = random_contrast(images, *CONTRAST_RANGE)
  return standardise(images)


def evaluate(images, size=IMAGE_SIZE):
  """Prepares pictures for evaluation and prediction: the centre, standardised; nothing is drawn.

  Args:
    images: uint8 [B, H, W, 3].
    size: height and width of the result, pixels.

  Returns:
    float32 [B, size, size, 3], each picture with mean 0 and variance 1.
  """
  top, left = (images.shape[1] - size) // 2, (images.shape[2] - size) // 2
  images = images[:, top:top + size, left:left + size]  # [B, size, size, 3]
  return standardise(tf.cast(images, tf.float32))
