"""Draws a small data set of ten kinds of shape in the format of CIFAR-10.

It serves to try the programs where CIFAR-10 cannot be fetched. A network learns it in minutes.
Results on it say nothing about CIFAR-10.

Every picture has its own place, size, tilt, colours, background and noise. The kinds remain
distinct under the distortions of training: crop, left-right flip, brightness and contrast.

A seed gives the same bytes on every machine. The arithmetic is elementwise +, -, *, / and sqrt,
which IEEE 754 rounds in one way only. NumPy's policy freezes RandomState's stream.
"""
import math
import os
import pathlib

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.dataset import archive, locking, picture_files, records

SIDE = 32            # pixels; height and width of a picture
RADIUS = (6.0, 9.0)  # pixels; least and greatest radius of a shape
INNER = 11.0         # pixels; shapes stay this close to the picture's centre. The crop shows 12.
TILT = 0.13          # tangent of half the largest tilt, which is 15 degrees
# Largest changes, in levels of 255.
TINT = 32            # between a background channel and the background's grey
SHADE = 32           # of the background's brightness gradient, at the edge
PATCH = 48           # of each 8x8 patch of the background
NOISE = 64           # of each value, up or down

# `is_sample` searches readme.html for this text.
MARKER = '<meta name="cifar10-sample" content="drawn shapes">'
README = MARKER + '''
<title>Not CIFAR-10</title>
<p>This is a SAMPLE data set of drawn shapes in the files of CIFAR-10, made to try the programs out.
It is not CIFAR-10, and no result on it is a result on CIFAR-10.</p>
'''


def _box(x, y, left, right, top, bottom):
  return np.maximum(np.maximum(left - x, x - right), np.maximum(top - y, y - bottom))


def _sides(x, y, count, inner):
  """Returns distances [count, ...] to the sides, `inner` from the centre, of a regular polygon."""
  turns = [2 * math.pi * i / count for i in range(count)]  # the polygon stands on the first side
  return np.stack([np.float32(math.sin(t)) * x + np.float32(math.cos(t)) * y - inner
                   for t in turns])


# The shapes by name. Each function takes arrays of coordinates, x to the right and y down, in units
# of the radius. It returns each point's distance from the shape, negative inside.
KINDS = {
    'circle': lambda x, y: np.sqrt(x * x + y * y) - 0.9,
    'ring': lambda x, y: np.abs(np.sqrt(x * x + y * y) - 0.75) - 0.2,
    'square': lambda x, y: _box(x, y, -0.8, 0.8, -0.8, 0.8),
    'triangle': lambda x, y: _sides(x, y, 3, 0.5).max(axis=0),
    'diamond': lambda x, y: (np.abs(x) + np.abs(y) - 1) * np.float32(math.sqrt(0.5)),
    # A point of a pentagram lies outside at most one side of its inner pentagon.
    'star': lambda x, y: np.sort(_sides(x, -y, 5, 0.35), axis=0)[-2],
    'cross': lambda x, y: np.minimum(_box(x, y, -0.9, 0.9, -0.28, 0.28),
                                     _box(x, y, -0.28, 0.28, -0.9, 0.9)),
    'tee': lambda x, y: np.minimum(_box(x, y, -0.85, 0.85, -0.85, -0.35),
                                   _box(x, y, -0.25, 0.25, -0.85, 0.85)),
    'stripes': lambda x, y: _box(x, np.minimum(np.abs(y), np.abs(np.abs(y) - 0.7)),
                                 -0.9, 0.9, -0.2, 0.2),
    # Two quarters of a square: top left and bottom right. A flip gives the other two.
    'checker': lambda x, y: np.maximum(_box(x, y, -0.8, 0.8, -0.8, 0.8),
                                       np.minimum(np.maximum(x, y), np.maximum(-x, -y))),
}


def _uniform(random, low, high, *shape):
  return random.uniform(low, high, shape).astype(np.float32)


def _coverage(random, labels):
  """Returns the share of each pixel that its shape covers: float32 [N, 32, 32], 0..1."""
  n = len(labels)
  radius = _uniform(random, *RADIUS, n, 1, 1)
  centre_x, centre_y = (INNER - radius) * _uniform(random, -1, 1, 2, n, 1, 1)  # [N, 1, 1] each
  tangent = _uniform(random, -TILT, TILT, n, 1, 1)  # of half the tilt; it gives sine and cosine
  cos = (1 - tangent * tangent) / (1 + tangent * tangent)
  sin = 2 * tangent / (1 + tangent * tangent)
  pixel = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2  # [32], 0 at the centre
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
  """Returns pictures, uint8 [N, 3, 32, 32], of the kinds that `labels`, uint8 [N], give."""
  n = len(labels)
  cover = _coverage(random, labels)[:, None]  # [N, 1, 32, 32]
  grey = random.randint(64, 192, (n, 1, 1, 1))
  ground = grey + random.randint(-TINT, TINT + 1, (n, 3, 1, 1))
  # Levels form a circle of 256. The figure lies about half a circle from the ground, so that they
  # differ by at least 64 levels in each channel.
  figure = (ground + 128 + random.randint(-64, 65, ground.shape)) % 256
  slope = np.linspace(-1, 1, SIDE, dtype=np.float32)
  shade = (_uniform(random, -SHADE, SHADE, n, 3, 1, 1) * slope[:, None]
           + _uniform(random, -SHADE, SHADE, n, 3, 1, 1) * slope)   # [N, 3, 32, 32]
  patches = random.randint(0, PATCH + 1, (n, 3, 4, 4)).repeat(8, axis=2).repeat(8, axis=3)
  noise = random.randint(-NOISE, NOISE + 1, (n, 3, SIDE, SIDE), dtype=np.int8)
  back = ground.astype(np.float32) + shade + patches.astype(np.float32)
  picture = back + cover * (figure.astype(np.float32) - back) + noise
  return np.clip(picture, 0, 255).astype(np.uint8)


def _shuffled_labels(random, count):
  """Returns labels, uint8 [count], in random order; counts of any two kinds differ by at most 1."""
  return random.permutation(np.arange(count) % len(KINDS)).astype(np.uint8)


def _fill(directory, train_examples, test_examples, random):
  """Writes the eight files of a sample into a new directory."""
  if train_examples < 5 or test_examples < 1:
    raise ValueError('%d + %d records leave a file empty' % (train_examples, test_examples))
  if os.path.lexists(directory):
    raise Failure('%s is there and is no drawn sample; choose another --data_dir for the sample.'
                  % directory)
  labels = np.array_split(_shuffled_labels(random, train_examples), 5)
  labels.append(_shuffled_labels(random, test_examples))
  need = (train_examples + test_examples) * records.RECORD_BYTES
  with archive.replacing(directory, need) as unfinished:
    folder = pathlib.Path(unfinished)
    for name, of_file in zip(records.BIN_FILES, labels, strict=True):
      pictures = _draw(random, of_file).reshape(len(of_file), -1)    # [N, 3072]
      content = np.hstack([of_file[:, None], pictures])  # [N, 3073]
      (folder / name).write_bytes(content.data)  # tofile would not say why it cannot write
    (folder / records.META_FILE).write_text('\n'.join(KINDS) + '\n', encoding='utf-8')
    (folder / records.README_FILE).write_text(README, encoding='utf-8')


def is_sample(directory):
  """Tells whether `directory`, a cifar-10-batches-bin directory, holds a drawn sample (bool)."""
  path = pathlib.Path(directory, records.README_FILE)
  return os.path.isfile(path) and MARKER in path.read_text(encoding='utf-8', errors='replace')


def describe(directory):
  """Returns what the data in a cifar-10-batches-bin directory is, as its readme.html says (str)."""
  return 'the sample data set of drawn shapes' if is_sample(directory) else records.title(directory)


def make_sample(data_dir, train_examples=10000, test_examples=2000, seed=0):
  """Draws the sample data set into `data_dir`, unless it is there already.

  Args:
    data_dir: directory to fill; made if necessary.
    train_examples: number of records in the five training files together, at least 5.
    test_examples: number of records in test_batch.bin, at least 1.
    seed: int; the same seed gives the same bytes.

  Returns:
    The path of DATA_DIR/cifar-10-batches-bin.

  Raises:
    Failure: other data is there, a file was changed, or the directory cannot be written.
    ValueError: a number of records is too small.
  """
  directory = os.path.join(data_dir, records.DIRECTORY)
  if not is_sample(directory):
    with locking.locked(data_dir):
      if not is_sample(directory):  # another program may have drawn it during the wait
        _fill(directory, train_examples, test_examples, np.random.RandomState(seed))
  records.check_data(directory)
  return directory


def draw_pictures(directory, count=3, seed=1):
  """Draws new pictures, each of another kind, into KIND.png files: pictures to recognise.

  Args:
    directory: directory to fill; made if necessary. A file of the same name is replaced.
    count: number of pictures, at most 10.
    seed: int; the sample data set of another seed holds other pictures.
  """
  random = np.random.RandomState(seed)
  labels = random.permutation(len(KINDS))[:count].astype(np.uint8)
  os.makedirs(directory, exist_ok=True)
  for label, picture in zip(labels, _draw(random, labels), strict=True):
    path = os.path.join(directory, list(KINDS)[label] + '.png')
    picture_files.write(path, picture.transpose(1, 2, 0))
