"""The distortions that make a model generalise, each a pure function on a batch of pictures.

A picture of a cat that is moved, mirrored or lit otherwise is still a cat. A network that meets
each picture anew in every epoch learns what the pictures have in common, not the pictures.

Every function but `mixup` draws for each picture of a batch on its own, where `tf.image.random_*`
draws once for all of it; given the graph's seed (`tf.set_random_seed`), draws repeat. A strength of
zero (a factor of one) leaves pictures as they are, and so does no function their dtype: uint8 stays
within 0..255, float32 may leave that range.

Geometric distortions are 3x3 matrices that say which point of the picture a pixel of the result
shows. Coordinates (x, y, 1) count pixels to the right and down from the centre, so the matrices of
several distortions multiply, and the picture is resampled once however many there are.

A strength may change over training, as in crop:4..1: many views of a picture at first, so that none
is learned by heart, and at last views near the one that is looked at in use. `distort` is told how
far training is.

Summary of available functions:

  # What a picture goes through on its way into training, and into evaluation.
  images = distort(images, parse('crop,flip,colour'))
  images = evaluate(images)

  # Two pictures in one, and their labels.
  images, shares = mixup(images, labels, alpha, num_classes)
"""
import functools
import math
from typing import NamedTuple

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf

VIEWS = (1, 2, 10, 18)  # how many views of a picture there can be
IMAGE_SIZE = 24  # pixels; height and width of what the network sees, cut from 32 as cuda-convnet's
BORDERS = ('REFLECT', 'NEAREST', 'WRAP', 'CONSTANT')
RADIANS = math.pi / 180  # a degree
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # red, green, blue in grey: ITU-R BT.601


# Geometry: matrices, float32 [B, 3, 3].


def _matrix(rows):
  """Builds [B, 3, 3] of three rows of three entries, each 0, 1 or a float32 [B]."""
  entries = [entry for row in rows for entry in row]
  drawn = next(entry for entry in entries if isinstance(entry, tf.Tensor))
  fixed = {0: tf.zeros_like(drawn), 1: tf.ones_like(drawn)}
  columns = [entry if isinstance(entry, tf.Tensor) else fixed[entry] for entry in entries]
  return tf.reshape(tf.stack(columns, axis=1), [-1, 3, 3])


def _whole(pixels):
  """Returns a number of pixels as an int, unless it is an int32 scalar that changes."""
  return pixels if isinstance(pixels, tf.Tensor) else int(pixels)


def _translation(count, pixels):
  """Moves along x and along y by whole pixels, drawn from -pixels..pixels."""
  pixels = _whole(pixels)
  x, y = tf.unstack(tf.cast(tf.random.uniform([2, count], -pixels, pixels + 1, tf.int32),
                            tf.float32))  # [B] each
  return _matrix([[1, 0, x],
                  [0, 1, y],
                  [0, 0, 1]])


def _rotation(count, degrees):
  """Turns by an angle drawn from [-degrees, degrees)."""
  angle = degrees * RADIANS * tf.random.uniform([count], -1.0, 1.0)
  cos, sin = tf.cos(angle), tf.sin(angle)
  return _matrix([[cos, -sin, 0],
                  [sin, cos, 0],
                  [0, 0, 1]])


def _scaling(count, factor):
  """Enlarges by a factor drawn from [1 / factor, factor), larger as likely as smaller."""
  shrink = tf.exp(tf.math.log(factor) * tf.random.uniform([count], -1.0, 1.0))
  return _matrix([[shrink, 0, 0],
                  [0, shrink, 0],
                  [0, 0, 1]])


def _sign(count, probability):
  """Returns float32 [count]: -1 with that probability, else 1."""
  return tf.where(tf.random.uniform([count]) < probability, -tf.ones([count]), tf.ones([count]))


def _mirror(count, probability):
  """Swaps left and right with a probability."""
  return _matrix([[_sign(count, probability), 0, 0],
                  [0, 1, 0],
                  [0, 0, 1]])


def _upset(count, probability):
  """Swaps top and bottom with a probability."""
  return _matrix([[1, 0, 0],
                  [0, _sign(count, probability), 0],
                  [0, 0, 1]])


def _centred(size):
  """Returns the matrix [3, 3] from coordinates from the centre to those from the corner."""
  height, width = size
  return np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]], np.float32)


def _within(places, length, border):
  """Leads places beyond 0..length - 1, int32, back into the picture, as `border` says."""
  if border == 'REFLECT':
    places = tf.math.floormod(places, 2 * length)
    return tf.minimum(places, 2 * length - 1 - places)
  if border == 'WRAP':
    return tf.math.floormod(places, length)
  return tf.clip_by_value(places, 0, length - 1)


def _copy(images, matrices, size, border):
  """Does what `warp` does for moves by whole pixels: rows stay rows, and columns columns.

  ImageProjectiveTransformV3 copies the same pixels, channel by channel, in 2.9 times the time.
  """
  if border == 'CONSTANT':  # a black frame, the nearest to all that lies beyond it
    images, border = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]]), 'NEAREST'
  height, width, depth = images.shape[1:]

  def places(axis, shown, length):
    at = np.arange(shown, dtype=np.float32) - (shown - 1) / 2
    found = matrices[:, axis, axis, tf.newaxis] * at + matrices[:, axis, 2:] + (length - 1) / 2
    return _within(tf.cast(tf.floor(found + 0.5), tf.int32), length, border)  # [B, shown]

  x, y = places(0, size[1], width), places(1, size[0], height)
  first = tf.range(tf.shape(images)[0])[:, tf.newaxis, tf.newaxis] * (height * width)  # [B, 1, 1]
  index = first + y[:, :, tf.newaxis] * width + x[:, tf.newaxis]  # [B, *size], into all pixels
  return tf.gather(tf.reshape(images, [-1, depth]), index)


def warp(images, matrices, size, smooth, border='REFLECT'):
  """Resamples each picture by its own matrix.

  Args:
    images: uint8 or float32 [B, H, W, C].
    matrices: float32 [B, 3, 3], from coordinates in the result to those in the picture.
    size: (height, width) of the result, pixels.
    smooth: whether to interpolate between pixels; else they are copied, and the matrices may only
      move by whole pixels and mirror.
    border: what lies beyond the picture: 'REFLECT' (its mirror image), 'NEAREST' (its edge),
      'WRAP' (its other side; interpolation leaves a dark seam) or 'CONSTANT' (black).

  Returns:
    [B, height, width, C] of the dtype of `images`.

  Raises:
    ValueError: `border` is none of these.
  """
  if border not in BORDERS:
    raise ValueError('border is %r, but must be one of %s' % (border, ', '.join(BORDERS)))
  if not smooth:
    return _copy(images, matrices, size, border)
  inner = tf.linalg.matmul(_centred(images.shape[1:3]), matrices)
  rows = tf.reshape(tf.linalg.matmul(inner, np.linalg.inv(_centred(size))), [-1, 9])
  resampled = tf.raw_ops.ImageProjectiveTransformV3(
      images=tf.cast(images, tf.float32), transforms=rows[:, :8], output_shape=size,
      fill_value=0.0, interpolation='BILINEAR', fill_mode=border)
  return _cast(resampled, images.dtype)


def _cast(images, dtype):
  """Rounds to uint8 within 0..255, or returns float32 as it is."""
  return tf.saturate_cast(tf.round(images), dtype) if dtype == tf.uint8 else images


_GEOMETRIC_ARGS = """

  Args:
    images: uint8 or float32 [B, H, W, C].
    strength: how far draws go, in the unit named above.
    border: what lies beyond the picture, as for `warp`.

  Returns:
    [B, H, W, C] of the same dtype.
  """


def _geometric(matrices, smooth):
  """Makes a distortion of pictures out of a function that draws matrices."""
  def distortion(images, strength, border='REFLECT'):
    count = tf.shape(images)[0]
    return warp(images, matrices(count, strength), images.shape[1:3], smooth, border)
  distortion.__doc__ = matrices.__doc__ + _GEOMETRIC_ARGS
  return distortion


translate = _geometric(_translation, smooth=False)
rotate = _geometric(_rotation, smooth=True)
scale = _geometric(_scaling, smooth=True)
flip_left_right = _geometric(_mirror, smooth=False)
flip_up_down = _geometric(_upset, smooth=False)


def crop(images, pixels, size=IMAGE_SIZE):
  """Cuts a square out of each picture, off the centre by -pixels..pixels along x and along y.

  Args:
    images: uint8 or float32 [B, H, W, C]; H - size and W - size even.
    pixels: whole number, at most (H - size) / 2 for a square within the picture.
    size: of the square, pixels.

  Returns:
    [B, size, size, C] of the same dtype.
  """
  matrices = _translation(tf.shape(images)[0], pixels)
  return warp(images, matrices, [size, size], smooth=False)


# Colour and noise: on grey levels.


def _coloured(distortion):
  """Lets a function on float32 take uint8 too."""
  @functools.wraps(distortion)
  def keeping_dtype(images, *strength):
    return _cast(distortion(tf.cast(images, tf.float32), *strength), images.dtype)
  return keeping_dtype


def _draw(images, low, high):
  """Returns float32 [B, 1, 1, 1], drawn from [low, high) for each picture."""
  return tf.random.uniform([tf.shape(images)[0], 1, 1, 1], low, high)


@_coloured
def brightness(images, levels):
  """Adds a number of grey levels drawn from [-levels, levels).

  Before `standardise` it changes nothing: what is added to all of a picture is subtracted with its
  mean. It is among the defaults because the tutorial has it.
  """
  return images + _draw(images, -levels, levels)


@_coloured
def contrast(images, low, high):
  """Stretches each channel about its mean, all of a picture by one factor from [low, high)."""
  means = tf.reduce_mean(images, [1, 2], keepdims=True)  # [B, 1, 1, C]
  factor = _draw(images, low, high)
  return images * factor + means * (1 - factor)


def _recolour(images, matrices):
  """Multiplies red, green and blue of each pixel by its picture's matrix, float32 [B, 3, 3]."""
  pixels = tf.reshape(images, [-1, images.shape[1] * images.shape[2], 3])  # [B, H * W, 3]
  return tf.reshape(tf.linalg.matmul(pixels, matrices, transpose_b=True), tf.shape(images))


@_coloured
def saturation(images, low, high):
  """Stretches the colours away from their grey by a factor drawn from [low, high); 0 is grey."""
  factor = _draw(images, low, high)[..., 0]  # [B, 1, 1]
  return _recolour(images, factor * np.eye(3, dtype=np.float32) + (1 - factor) * LUMA)


@_coloured
def hue(images, degrees):
  """Turns the colours about the axis of greys by an angle drawn from [-degrees, degrees).

  The matrix is Rodrigues' for the axis (1, 1, 1) / sqrt(3); greys stay as they are.
  """
  angle = degrees * RADIANS * tf.random.uniform([tf.shape(images)[0], 1, 1], -1.0, 1.0)
  cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / math.sqrt(3)
  turn = (tf.cos(angle) * np.eye(3, dtype=np.float32) + tf.sin(angle) * cross
          + (1 - tf.cos(angle)) * np.full([3, 3], 1 / 3, np.float32))  # [B, 3, 3]
  return _recolour(images, turn)


@_coloured
def noise(images, stddev):
  """Adds to each value of each pixel a Gaussian number of grey levels."""
  return images + tf.random.normal(tf.shape(images), stddev=stddev)


@_coloured
def cutout(images, pixels):
  """Covers a square of each picture, anywhere, with its mean: https://arxiv.org/abs/1708.04552."""
  pixels, size = _whole(pixels), images.shape[1:3]
  inside = []
  for axis in (1, 2):  # the square may hang over the edge: its middle is within the picture
    begin = tf.random.uniform([tf.shape(images)[0], 1], 0, size[axis - 1], tf.int32) - pixels // 2
    place = tf.range(size[axis - 1])[tf.newaxis]  # [1, H] or [1, W]
    inside.append((place >= begin) & (place < begin + pixels))  # [B, H] or [B, W]
  covered = inside[0][:, :, tf.newaxis, tf.newaxis] & inside[1][:, tf.newaxis, :, tf.newaxis]
  means = tf.reduce_mean(images, [1, 2], keepdims=True)  # [B, 1, 1, C]
  return tf.where_v2(covered, means, images)


# Of two pictures one.


def mixup(images, labels, alpha, num_classes):
  """Mixes each picture of a batch with another, one of the two faintly as a rule, and their labels.

  So the network learns to go over gradually from class to class, and hardly meets the same input
  twice: https://arxiv.org/abs/1710.09412. The other picture is the one in the same place from the
  batch's end; one share is drawn for a batch.

  Args:
    images: float32 [B, H, W, C].
    labels: int32 [B].
    alpha: above 0; the share is drawn from Beta(alpha, alpha): of 0.2, near 0 or near 1 mostly.
    num_classes: how many labels there are.

  Returns:
    images float32 [B, H, W, C]; and float32 [B, num_classes], each class's share of a picture.
  """
  # Beta's draws, out of Gamma's. Of a small alpha many of these would be the smallest number of 32
  # bits, and the share 1/2.
  one, other = tf.unstack(tf.random.gamma([2], alpha, dtype=tf.float64))
  share = tf.cast(one / (one + other), tf.float32)

  def mix(x):
    return share * x + (1 - share) * tf.reverse(x, [0])
  return mix(images), mix(tf.one_hot(labels, num_classes))


# Which distortions, and how strong.


class Kind(NamedTuple):
  """A distortion that can be asked for by name."""
  strength: tuple  # the default: one number, or a range of two
  unit: str
  labels: str  # whether a CIFAR-10 picture keeps its label
  matrices: object = None  # function that draws matrices; for geometric ones
  smooth: bool = False  # whether the matrices move by fractions of a pixel
  colour: object = None  # function on pictures, for the others


PIXELS = 'pixels'  # the unit of strengths that are whole numbers
KINDS = {
    'crop': Kind((4,), PIXELS, 'kept: the thing is in the middle', _translation),
    'translate': Kind((4,), PIXELS, 'kept, while most of it is seen', _translation),
    'rotate': Kind((15,), 'degrees', 'kept, as photographers tilt', _rotation, smooth=True),
    'scale': Kind((1.2,), 'factor', 'kept, as things come near and far', _scaling, smooth=True),
    'flip': Kind((0.5,), 'probability', 'kept: the mirror image of a horse is a horse', _mirror),
    'flip_up_down': Kind((0.5,), 'probability',
                         'kept, but no ship sails upside down; among digits, a 6 becomes a 9',
                         _upset),
    'brightness': Kind((63,), 'grey levels', 'kept; no effect before standardising',
                       colour=brightness),
    'contrast': Kind((0.2, 1.8), 'factor', 'kept', colour=contrast),
    'saturation': Kind((0.5, 1.5), 'factor', 'kept', colour=saturation),
    'hue': Kind((18,), 'degrees', 'kept, while small: a green deer is rare', colour=hue),
    'noise': Kind((8,), 'grey levels', 'kept', colour=noise),
    'cutout': Kind((8,), PIXELS, 'kept, while most of it is seen', colour=cutout),
}
LARGEST = 1000  # of any unit; beyond it is a slip, or nothing that float32 can hold
COLOUR = ('brightness', 'contrast')  # what 'colour' stands for: the tutorial's two


class Change(NamedTuple):
  """A strength that changes over training."""
  first: tuple
  last: tuple


def _numbers(name, text):
  """Reads '15' or '0.2-1.8' as numbers that fit a distortion; returns None if they do not."""
  try:
    numbers = tuple(float(part) for part in text.split('-'))
  except ValueError:
    return None
  sound = len(numbers) == len(KINDS[name].strength) and numbers == tuple(sorted(numbers))
  sound = sound and all(0 <= number <= LARGEST for number in numbers)  # neither nan nor inf
  if KINDS[name].unit == PIXELS:
    sound = sound and numbers[0] == int(numbers[0])
  if name == 'scale':
    sound = sound and numbers[0] >= 1
  if 'flip' in name:
    sound = sound and numbers[0] <= 1
  return numbers if sound else None


def _strength(name, text):
  """Reads '15', '0.2-1.8' or, with '..' between two, a Change; '' is the default."""
  default = KINDS[name].strength
  if not text:
    return default
  ends = [_numbers(name, part) for part in text.split('..')]
  if None in ends or len(ends) > 2:
    raise Failure('%r is no strength of %s; its default is %s:%s (%s).' % (
        text, name, name, '-'.join('%g' % number for number in default), KINDS[name].unit))
  return ends[0] if len(ends) == 1 else Change(*ends)


def strength_at(name, strength, progress):
  """Returns how strong a distortion is at a time of training.

  Args:
    name: of KINDS.
    strength: as `parse` returns it.
    progress: share of the steps that are done: a float or a float32 scalar, 0 to 1.

  Returns:
    The strength as it is; of a Change, a tuple of scalars, float32 that go from first to last in a
    line, or int32 if they are pixels: each whole number of the way has the same share of the steps.
  """
  if not isinstance(strength, Change):
    return strength
  progress = tf.clip_by_value(tf.cast(progress, tf.float32), 0, 1)
  found = []
  for first, last in zip(*strength, strict=True):
    way = abs(last - first)
    if KINDS[name].unit == PIXELS:
      done = tf.cast(tf.minimum(tf.floor((way + 1) * progress), way), tf.int32)
      found.append(int(first) + (done if last > first else -done))
    else:
      found.append(first + (last - first) * progress)
  return tuple(found)


def parse(text):
  """Reads a list of distortions, such as 'crop,flip,colour,rotate:15'.

  Args:
    text: names of KINDS, or 'colour' for the tutorial's brightness and contrast, with commas
      between; a strength may follow a colon, a range written low-high, one that changes over
      training first..last. '' or 'none' is no distortion.

  Returns:
    A tuple of (name, strength), each strength a tuple of numbers, or a Change between two.

  Raises:
    Failure: a name is unknown or there twice, or a strength does not fit it.
  """
  found = {}
  for item in text.split(',') if text.strip() not in ('', 'none') else []:
    name, _, strength = item.strip().partition(':')
    if name == 'colour' and strength:
      raise Failure('colour takes no strength; give %s theirs.' % ' and '.join(COLOUR))
    for each in COLOUR if name == 'colour' else (name,):
      if each not in KINDS:
        raise Failure('unknown distortion %r; known are colour, %s, or none alone.'
                      % (item.strip(), ', '.join(KINDS)))
      if each in found:
        raise Failure('%s is there twice.' % each)
      found[each] = _strength(each, strength)
  return tuple(found.items())


TUTORIAL = parse('crop,flip,colour')


# The two ways of a picture.


def standardise(images):
  """Shifts and scales each picture to mean 0 and variance 1.

  Args:
    images: float32 [B, H, W, C].

  Returns:
    float32 [B, H, W, C]: (x - mean) / max(stddev, 1 / sqrt(H * W * C)), so that a picture of one
    colour becomes zeros.
  """
  return tf.image.per_image_standardization(images)


def centre(images, size=IMAGE_SIZE):
  """Cuts the square in the middle: [B, H, W, C] to [B, size, size, C]."""
  top, left = (images.shape[1] - size) // 2, (images.shape[2] - size) // 2
  return images[:, top:top + size, left:left + size]


def distort_levels(images, augment, size=IMAGE_SIZE, progress=0.0):
  """Distorts pictures and leaves them in grey levels, as `distort` does before it standardises.

  Args:
    images: uint8 [B, H, W, 3].
    augment: what `parse` returned. All geometric ones together resample once; the others follow in
      their order.
    size: height and width of the result, pixels.
    progress: how far training is, for strengths that change: a float or a float32 scalar, 0 to 1.

  Returns:
    float32 [B, size, size, 3].
  """
  augment = [(name, strength_at(name, strength, progress)) for name, strength in augment]
  geometric = [(KINDS[name], strength) for name, strength in augment if KINDS[name].matrices]
  if geometric:
    count = tf.shape(images)[0]
    drawn = [kind.matrices(count, *strength) for kind, strength in geometric]
    smooth = any(kind.smooth for kind, _ in geometric)
    images = tf.cast(images, tf.float32) if smooth else images
    images = warp(images, functools.reduce(tf.linalg.matmul, drawn), [size, size], smooth)
  else:
    images = centre(images, size)
  images = tf.cast(images, tf.float32)
  for name, strength in augment:
    if KINDS[name].colour:
      images = KINDS[name].colour(images, *strength)
  return images


def distort(images, augment=TUTORIAL, size=IMAGE_SIZE, progress=0.0):
  """Distorts pictures for training; arguments as for `distort_levels`.

  Returns:
    float32 [B, size, size, 3], each picture with mean 0 and variance 1.
  """
  return standardise(distort_levels(images, augment, size, progress))


def shrink(image, size):
  """Makes a picture of any size one of the data set's.

  Args:
    image: uint8 [H, W, C].
    size: height and width of the result, pixels.

  Returns:
    uint8 [size, size, C]: the largest square in the middle; each pixel is the mean of the area that
    it covers. A square of that size already is left as it is.
  """
  height, width, depth = tf.unstack(tf.shape(image))
  side = tf.minimum(height, width)
  top, left = (height - side) // 2, (width - side) // 2
  square = image[top:top + side, left:left + side]
  shrunk = tf.image.resize_area([square], [size, size])[0]
  return tf.reshape(_cast(shrunk, tf.uint8), [size, size, depth])


def views(images, count=1, size=IMAGE_SIZE):
  """Cuts views of each picture, of which a network's answers can be averaged.

  Args:
    images: uint8 [B, H, W, C].
    count: 1, the centre; 2, it and its mirror image; 10, the four corners too, all mirrored; 18, a
      grid of 3x3 places, all mirrored.
    size: height and width of a view, pixels.

  Returns:
    uint8 [count * B, size, size, C]: all pictures in the first view, then all in the second.
  """
  down, across = images.shape[1] - size, images.shape[2] - size  # pixels of room
  middle = (down // 2, across // 2)
  corners = [(top, left) for top in (0, down) for left in (0, across)]
  grid = [(top, left) for top in (0, down // 2, down) for left in (0, across // 2, across)]
  places = {1: [middle], 2: [middle], 10: [middle] + corners, 18: grid}[count]
  cut = [images[:, top:top + size, left:left + size] for top, left in places]
  if count > 1:
    cut += [view[:, :, ::-1] for view in cut]
  return tf.concat(cut, axis=0)


def evaluate(images, size=IMAGE_SIZE, count=1):
  """Prepares pictures for evaluation and prediction: standardised views; nothing is drawn.

  Args:
    images: uint8 [B, H, W, C].
    size: height and width of the result, pixels.
    count: views of each picture, as for `views`; the centre alone if not given.

  Returns:
    float32 [count * B, size, size, C], each picture with mean 0 and variance 1.
  """
  return standardise(tf.cast(views(images, count, size), tf.float32))
