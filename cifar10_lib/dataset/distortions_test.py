"""Tests of the distortions, against numpy and scipy."""
import functools
import math

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import distortions
from tests import pictures as testing
from tests.pictures import MANY, random_pictures, run, smooth_pictures

NUMPY_BORDERS = {'REFLECT': 'symmetric', 'NEAREST': 'edge', 'WRAP': 'wrap', 'CONSTANT': 'constant'}


def warped(draw, smooth=False):
  """Returns a function that warps pictures by the matrices that `draw(count, strength)` returns."""
  def distortion(images, strength, border='REFLECT', size=None):
    matrices = draw(tf.shape(images)[0], strength)
    sides = [size, size] if size else images.shape[1:3]
    return distortions.warp(images, matrices, sides, smooth, border)
  return distortion


translate = warped(distortions.random_translation)
rotate = warped(distortions.random_rotation, smooth=True)
scale = warped(distortions.random_scaling, smooth=True)
flip_left_right = warped(distortions.random_horizontal_flip)
flip_up_down = warped(distortions.random_vertical_flip)


class GeometryTest(testing.DrawsTest):

  def testTranslateCopiesPixels(self):
    for border, mode in NUMPY_BORDERS.items():
      pictures = random_pictures(20)
      moved = run(lambda x, b=border: translate(x, 3, b), pictures)
      self.assertEqual(moved.dtype, np.uint8)
      for before, after in zip(pictures, moved, strict=True):
        places = [(x, y) for x in range(-3, 4) for y in range(-3, 4)
                  if np.array_equal(testing.moved(before, x, y, mode), after)]
        self.assertLen(places, 1, border)

  def testTranslateDrawsEveryPlaceForEachPicture(self):
    moved = run(lambda x: translate(x, 3, 'NEAREST'), testing.ramp_pictures(MANY))
    x, y = moved[:, 16, 16, 0].astype(int) - 16, moved[:, 16, 16, 1].astype(int) - 16
    counts = np.zeros([7, 7])
    np.add.at(counts, (x + 3, y + 3), 1)
    self.assertEqual(counts.sum(), MANY)
    self.assertGreater(counts.min(), MANY / 49 / 2)  # 41 expected, standard deviation 6.3
    self.assertLess(counts.max(), MANY / 49 * 2)
    self.assertLess(abs(np.corrcoef(x, y)[0, 1]), 0.1)
    self.assertLess(abs(np.corrcoef(x[1:], x[:-1])[0, 1]), 0.1)

  def testCropIsAWindowOfThePicture(self):
    pictures = random_pictures(50)
    crops = run(lambda x: translate(x, 4, size=24), pictures)
    self.assertEqual((crops.shape, crops.dtype), ((50, 24, 24, 3), np.uint8))
    found = set()
    for before, after in zip(pictures, crops, strict=True):
      places = [(y, x) for y in range(9) for x in range(9)
                if np.array_equal(before[y:y + 24, x:x + 24], after)]
      self.assertLen(places, 1)
      found.update(places)
    self.assertGreater(len(found), 20)

  def testCropOfAnySize(self):
    """Crops are windows of the picture, reflected at the border: by 4 pixels from size 25 up."""
    padded = np.pad(testing.ramp_pictures(1)[0], [(4, 4), (4, 4), (0, 0)], mode='symmetric')
    for size in 20, 24, 25, 28, 30:
      crops = run(lambda x, s=size: translate(x, 4, size=s), testing.ramp_pictures(900))
      places = range((32 - size) // 2, (32 - size) // 2 + 9)
      windows = {padded[y:y + size, x:x + size].tobytes() for y in places for x in places}
      self.assertTrue(windows == {crop.tobytes() for crop in crops}, size)

  def testFlips(self):
    pictures = random_pictures(MANY, size=4)
    for function, axis in (flip_left_right, 2), (flip_up_down, 1):
      for probability in 0.0, 0.5, 1.0:
        flipped = run(lambda x, f=function, p=probability: f(x, p), pictures)
        mirrored = np.all(flipped == np.flip(pictures, axis), axis=(1, 2, 3))
        same = np.all(flipped == pictures, axis=(1, 2, 3))
        self.assertAllEqual(mirrored, ~same)
        self.assertNear(mirrored.mean(), probability, 0.05)

  def testRotate(self):
    """scipy's rotation by the best angle differs by less than 2 grey levels."""
    pictures = smooth_pictures(6)
    turned = run(lambda x: rotate(x, 15.0), pictures)
    def error(angle, before, after):
      other = ndimage.rotate(before, angle, reshape=False, order=1, mode='reflect')
      return np.abs(other - after)[4:-4, 4:-4].max()
    angles, errors = testing.fit(np.arange(-15.5, 15.5, 0.125), error, pictures, turned)
    self.assertLess(max(errors), 2.0)
    self.assertGreater(np.ptp(angles), 5)

  def testScale(self):
    """scipy's affine map by the best factor differs by less than 2 grey levels."""
    pictures = smooth_pictures(6)
    scaled = run(lambda x: scale(x, 1.4), pictures)
    def error(factor, before, after):
      matrix = np.diag([1 / factor, 1 / factor, 1])
      offset = [15.5 - 15.5 / factor, 15.5 - 15.5 / factor, 0]
      other = ndimage.affine_transform(before, matrix, offset, order=1, mode='reflect')
      return np.abs(other - after)[6:-6, 6:-6].max()
    factors, errors = testing.fit(np.exp(np.arange(-0.35, 0.35, 0.004)), error, pictures, scaled)
    self.assertLess(max(errors), 2.0)
    self.assertGreater(max(factors) / min(factors), 1.1)

  def testDrawsOfRotateAndScale(self):
    """The matrices show the angles and factors that were drawn."""
    matrix = run(lambda n: distortions.random_rotation(n, 30.0), np.int32(MANY))
    self.assertUniform(np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])), -30, 30)
    matrix = run(lambda n: distortions.random_scaling(n, 1.5), np.int32(MANY))
    self.assertUniform(np.log(1 / matrix[:, 0, 0]), -math.log(1.5), math.log(1.5))

  def testBorders(self):
    """Moves far beyond the picture agree with numpy's padding."""
    pictures = random_pictures(3, size=8)
    for border, mode in NUMPY_BORDERS.items():
      for x, y in (0, 0), (3, -2), (8, -8), (-9, 17), (21, 5):
        matrices = np.tile(np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float32), [3, 1, 1])
        moved = run(lambda p, m, b=border: distortions.warp(p, m, [8, 8], False, b),
                    pictures, matrices)
        for before, after in zip(pictures, moved, strict=True):
          self.assertAllEqual(after, testing.moved(before, x, y, mode))
    with self.assertRaisesRegex(ValueError, "'MIRROR', but must be one of REFLECT"):
      translate(pictures, 1, 'MIRROR')

  def testWarpInterpolates(self):
    """Rotation, scaling and translation in one warp agree with scipy within 0.01 grey levels.

    The test leaves out WRAP, because TensorFlow's has a dark seam.
    """
    pictures = random_pictures(8).astype(np.float32)
    modes = {'REFLECT': 'reflect', 'NEAREST': 'nearest', 'CONSTANT': 'grid-constant'}
    for border, mode in modes.items():
      for size in 32, 24:
        def both(images, border=border, size=size):
          matrices = tf.linalg.matmul(distortions.random_rotation(8, 40.0), tf.linalg.matmul(
              distortions.random_scaling(8, 1.5), distortions.random_translation(8, 6)))
          return matrices, distortions.warp(images, matrices, [size, size], True, border)
        matrices, warped = run(both, pictures)
        for before, matrix, after in zip(pictures, matrices, warped, strict=True):
          self.assertAllClose(after, testing.sampled(before, matrix, size, mode), rtol=0, atol=0.01)

  def testComposedMovesEqualOneAfterAnother(self):
    """WRAP loses no pixel, so four warps in turn must equal one warp by the product."""
    pictures = random_pictures(30)
    def both(images):
      drawn = [distortions.random_translation(30, 4), distortions.random_horizontal_flip(30, 0.5),
               distortions.random_vertical_flip(30, 0.5), distortions.random_translation(30, 3)]
      turns = images
      for matrices in drawn:
        turns = distortions.warp(turns, matrices, [32, 32], False, 'WRAP')
      matrices = functools.reduce(tf.linalg.matmul, drawn)
      return distortions.warp(images, matrices, [32, 32], False, 'WRAP'), turns
    one, turns = run(both, pictures)
    self.assertAllEqual(one, turns)
    self.assertNotAllEqual(one, pictures)


class ColourTest(testing.DrawsTest):

  def testBrightness(self):
    pictures = random_pictures(MANY, 2).astype(np.float32)
    added = run(lambda x: distortions.brightness(x, 63.0), pictures) - pictures
    self.assertAllClose(added, np.broadcast_to(added[:, :1, :1, :1], added.shape), atol=1e-3)
    self.assertUniform(added[:, 0, 0, 0], -63, 63)

  def testBrightnessHasNoEffectWithContrastEither(self):
    """Contrast and saturation keep an added grey level, which standardising removes."""
    pictures = random_pictures(20).astype(np.float32)
    def finished(images):
      images = distortions.contrast(images, 1.6, 1.6)
      images = distortions.saturation(images, 0.7, 0.7)
      return distortions.standardise(images)
    brighter = run(lambda x: finished(distortions.brightness(x, 63.0)), pictures)
    self.assertAllClose(brighter, run(finished, pictures), atol=1e-4)

  def testContrast(self):
    pictures = random_pictures(MANY, 4).astype(np.float32)
    means = pictures.mean(axis=(1, 2), keepdims=True)
    stretched = run(lambda x: distortions.contrast(x, 0.2, 1.8), pictures)
    factor = (np.sum((stretched - means) * (pictures - means), axis=(1, 2, 3))
              / np.sum((pictures - means) ** 2, axis=(1, 2, 3)))
    self.assertAllClose(stretched, (pictures - means) * factor[:, None, None, None] + means,
                        atol=1e-2)
    self.assertUniform(factor, 0.2, 1.8)

  def testSaturation(self):
    pictures = random_pictures(5).astype(np.float32)
    grey = pictures @ np.array([0.299, 0.587, 0.114])
    self.assertAllClose(run(lambda x: distortions.saturation(x, 0.0, 0.0), pictures),
                        np.repeat(grey[..., None], 3, axis=3), atol=1e-2)
    doubled = run(lambda x: distortions.saturation(x, 2.0, 2.0), pictures)
    self.assertAllClose(doubled, 2 * pictures - grey[..., None], atol=1e-2)

  def testDrawsOfSaturationAndHue(self):
    """A red pixel shows the factor in its blue value, and the angle in its direction."""
    red = np.tile(np.array([200, 0, 0], np.float32), [MANY, 1, 1, 1])
    blue = run(lambda x: distortions.saturation(x, 0.5, 1.5), red)[:, 0, 0, 2]
    self.assertUniform(1 - blue / (0.299 * 200), 0.5, 1.5)
    turned = run(lambda x: distortions.hue(x, 18.0), red)[:, 0, 0]
    across = (turned[:, 1] - turned[:, 2]) / math.sqrt(2)
    along = (2 * turned[:, 0] - turned[:, 1] - turned[:, 2]) / math.sqrt(6)
    self.assertUniform(np.degrees(np.arctan2(across, along)), -18, 18)

  def testHueTurnsAboutTheGreys(self):
    pictures = random_pictures(8).astype(np.float32)
    turned = run(lambda x: distortions.hue(x, 40.0), pictures)
    def error(degrees, before, after):
      axis = np.ones(3) / math.sqrt(3)
      turn = Rotation.from_rotvec(math.radians(degrees) * axis).as_matrix()
      return np.abs(before @ turn.T - after).max()
    angles, errors = testing.fit(np.arange(-40, 40, 0.05), error, pictures, turned)
    self.assertLess(max(errors), 0.2)
    self.assertGreater(np.ptp(angles), 10)
    greys = np.repeat(pictures[..., :1], 3, axis=3)
    self.assertAllClose(run(lambda x: distortions.hue(x, 40.0), greys), greys, atol=1e-2)

  def testNoise(self):
    pictures = random_pictures(50).astype(np.float32)
    added = run(lambda x: distortions.noise(x, 8.0), pictures) - pictures
    self.assertNear(added.std(), 8.0, 0.1)
    self.assertNear(np.mean(np.abs(added) < 8), 0.6827, 0.01)  # one standard deviation
    self.assertNear(added.mean(), 0.0, 0.1)
    self.assertLess(abs(np.corrcoef(added[0].ravel(), added[1].ravel())[0, 1]), 0.1)

  def testCutout(self):
    pictures = random_pictures(200)
    covered = run(lambda x: distortions.cutout(x, 8.0), pictures)
    places = set()
    for before, after in zip(pictures, covered, strict=True):
      changed = np.any(before != after, axis=2)
      rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
      self.assertLessEqual(max(np.ptp(rows), np.ptp(columns)), 7)
      patch = after[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
      mean = np.round(before.mean(axis=(0, 1)))
      self.assertAllClose(patch, np.broadcast_to(mean, patch.shape), atol=1)
      self.assertAllEqual(before[~changed], after[~changed])
      places.add((rows[0], columns[0]))
    self.assertGreater(len(places), 100)


class MixupTest(tf.test.TestCase):

  def testPicturesAndLabelsAreMixedAlike(self):
    pictures = np.random.RandomState(0).normal(size=[7, 4, 5, 3]).astype(np.float32)
    labels = np.array([3, 0, 9, 1, 3, 3, 9], np.int32)  # the middle one is paired with itself
    one_hot = np.eye(10, dtype=np.float32)[labels]
    for seed in range(5):
      mixed, shares = run(lambda *batch: distortions.mixup(*batch, 0.7, 10), pictures, labels,
                          seed=seed)
      share = shares[1, 0]  # of the picture itself; the other picture has label 3
      self.assertBetween(share, 0.0, 1.0)
      self.assertAllClose(mixed, share * pictures + (1 - share) * pictures[::-1], atol=1e-6)
      self.assertAllClose(shares, share * one_hot + (1 - share) * one_hot[::-1], atol=1e-6)

  def testDraws(self):
    """Beta(alpha, alpha) has mean 1/2 and variance 1 / (8 alpha + 4)."""
    for alpha in 0.01, 0.2, 3.0:
      with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        _, shares = distortions.mixup(tf.zeros([2, 1, 1, 3]), tf.constant([0, 1]), alpha, 2)
        draws = np.array([session.run(shares)[0, 0] for _ in range(1000)])
      self.assertAllInRange(draws, 0.0, 1.0)
      self.assertNear(draws.mean(), 0.5, 0.06)  # standard error 0.016 at most
      self.assertNear(draws.var(), 1 / (8 * alpha + 4), 0.02)
      self.assertLess(abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]), 0.15)


class EachDistortionTest(tf.test.TestCase):

  FUNCTIONS = {
      'translate': (translate, [2], [0]),
      'rotate': (rotate, [15.0], [0.0]),
      'scale': (scale, [1.3], [1.0]),
      'flip_left_right': (flip_left_right, [0.5], [0.0]),
      'flip_up_down': (flip_up_down, [0.5], [0.0]),
      'brightness': (distortions.brightness, [63.0], [0.0]),
      'contrast': (distortions.contrast, [0.2, 1.8], [1.0, 1.0]),
      'saturation': (distortions.saturation, [0.2, 1.8], [1.0, 1.0]),
      'hue': (distortions.hue, [30.0], [0.0]),
      'noise': (distortions.noise, [9.0], [0.0]),
      'cutout': (distortions.cutout, [9.0], [0.0]),
  }

  def testDtypeShapeIdentityAndOwnDraws(self):
    same = np.broadcast_to(random_pictures(1), [16, 32, 32, 3])
    for name, (function, strength, zero) in self.FUNCTIONS.items():
      with self.subTest(name):
        for dtype in np.uint8, np.float32:
          pictures = same.astype(dtype)
          after = run(lambda x, f=function, s=strength: f(x, *s), pictures)
          self.assertEqual((after.dtype, after.shape), (pictures.dtype, pictures.shape))
          self.assertGreater(len({picture.tobytes() for picture in after}), 1)
          unchanged = run(lambda x, f=function, z=zero: f(x, *z), pictures)
          self.assertAllClose(unchanged, pictures, atol=1e-3 if dtype == np.float32 else 0)

  def testLevelsOfUint8StayInRange(self):
    """uint8 is rounded and saturated; float32 leaves 0..255."""
    pictures = random_pictures(8)
    exact = pictures.astype(np.float64) * 2.5 + (1 - 2.5) * pictures.mean((1, 2), keepdims=True)
    stretched = run(lambda x: distortions.contrast(x, 2.5, 2.5), pictures)
    self.assertAllClose(stretched, np.clip(exact, 0, 255), atol=0.501)
    beyond = run(lambda x: distortions.contrast(x, 2.5, 2.5), pictures.astype(np.float32))
    self.assertAllClose(beyond, exact, atol=1e-2)
    self.assertLess(beyond.min(), 0)
    self.assertGreater(beyond.max(), 255)


if __name__ == '__main__':
  tf.test.main()
