"""Draws a small data set in the files of CIFAR-10: ten kinds of shape, not ten kinds of thing.

For trying the programs out where CIFAR-10 cannot be fetched. It is learnt in minutes, and the
numbers reached on it say nothing about CIFAR-10.

Every picture has its own place, size, tilt, colours, background and noise. The kinds stay apart
under what training does to a picture: a crop, a left-right flip, other brightness and contrast.
The arithmetic is +, -, *, / and sqrt element by element, which IEEE 754 rounds in one way only, and
RandomState's stream is frozen by NumPy's policy: a seed gives the same bytes everywhere.
"""
import math
import os

import numpy as np

from cifar10_lib.dataset import download
from cifar10_lib.common.programs import Failure

SIDE = 32            # pixels
RADIUS = (6.0, 9.0)  # pixels from a shape's centre to about its rim
INNER = 11.0         # pixels from the picture's centre that a shape keeps within: the crop shows 12
TILT = 0.13          # tangent of half the steepest tilt, 15 degrees
TINT = 32            # levels of 255 that a channel of the background is off its grey at most
SHADE = 32           # levels of 255 that the background's gradient adds or takes off at the edge
PATCH = 48           # levels of 255 that each of its 8x8 patches adds at most
NOISE = 64           # levels of 255 that noise adds or takes off at most

# What is_sample looks for.
MARKER = '<meta name="cifar10-sample" content="drawn shapes">'
README = MARKER + '''
<title>Not CIFAR-10</title>
<p>This is a SAMPLE data set of drawn shapes in the files of CIFAR-10, made to
try the programs out. It is not CIFAR-10, and no result on it is a result on CIFAR-10.
'''


# The shapes. Each function takes coordinates x (to the right) and y (down), arrays of one shape, in
# units of the radius, and returns how far outside the shape each point is (inside: negative).

def _box(x, y, left, right, top, bottom):
  return np.maximum(np.maximum(left - x, x - right), np.maximum(top - y, y - bottom))


def _sides(x, y, count, inner):
  """Distances [count, ...] to the sides of a regular polygon that stands on one, `inner` away."""
  turns = [2 * math.pi * i / count for i in range(count)]
  return np.stack([np.float32(math.sin(t)) * x + np.float32(math.cos(t)) * y - inner
                   for t in turns])


def _circle(x, y):
  return np.sqrt(x * x + y * y) - 0.9


def _ring(x, y):
  return np.abs(np.sqrt(x * x + y * y) - 0.75) - 0.2


def _square(x, y):
  return _box(x, y, -0.8, 0.8, -0.8, 0.8)


def _triangle(x, y):
  return _sides(x, y, 3, 0.5).max(axis=0)


def _diamond(x, y):
  return (np.abs(x) + np.abs(y) - 1) * np.float32(math.sqrt(0.5))


def _star(x, y):
  # A point of a pentagram is outside of one side of its inner pentagon at most.
  return np.sort(_sides(x, -y, 5, 0.35), axis=0)[-2]


def _cross(x, y):
  return np.minimum(_box(x, y, -0.9, 0.9, -0.28, 0.28), _box(x, y, -0.28, 0.28, -0.9, 0.9))


def _tee(x, y):
  return np.minimum(_box(x, y, -0.85, 0.85, -0.85, -0.35), _box(x, y, -0.25, 0.25, -0.85, 0.85))


def _stripes(x, y):
  return _box(x, np.minimum(np.abs(y), np.abs(np.abs(y) - 0.7)), -0.9, 0.9, -0.2, 0.2)


def _checker(x, y):
  # Two quarters of a square, up left and down right, or in the mirror the other two.
  return np.maximum(_square(x, y), np.minimum(np.maximum(x, y), np.maximum(-x, -y)))


KINDS = {'circle': _circle, 'ring': _ring, 'square': _square, 'triangle': _triangle,
         'diamond': _diamond, 'star': _star, 'cross': _cross, 'tee': _tee, 'stripes': _stripes,
         'checker': _checker}


# The pictures.

def _uniform(random, low, high, *shape):
  return random.uniform(low, high, shape).astype(np.float32)


def _coverage(random, labels):
  """How much of each pixel [N, 32, 32] the shape covers, 0..1; smooth at the rim."""
  n = len(labels)
  radius = _uniform(random, *RADIUS, n, 1, 1)
  centre_x, centre_y = (INNER - radius) * _uniform(random, -1, 1, 2, n, 1, 1)  # [N, 1, 1] each
  tangent = _uniform(random, -TILT, TILT, n, 1, 1)  # of half the tilt: no sine or cosine needed
  cos = (1 - tangent * tangent) / (1 + tangent * tangent)
  sin = 2 * tangent / (1 + tangent * tangent)
  pixel = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2  # [32], 0 in the middle
  across = pixel[None, None, :] - centre_x  # [N, 1, 32]
  down = pixel[None, :, None] - centre_y    # [N, 32, 1]
  x = (cos * across + sin * down) / radius  # [N, 32, 32]
  y = (cos * down - sin * across) / radius  # [N, 32, 32]
  outside = np.empty_like(x)
  for label, kind in enumerate(KINDS.values()):
    mine = labels == label
    outside[mine] = kind(x[mine], y[mine])
  return np.clip(0.5 - outside * radius, 0, 1)


def _draw(random, labels):
  """Returns pictures [N, 3, 32, 32], uint8, of the kinds that `labels` [N] say."""
  n = len(labels)
  cover = _coverage(random, labels)[:, None]  # [N, 1, 32, 32]
  grey = random.randint(64, 192, (n, 1, 1, 1))
  ground = grey + random.randint(-TINT, TINT + 1, (n, 3, 1, 1))
  # Halfway round the circle of 256 levels, give or take: in each channel at least 64 levels apart.
  figure = (ground + 128 + random.randint(-64, 65, ground.shape)) % 256
  slope = np.linspace(-1, 1, SIDE, dtype=np.float32)
  shade = (_uniform(random, -SHADE, SHADE, n, 3, 1, 1) * slope[:, None]
           + _uniform(random, -SHADE, SHADE, n, 3, 1, 1) * slope)   # [N, 3, 32, 32]
  patches = random.randint(0, PATCH + 1, (n, 3, 4, 4)).repeat(8, axis=2).repeat(8, axis=3)
  noise = random.randint(-NOISE, NOISE + 1, (n, 3, SIDE, SIDE), dtype=np.int8)
  back = ground.astype(np.float32) + shade + patches.astype(np.float32)
  picture = back + cover * (figure.astype(np.float32) - back) + noise
  return np.clip(picture, 0, 255).astype(np.uint8)


def _write_records(path, random, labels):
  pictures = _draw(random, labels).reshape(len(labels), -1)  # [N, 3072]
  np.hstack([labels[:, None], pictures]).tofile(path)        # [N, 3073]


def _shuffled_labels(random, count):
  return random.permutation(np.arange(count) % len(KINDS)).astype(np.uint8)  # [count]


def _fill(directory, train_examples, test_examples, random):
  if train_examples < 5 or test_examples < 1:
    raise ValueError('%d + %d records leave a file empty' % (train_examples, test_examples))
  if os.path.lexists(directory):
    raise Failure('%s is there and is no drawn sample; choose another --data_dir for one.'
                  % directory)
  labels = np.array_split(_shuffled_labels(random, train_examples), 5)
  labels.append(_shuffled_labels(random, test_examples))
  with download.replacing(directory) as unfinished:
    for name, part in zip(download.BIN_FILES, labels, strict=True):
      _write_records(os.path.join(unfinished, name), random, part)
    for name, text in ((download.META_FILE, '\n'.join(KINDS) + '\n'),
                       (download.README_FILE, README)):
      with open(os.path.join(unfinished, name), 'w', encoding='utf-8') as file:
        file.write(text)


def is_sample(directory):
  """Tells whether `directory`, a path of a cifar-10-batches-bin, holds a drawn sample (bool)."""
  path = os.path.join(directory, download.README_FILE)
  if not os.path.isfile(path):
    return False
  with open(path, encoding='utf-8', errors='replace') as file:
    return MARKER in file.read()


def make_sample(data_dir, train_examples=10000, test_examples=2000, seed=0):
  """Draws the sample data set into `data_dir`, unless it is there already.

  Args:
    data_dir: directory to fill; made if need be.
    train_examples: number of records in the five training files together, at least 5.
    test_examples: number of records in test_batch.bin, at least 1.
    seed: int; the same one gives the same bytes.

  Returns:
    The path of DATA_DIR/cifar-10-batches-bin.

  Raises:
    Failure: if other data is there, or the directory cannot be written to.
    ValueError: if there are too few records.
  """
  directory = os.path.join(data_dir, download.DIRECTORY)
  if not is_sample(directory):
    with download.locked(data_dir):
      if not is_sample(directory):  # or another program drew it while we waited
        _fill(directory, train_examples, test_examples, np.random.RandomState(seed))
  download.check_data(directory)
  return directory
