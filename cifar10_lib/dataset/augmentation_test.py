"""Tests of --augment, of strengths that change, and of what `distort` and `evaluate` return."""
import math

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import augmentation, distortions
from tests.pictures import ramp_pictures, random_pictures, run, smooth_pictures


class DistortTest(tf.test.TestCase):

  def testTutorialsPipeline(self):
    """Every result is a window of the picture, mirrored or not, with some contrast."""
    pictures = random_pictures(6)
    distorted = run(augmentation.distort, pictures)
    self.assertEqual(distorted.dtype, np.float32)
    mirrored = []
    for before, after in zip(pictures.astype(np.float64), distorted, strict=True):
      def error(place, before=before, after=after):
        y, x, step = place
        window = before[y:y + 24, x:x + 24][:, ::step]
        means = window.mean(axis=(0, 1))
        # After standardising: (x - mean of channel) * a + (mean of channel - mean) * b, a / b in
        # 0.2..1.8.
        basis = np.stack([(window - means).ravel(),
                          np.broadcast_to(means - means.mean(), window.shape).ravel()], axis=1)
        fit, *_ = np.linalg.lstsq(basis, after.ravel(), rcond=None)
        return np.abs(basis @ fit - after.ravel()).max(), fit[0] / fit[1]
      places = [(y, x, step) for y in range(9) for x in range(9) for step in (1, -1)]
      best = min(places, key=lambda place: error(place)[0])
      self.assertLess(error(best)[0], 1e-3)
      self.assertBetween(error(best)[1], 0.19, 1.81)
      mirrored.append(best[2])
      self.assertNear(after.mean(), 0, 1e-4)
      self.assertNear(after.std(), 1, 1e-3)
    self.assertLen(set(mirrored), 2)

  def testNoneIsTheCentre(self):
    pictures = random_pictures(5)
    centre = pictures[:, 4:28, 4:28].astype(np.float64)
    expected = ((centre - centre.mean(axis=(1, 2, 3), keepdims=True))
                / centre.std(axis=(1, 2, 3), keepdims=True))
    for function in (augmentation.evaluate,
                     lambda x: augmentation.distort(x, augmentation.parse('none'))):
      self.assertAllClose(run(function, pictures), expected, atol=1e-4)

  def testPictureOfOneColourBecomesZeros(self):
    pictures = np.full([2, 32, 32, 3], 77, np.uint8)
    self.assertAllEqual(run(augmentation.evaluate, pictures), np.zeros([2, 24, 24, 3]))

  def testStandardiseDividesByNoLessThanItsFloor(self):
    """The last two of four pictures have a stddev below the floor 1 / sqrt(24 * 24 * 3)."""
    pictures = np.stack([77 + scale * random_pictures(1, 24)[0] for scale in (1, 0.1, 1e-4, 1e-6)])
    mean = pictures.mean(axis=(1, 2, 3), keepdims=True)
    stddev = pictures.std(axis=(1, 2, 3), keepdims=True)
    self.assertAllEqual(stddev.ravel() < 1 / math.sqrt(1728), [False, False, True, True])
    expected = (pictures - mean) / np.maximum(stddev, 1 / math.sqrt(1728))
    after = run(distortions.standardise, pictures.astype(np.float32))
    self.assertAllClose(after, expected, rtol=0, atol=2e-3)

  def testBrightnessHasNoEffectBeforeStandardising(self):
    pictures = random_pictures(20)
    with_it, without = (
        run(lambda x, a=augment: augmentation.distort(x, augmentation.parse(a)), pictures)
        for augment in ('brightness:63', 'none'))
    self.assertAllClose(with_it, without, atol=1e-4)

  def testPure(self):
    """The graph gets no variable and no queue, and the uint8 input has no gradient."""
    with tf.Graph().as_default() as graph:
      pictures = tf.placeholder(tf.uint8, [None, 32, 32, 3])
      distorted = augmentation.distort(
          pictures, augmentation.parse(','.join(augmentation.KINDS)))
      self.assertEqual(distorted.shape.as_list(), [None, 24, 24, 3])
      self.assertEqual(tf.gradients(distorted, pictures), [None])
      self.assertEmpty(graph.get_all_collection_keys())

  def testDrawsFollowTheSeed(self):
    augment = augmentation.parse(','.join(augmentation.KINDS))
    runs = [run(lambda x: augmentation.distort(x, augment), random_pictures(4), seed=seed)
            for seed in (1, 1, 2)]
    self.assertAllEqual(runs[0], runs[1])
    self.assertNotAllClose(runs[0], runs[2])

  def testEveryListGivesStandardisedPictures(self):
    pictures = np.round(smooth_pictures(8)).astype(np.uint8)
    for text in list(augmentation.KINDS) + [','.join(augmentation.KINDS), 'crop,flip,colour']:
      after = run(lambda x, t=text: augmentation.distort(x, augmentation.parse(t)), pictures)
      self.assertEqual(after.shape, (8, 24, 24, 3))
      self.assertAllClose(after.mean(axis=(1, 2, 3)), np.zeros(8), atol=1e-3)
      self.assertAllClose(after.std(axis=(1, 2, 3)), np.ones(8), atol=1e-2)


class ChangeTest(tf.test.TestCase):

  def testPixelsShareTheStepsEvenly(self):
    for text, way in ('4..1', [4, 3, 2, 1]), ('0..3', [0, 1, 2, 3]), ('2..2', [2]):
      (_, strength), = augmentation.parse('crop:' + text)
      shown = run(lambda progress, s=strength: tf.stack(
          [augmentation.strength_at('crop', s, each)[0] for each in tf.unstack(progress)]),
                   (np.arange(12) / 12).astype(np.float32))
      self.assertEqual(shown.dtype, np.int32)
      self.assertAllEqual(shown, np.repeat(way, 12 // len(way)))

  def testOthersGoInALine(self):
    (_, strength), = augmentation.parse('contrast:0.2-1.8..0.6-1')
    for progress, low, high in (0.0, 0.2, 1.8), (0.25, 0.3, 1.6), (1.0, 0.6, 1.0), (1.5, 0.6, 1.0):
      self.assertAllClose(run(lambda x, s=strength: augmentation.strength_at('contrast', s, x),
                               np.float32(progress)), (low, high))

  def testWhatDoesNotChangeStaysAsItIs(self):
    for name, strength in augmentation.parse('crop:3,contrast:0.6-1.4'):
      self.assertIs(augmentation.strength_at(name, strength, 0.5), strength)

  def testCropMovesLess(self):
    augment = augmentation.parse('crop:4..1')
    for progress, pixels in (0.0, 4), (0.3, 3), (0.6, 2), (1.0, 1):
      levels = run(lambda x, p=progress: augmentation.distort_levels(x, augment, progress=p),
                    ramp_pictures(400))
      moved = levels[:, 0, 0, :2] - 4  # the centre is at 4
      self.assertAllEqual(np.unique(moved), np.arange(-pixels, pixels + 1))

  def testEveryKindCanFadeOut(self):
    """A last strength of zero, or a factor of one, leaves pictures unchanged."""
    pictures = np.broadcast_to(random_pictures(1), [16, 32, 32, 3])
    for name, kind in augmentation.KINDS.items():
      none = {'scale': '1', 'contrast': '1-1', 'saturation': '1-1'}.get(name, '0')
      augment = augmentation.parse('%s:%s..%s' % (
          name, '-'.join('%g' % number for number in kind.strength), none))
      begin, end = (run(lambda x, p=progress, a=augment: augmentation.distort_levels(
          x, a, 32, p), pictures) for progress in (0.0, 1.0))
      with self.subTest(name):
        self.assertGreater(len({picture.tobytes() for picture in begin}), 1)
        self.assertAllClose(end, pictures, atol=1e-3)


class ParseTest(tf.test.TestCase):

  def testList(self):
    self.assertEqual(augmentation.parse('crop, flip,colour,rotate:20'), (
        ('crop', (4,)), ('flip', (0.5,)), ('brightness', (63,)), ('contrast', (0.2, 1.8)),
        ('rotate', (20.0,))))
    self.assertEqual(augmentation.parse('contrast:0.6-1.4'), (('contrast', (0.6, 1.4)),))
    self.assertEqual(augmentation.parse('crop:4..1,contrast:0.2-1.8..1-1'), (
        ('crop', ((4,), (1,))), ('contrast', ((0.2, 1.8), (1, 1)))))
    self.assertEqual(augmentation.parse(' none'), ())
    self.assertEqual(augmentation.TUTORIAL, augmentation.parse('crop,flip,colour'))

  def testErrors(self):
    for text, message in (
        ('crop,twirl', "unknown distortion 'twirl'; known are colour, crop, translate, rotate"),
        ('crop,crop', 'crop is there twice'),
        ('colour,contrast', 'contrast is there twice'),
        ('rotate:much', "'much' is no strength of rotate; its default is rotate:15 .degrees"),
        ('contrast:1', "'1' is no strength of contrast; its default is contrast:0.2-1.8"),
        ('contrast:1.8-0.2', 'no strength of contrast'),
        ('translate:1.5', 'no strength of translate'),
        ('scale:0.5', 'no strength of scale'),
        ('flip:2', 'no strength of flip'),
        ('rotate:nan', "'nan' is no strength of rotate"),
        ('crop:inf', "'inf' is no strength of crop"),
        ('noise:1e30', "'1e30' is no strength of noise"),
        ('translate:-3', "'-3' is no strength of translate"),
        ('crop:4..', "'4..' is no strength of crop; its default is crop:4 .pixels"),
        ('crop:4..1.5', "'4..1.5' is no strength of crop"),
        ('crop:4..2..1', "'4..2..1' is no strength of crop"),
        ('contrast:0.2-1.8..1', "'0.2-1.8..1' is no strength of contrast"),
        ('crop,,flip', "unknown distortion ''"),
        ('none,crop', "unknown distortion 'none'"),
        ('colour:2', 'colour takes no strength; give brightness and contrast theirs'),
        ('', None)):
      if message:
        with self.assertRaisesRegex(Failure, message) as caught:
          augmentation.parse(text)
        self.assertNotIn('\n', str(caught.exception))
      else:
        self.assertEqual(augmentation.parse(text), ())

  def testDefaultsAreStrengthsAndKeepLabels(self):
    for name, kind in augmentation.KINDS.items():
      text = '%s:%s' % (name, '-'.join('%g' % number for number in kind.strength))
      self.assertEqual(augmentation.parse(text), augmentation.parse(name))
      self.assertTrue(kind.unit)
      self.assertStartsWith(kind.labels, 'kept')
    self.assertNotIn('flip_up_down', dict(augmentation.TUTORIAL))


class ViewsTest(tf.test.TestCase):

  def run_views(self, count):
    images = np.random.RandomState(0).randint(0, 256, [3, 32, 32, 3]).astype(np.uint8)
    with tf.Graph().as_default(), tf.Session() as session:
      return images, session.run(augmentation.views(tf.constant(images), count))

  def testPlaces(self):
    centre, corners = [(4, 4)], [(0, 0), (0, 8), (8, 0), (8, 8)]
    grid = [(top, left) for top in (0, 4, 8) for left in (0, 4, 8)]
    for count, places in (1, centre), (2, centre), (10, centre + corners), (18, grid):
      images, views = self.run_views(count)
      expected = [images[:, top:top + 24, left:left + 24] for top, left in places]
      if count > 1:
        expected += [view[:, :, ::-1] for view in expected]
      self.assertAllEqual(views, np.concatenate(expected))
      self.assertEqual(len(views), 3 * count)
      # All views differ.
      self.assertLen({view.tobytes() for view in views[::3]}, count)

  def testAnySize(self):
    """crop:0 and no distortion show the same centre, also if its size is odd."""
    images = random_pictures(3)
    for size in 20, 25, 28, 30:
      first, last = (32 - size) // 2, (32 - size) // 2 + size
      centre = images[:, first:last, first:last]
      for text in 'none', 'crop:0', 'crop:0,translate:0':
        levels = run(lambda x, t=text, s=size: augmentation.distort_levels(
            x, augmentation.parse(t), s), images)
        self.assertAllEqual(levels, centre)
      for text in 'flip:1', 'crop:0,flip:1':
        levels = run(lambda x, t=text, s=size: augmentation.distort_levels(
            x, augmentation.parse(t), s), images)
        self.assertAllEqual(levels, centre[:, :, ::-1])
      for count in augmentation.VIEWS:
        views = run(lambda x, c=count, s=size: augmentation.views(x, c, s), images)
        self.assertEqual(views.shape, (3 * count, size, size, 3))
        self.assertLen({view.tobytes() for view in views[::3]}, count)
      for text in 'crop,flip,colour', 'rotate,scale,crop':
        after = run(lambda x, t=text, s=size: augmentation.distort(
            x, augmentation.parse(t), s), images)
        self.assertEqual(after.shape, (3, size, size, 3))
        self.assertAllClose(after.std(axis=(1, 2, 3)), np.ones(3), atol=1e-2)

  def testNoOtherCounts(self):
    with tf.Graph().as_default(), self.assertRaises(KeyError):
      augmentation.views(tf.zeros([1, 32, 32, 3], tf.uint8), 3)


if __name__ == '__main__':
  tf.test.main()
