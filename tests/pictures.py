"""Makes pictures for tests of distortions and folders of them, and reference results with NumPy."""
import math
import os

import numpy as np
from PIL import Image
from scipy import ndimage

from cifar10_lib.common.tf1 import tf

MANY = 2000  # number of pictures for statistics of random draws


def random_pictures(count, size=32, seed=0):
  """Returns pictures of independent random values, uint8 [count, size, size, 3]."""
  return np.random.RandomState(seed).randint(0, 256, (count, size, size, 3)).astype(np.uint8)


def write_pngs(folder, pictures):
  """Writes pictures, uint8 [M, H, W, 3], to folder/0.png, folder/1.png and so on."""
  os.makedirs(folder, exist_ok=True)
  for number, picture in enumerate(pictures):
    Image.fromarray(picture).save(os.path.join(folder, '%d.png' % number))


def smooth_pictures(count, size=32, seed=0):
  """Returns pictures without edges, float32 [count, size, size, 3], 0 to 255.

  All methods of interpolation agree on such pictures.
  """
  noise = np.random.RandomState(seed).uniform(0, 255, (count, size, size, 3))
  smooth = ndimage.gaussian_filter(noise, (0, 3, 3, 0), mode='reflect')
  low, high = smooth.min(), smooth.max()
  return ((smooth - low) / (high - low) * 255).astype(np.float32)


def ramp_pictures(count, size=32):
  """Returns uint8 pictures whose red is the column and whose green is the row of each pixel."""
  rows, columns = np.mgrid[:size, :size]
  ramp = np.stack([columns, rows, 0 * rows], axis=2).astype(np.uint8)
  return np.broadcast_to(ramp, [count, size, size, 3]).copy()


def run(function, *arrays, seed=1):
  """Evaluates a function of tensors on arrays, in a new graph."""
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(seed)
    return session.run(function(*map(tf.constant, arrays)))


def moved(picture, x, y, mode):
  """Shifts a picture: pixel [i + y, j + x] moves to [i, j]. `mode` is the border mode of np.pad."""
  size, margin = len(picture), 3 * len(picture)
  padded = np.pad(picture, [(margin, margin), (margin, margin), (0, 0)], mode=mode)
  return padded[margin + y:margin + size + y, margin + x:margin + size + x]


def sampled(picture, matrix, size, mode):
  """Resamples a picture [S, S, C] through a matrix [3, 3], with SciPy's linear interpolation."""
  at = np.arange(size) - (size - 1) / 2
  x, y = np.meshgrid(at, at)
  points = matrix @ np.stack([x.ravel(), y.ravel(), np.ones(size * size)])
  rows_columns = points[1::-1] + (len(picture) - 1) / 2
  channels = [ndimage.map_coordinates(channel, rows_columns, order=1, mode=mode)
              for channel in np.moveaxis(picture.astype(np.float64), 2, 0)]
  return np.stack(channels, axis=1).reshape(size, size, -1)


def fit(candidates, error, pictures, distorted):
  """Finds the random draw behind each distorted picture: the candidate with the smallest error.

  Args:
    candidates: list of possible draws.
    error: function of a draw, a picture and its distorted copy; returns a float.
    pictures: the originals.
    distorted: their distorted copies, in the same order.

  Returns:
    The list of draws and the list of their errors.
  """
  pairs = list(zip(pictures, distorted, strict=True))
  draws = [min(candidates, key=lambda draw, pair=pair: error(draw, *pair)) for pair in pairs]
  return draws, [error(draw, *pair) for draw, pair in zip(draws, pairs, strict=True)]


class DrawsTest(tf.test.TestCase):
  """Base class with a check of random draws."""

  def assertUniform(self, draws, low, high):
    """Asserts that MANY draws are uniform from `low` to `high`, and uncorrelated."""
    self.assertLen(draws, MANY)
    middle, half = (low + high) / 2, (high - low) / 2
    scaled = (draws - middle) / half  # -1..1
    self.assertAllInRange(scaled, -1.001, 1.001)
    self.assertLess(scaled.min(), -0.98)
    self.assertGreater(scaled.max(), 0.98)
    self.assertNear(scaled.mean(), 0, 0.06)  # standard error 0.013
    self.assertNear(scaled.std(), 1 / math.sqrt(3), 0.03)
    self.assertLess(abs(np.corrcoef(scaled[1:], scaled[:-1])[0, 1]), 0.1)  # standard error 0.022
