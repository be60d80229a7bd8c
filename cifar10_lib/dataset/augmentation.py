"""Chooses distortions and their strengths, and applies them on the way to training and evaluation.

`parse` reads the value of --augment. `distort` prepares pictures for training, `evaluate` for
evaluation and prediction. A strength may change during training, as in crop:4..1. Strong
distortions at the start prevent overfitting; weak ones at the end match the undistorted pictures
of evaluation. The argument `progress` of `distort` is the share of training that is done; the
function `training_progress` returns it.

  images = distort(images, parse('crop,flip,colour'))
  images = evaluate(images)
"""
import functools
from typing import NamedTuple

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import distortions

IMAGE_SIZE = 24  # pixels; height and width of the network's input, as in cuda-convnet
VIEWS = (1, 2, 10, 18)  # the numbers of views of a picture that `views` can cut


class Kind(NamedTuple):
  """Describes a distortion that --augment can name; either `matrices` or `colour` is set."""
  strength: tuple  # the default: one number, or two, the low and high ends of a range
  unit: str
  labels: str  # whether a CIFAR-10 picture keeps its label
  matrices: object = None  # function that draws the matrices of a geometric distortion
  smooth: bool = False  # True if the matrices move by fractions of a pixel
  colour: object = None  # function on pictures, of any other distortion


PIXELS = 'pixels'  # strengths of this unit are whole numbers
KINDS = {
    'crop': Kind((4,), PIXELS, 'kept: the object is in the middle', distortions.random_translation),
    'translate': Kind((4,), PIXELS, 'kept, while most of the object is visible',
                      distortions.random_translation),
    'rotate': Kind((15,), 'degrees', 'kept: photographs are often tilted',
                   distortions.random_rotation, smooth=True),
    'scale': Kind((1.2,), 'factor', 'kept: objects are near or far', distortions.random_scaling,
                  smooth=True),
    'flip': Kind((0.5,), 'probability', 'kept: the mirror image of a horse is a horse',
                 distortions.random_horizontal_flip),
    'flip_up_down': Kind((0.5,), 'probability',
                         'kept, but no ship sails upside down; most digits are none then',
                         distortions.random_vertical_flip),
    'brightness': Kind((63,), 'grey levels', 'kept; standardisation removes the change',
                       colour=distortions.brightness),
    'contrast': Kind((0.2, 1.8), 'factor', 'kept', colour=distortions.contrast),
    'saturation': Kind((0.5, 1.5), 'factor', 'kept', colour=distortions.saturation),
    'hue': Kind((18,), 'degrees', 'kept, while small: green deer are rare', colour=distortions.hue),
    'noise': Kind((8,), 'grey levels', 'kept', colour=distortions.noise),
    'cutout': Kind((8,), PIXELS, 'kept, while most of the object is visible',
                   colour=distortions.cutout),
}
MAX_STRENGTH = 1000  # in any unit; a larger number is a typing error or overflows float32
COLOUR = ('brightness', 'contrast')  # 'colour' means both, as in the tutorial


class Change(NamedTuple):
  """Holds a strength that changes during training."""
  first: tuple
  last: tuple


def _numbers(name, text):
  """Parses '15' or '0.2-1.8' to a tuple of floats; returns None if the distortion forbids them."""
  try:
    numbers = tuple(float(part) for part in text.split('-'))
  except ValueError:
    return None
  least, most = 1 if name == 'scale' else 0, 1 if 'flip' in name else MAX_STRENGTH
  valid = (len(numbers) == len(KINDS[name].strength) and numbers == tuple(sorted(numbers))
           and all(least <= number <= most for number in numbers)  # neither nan nor inf
           and (KINDS[name].unit != PIXELS or numbers[0].is_integer()))
  return numbers if valid else None


def _strength(name, text):
  """Parses '15', '0.2-1.8' or 'first..last' to a strength; '' gives the default."""
  default = KINDS[name].strength
  if not text:
    return default
  ends = [_numbers(name, part) for part in text.split('..')]
  if None in ends or len(ends) > 2:
    raise Failure('%r is no strength of %s; its default is %s:%s (%s).' % (
        text, name, name, '-'.join('%g' % number for number in default), KINDS[name].unit))
  return ends[0] if len(ends) == 1 else Change(*ends)


def strength_at(name, strength, progress):
  """Returns the strength of a distortion at a point of training.

  Args:
    name: a key of KINDS.
    strength: a strength from `parse`.
    progress: share of the steps that are done: a float or a float32 scalar, 0 to 1.

  Returns:
    A strength that is not a Change, unchanged. For a Change, a tuple of scalars: float32 on a line
    from first to last, or int32 for pixels. Each number of pixels gets the same share of steps.
  """
  if not isinstance(strength, Change):
    return strength
  progress = tf.clip_by_value(tf.cast(progress, tf.float32), 0, 1)
  if KINDS[name].unit != PIXELS:
    return tuple(first + (last - first) * progress for first, last in zip(*strength, strict=True))
  (first,), (last,) = strength
  distance = abs(last - first)
  done = tf.cast(tf.minimum(tf.floor((distance + 1) * progress), distance), tf.int32)
  return (int(first) + (done if last > first else -done),)


def parse(text):
  """Parses a list of distortions, such as 'crop,flip,colour,rotate:15'.

  Args:
    text: keys of KINDS, separated by commas; 'colour' means the tutorial's brightness and contrast.
      A colon and a strength may follow a name. A range is low-high. A strength that changes during
      training is first..last. '' or 'none' means no distortion.

  Returns:
    A tuple of (name, strength). A strength is a tuple of numbers, or a Change from one to another.

  Raises:
    Failure: a name is unknown or occurs twice, or a strength is not valid for it.
  """
  strengths = {}
  for item in text.split(',') if text.strip() not in ('', 'none') else []:
    name, _, strength = item.strip().partition(':')
    if name == 'colour' and strength:
      raise Failure('colour takes no strength; give %s theirs.' % ' and '.join(COLOUR))
    for each in COLOUR if name == 'colour' else (name,):
      if each not in KINDS:
        raise Failure('unknown distortion %r; known are colour, %s, or none alone.'
                      % (item.strip(), ', '.join(KINDS)))
      if each in strengths:
        raise Failure('%s is there twice.' % each)
      strengths[each] = _strength(each, strength)
  return tuple(strengths.items())


TUTORIAL = parse('crop,flip,colour')


def training_progress(augment, max_steps, steps_per_batch):
  """Returns the share of the steps that are done when a batch is made, and shows what changes.

  Call it where the batch is made: running the result counts the batch. It needs
  `tf.local_variables_initializer()` once the global step has its value.

  Args:
    augment: what `parse` returned.
    max_steps: steps of the whole training; None: strengths keep their first value.
    steps_per_batch: how far the global step moves while this input makes one batch.

  Returns:
    A float32 scalar, 0 to 1; 0.0 where no strength changes.
  """
  changing = [(name, strength) for name, strength in augment if isinstance(strength, Change)]
  if not changing or not max_steps:
    return 0.0
  # The global step lags behind the queues by an amount that varies. With a count of batches, every
  # run with one seed makes the same batches, and that of step n for step n.
  step = tf.train.get_or_create_global_step()
  count = tf.Variable(lambda: tf.cast(step, tf.float64) / steps_per_batch, name='batches_made',
                      trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES])
  now, counted = [tf.cast(batches * (steps_per_batch / max_steps), tf.float32)
                  for batches in (count, count.assign_add(1) - 1)]
  for name, strength in changing:
    for number in strength_at(name, strength, now):
      tf.summary.scalar(name, number)
  return counted


def centre(images, size=IMAGE_SIZE):
  """Cuts the central square out of each picture: [B, H, W, C] to [B, size, size, C]."""
  top, left = (images.shape[1] - size) // 2, (images.shape[2] - size) // 2
  return images[:, top:top + size, left:left + size]


def distort_levels(images, augment, size=IMAGE_SIZE, progress=0.0):
  """Distorts pictures and returns grey levels; `distort` then standardises them.

  Args:
    images: uint8 [B, H, W, 3].
    augment: distortions from `parse`. All geometric ones resample once, together. The others follow
      in the given order.
    size: height and width of the result, pixels.
    progress: share of the training steps that are done, for strengths that change: a float or a
      float32 scalar, 0 to 1.

  Returns:
    float32 [B, size, size, 3], grey levels. Contrast, colour and noise may leave 0..255.
  """
  augment = [(name, strength_at(name, strength, progress)) for name, strength in augment]
  geometric = [(KINDS[name], strength) for name, strength in augment if KINDS[name].matrices]
  if geometric:
    count = tf.shape(images)[0]
    drawn = [kind.matrices(count, *strength) for kind, strength in geometric]
    smooth = any(kind.smooth for kind, _ in geometric)
    images = tf.cast(images, tf.float32) if smooth else images
    matrices = functools.reduce(tf.linalg.matmul, drawn)
    images = distortions.warp(images, matrices, [size, size], smooth)
  else:
    images = centre(images, size)
  images = tf.cast(images, tf.float32)
  for name, strength in augment:
    if KINDS[name].colour:
      images = KINDS[name].colour(images, *strength)
  return images


def distort(images, augment=TUTORIAL, size=IMAGE_SIZE, progress=0.0):
  """Distorts and standardises pictures for training; takes the arguments of `distort_levels`.

  Returns:
    float32 [B, size, size, 3], each picture with mean 0 and variance 1.
  """
  return distortions.standardise(distort_levels(images, augment, size, progress))


def shrink(image, size):
  """Resizes a picture of any size to the size of the data set's pictures.

  Args:
    image: uint8 [H, W, C].
    size: height and width of the result, pixels.

  Returns:
    uint8 [size, size, C]: the largest central square. Each pixel is the mean of the area that it
    covers. A picture of [size, size, C] is returned unchanged.
  """
  height, width, depth = tf.unstack(tf.shape(image))
  side = tf.minimum(height, width)
  top, left = (height - side) // 2, (width - side) // 2
  square = image[top:top + side, left:left + side]
  shrunk = tf.image.resize_area([square], [size, size])[0]
  return tf.reshape(tf.saturate_cast(tf.round(shrunk), tf.uint8), [size, size, depth])


def views(images, count=1, size=IMAGE_SIZE):
  """Cuts several views out of each picture, so that predictions can be averaged over them.

  Args:
    images: uint8 [B, H, W, C].
    count: number of views, one of VIEWS. 1: the centre. 2: the centre and its mirror image. 10: the
      centre, the four corners and their mirror images. 18: a grid of 3x3 and its mirror images.
    size: height and width of a view, pixels.

  Returns:
    uint8 [count * B, size, size, C]: the first view of all pictures, then the second, and so on.

  Raises:
    KeyError: `count` is not in VIEWS.
  """
  down, across = images.shape[1] - size, images.shape[2] - size  # largest offsets, pixels
  middle = (down // 2, across // 2)
  corners = [(top, left) for top in (0, down) for left in (0, across)]
  grid = [(top, left) for top in (0, down // 2, down) for left in (0, across // 2, across)]
  places = {1: [middle], 2: [middle], 10: [middle] + corners, 18: grid}[count]
  cut = [images[:, top:top + size, left:left + size] for top, left in places]
  if count > 1:
    cut += [view[:, :, ::-1] for view in cut]
  return tf.concat(cut, axis=0)


def evaluate(images, size=IMAGE_SIZE, count=1):
  """Prepares pictures for evaluation and prediction: views, standardised, without random draws.

  Args:
    images: uint8 [B, H, W, C].
    size: height and width of the result, pixels.
    count: number of views of each picture, as for `views`.

  Returns:
    float32 [count * B, size, size, C], each picture with mean 0 and variance 1.
  """
  return distortions.standardise(tf.cast(views(images, count, size), tf.float32))
