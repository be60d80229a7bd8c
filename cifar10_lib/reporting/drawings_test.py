"""Tests of drawings: the texts and the size of each."""
import io
import warnings
from unittest import mock

import numpy as np
from matplotlib import figure, font_manager, rc_context
from PIL import Image

from cifar10_lib.common.tf1 import tf
from cifar10_lib.reporting import drawings, report

NAMES = ['cat', 'dog', 'ship']


def _scores():
  probabilities = np.float32([[.7, .2, .1], [.1, .8, .1], [.3, .3, .4]])
  return report.Scores(7, np.int32([0, 0, 1]), np.log(probabilities))


def _many(count):
  """Returns scores of 20,000 pictures of so many classes; half of them are predicted right."""
  random = np.random.RandomState(0)
  labels = np.arange(20000, dtype=np.int32) % count
  predicted = np.where(random.rand(20000) < 0.5, labels, random.randint(0, count, 20000))
  probabilities = 0.001 + 0.999 * np.eye(count, dtype=np.float32)[predicted]
  return report.Scores(7, labels, np.log(probabilities))


def _shown(labels):
  """Returns the texts of labels of an axis, without the escapes that matplotlib takes away."""
  return [label.get_text().replace(r'\$', '$') for label in labels]


class DrawingsTest(tf.test.TestCase):

  def _drawn(self, draw):
    """Returns the size of the PNG file that `draw()` returns, and its Axes.

    No warning is allowed: a successful run prints none.
    """
    drawn = []
    add_axes = figure.Figure.add_axes

    def keep(*arguments):
      drawn.append(add_axes(*arguments))
      return drawn[-1]
    with mock.patch.object(figure.Figure, 'add_axes', keep), warnings.catch_warnings():
      warnings.simplefilter('error')
      png = draw()
    self.assertLess(len(png), 300_000)
    return Image.open(io.BytesIO(png)).size, drawn[0]

  def testTheUsersStyleChangesNothing(self):
    plain = drawings.confusion_matrix(_scores(), NAMES)
    with rc_context({'figure.dpi': 80, 'axes.grid': True, 'font.size': 20}):
      self.assertEqual(drawings.confusion_matrix(_scores(), NAMES), plain)

  def testConfusionMatrixShowsCounts(self):
    size, axes = self._drawn(lambda: drawings.confusion_matrix(_scores(), NAMES))
    self.assertEqual(size, (700, 700))
    self.assertEqual((axes.get_xlabel(), axes.get_ylabel(), axes.get_title()),
                     ('predicted class', 'true class', 'step 7'))
    self.assertEqual([label.get_text() for label in axes.get_yticklabels()], NAMES)
    cells = {tuple(map(int, text.get_position()[::-1])): text.get_text() for text in axes.texts}
    self.assertEqual([cells[row, column] for row in range(3) for column in range(3)],
                     ['1', '1', '0', '0', '0', '1', '0', '0', '0'])

  def testMistakesShowClassesAndConfidence(self):
    pictures = np.zeros([2, 4, 4, 3], np.uint8)
    size, axes = self._drawn(lambda: drawings.mistakes(_scores(), NAMES, pictures, [1, 2]))
    self.assertEqual(size, (750, 165))
    self.assertEqual([text.get_text() for text in axes.texts],
                     ['#1 cat\npredicted dog 0.80', '#2 dog\npredicted ship 0.40'])

  def testTwentyClassesHaveNumbersInALargerDrawing(self):
    names = ['name %d' % i for i in range(20)]
    size, axes = self._drawn(lambda: drawings.confusion_matrix(_many(20), names))
    self.assertEqual((size, len(axes.texts)), ((1200, 1200), 400))
    self.assertEqual(_shown(axes.get_xticklabels()), names)
    self.assertAllClose(axes.images[0].get_array().sum(axis=1), np.ones(20))  # shares

  def testManyClassesHaveShadesAlone(self):
    scores = _many(100)
    names = ['name %d' % i for i in range(100)]
    size, axes = self._drawn(lambda: drawings.confusion_matrix(scores, names))
    self.assertEqual((size, len(axes.texts)), ((1200, 1200), 0))
    self.assertEqual(_shown(axes.get_yticklabels()), names)
    self.assertIn('square root', axes.get_title())
    self.assertAllClose(axes.images[0].get_array() ** 2, scores.confusion() / 200)

  def testEverySecondNameIsDrawnWhereThereIsNoRoomForAll(self):
    names = ['name %d' % i for i in range(256)]
    size, axes = self._drawn(lambda: drawings.confusion_matrix(_many(256), names))
    self.assertEqual((size, len(axes.texts)), ((1200, 1200), 0))
    for labels in axes.get_xticklabels(), axes.get_yticklabels():
      self.assertEqual(_shown(labels), names[::2])
      self.assertGreaterEqual(labels[0].get_fontsize(), drawings.LEAST_POINTS)

  def testLongNamesAreCutAndStayInTheDrawing(self):
    names = ['a dog of a very long name', 'W' * 50, 'short']
    _, axes = self._drawn(lambda: drawings.confusion_matrix(_scores(), names))
    labels = axes.get_yticklabels()
    self.assertEqual(_shown(labels), ['a dog of a very long na…', 'W' * 23 + '…', 'short'])
    self.assertGreater(labels[0].get_window_extent().x0, 0)
    pictures = np.zeros([1, 4, 4, 3], np.uint8)
    _, axes = self._drawn(lambda: drawings.mistakes(_scores(), names, pictures, [1]))
    self.assertEqual(axes.texts[0].get_text(),
                     '#1 a dog of a very long na…\npredicted %s… 0.80' % ('W' * 23))

  def testMistakesAreAsLargeAsTheirNames(self):
    """Kinds of one thing differ at the end of their names, so the captions need all of them."""
    names = ['automobile upside down', 'automobile turned left', 'a']
    pictures = np.zeros([2, 4, 4, 3], np.uint8)
    (width, height), axes = self._drawn(
        lambda: drawings.mistakes(_scores(), names, pictures, [1, 2]))
    self.assertBetween(width, 1000, 1200)
    self.assertAllClose(height, width * 1.1 / drawings.COLUMNS, atol=1)
    first, second = (text.get_window_extent() for text in axes.texts)
    self.assertGreater(first.x0, 0)
    self.assertLess(first.x1, second.x0)

  def testOtherScripts(self):
    """Fonts that lack a character give 'class 1'; an installed font that has it is used."""
    names = ['cat', '猫', '100% $x$ \U0001f600']
    with mock.patch.object(drawings, 'OTHER_FONTS', ()):
      _, axes = self._drawn(lambda: drawings.confusion_matrix(_scores(), names))
    self.assertEqual(_shown(axes.get_xticklabels())[:2], ['cat', 'class 1'])
    # DejaVu Serif stands for a font that the default lacks.
    installed = mock.patch.object(
        font_manager.fontManager, 'get_font_names', return_value=['DejaVu Serif', 'DejaVu Sans'])
    with installed, mock.patch.object(drawings, 'OTHER_FONTS', ('Nowhere', 'DejaVu Se')):
      _, axes = self._drawn(lambda: drawings.confusion_matrix(_scores(), ['é', 'a', 'b']))
    self.assertEqual(axes.get_xticklabels()[0].get_fontfamily(), ['sans-serif', 'DejaVu Serif'])

  def testNamesAreNoFormulas(self):
    names = ['$x_1', '$\\frac{$', '100% $']
    pictures = np.zeros([1, 8, 8, 3], np.uint8)
    # matplotlib would raise an error for a broken formula.
    size, axes = self._drawn(lambda: drawings.confusion_matrix(_scores(), names))
    self.assertEqual(size, (700, 700))
    self.assertEqual(_shown(axes.get_xticklabels()), names)
    size, axes = self._drawn(lambda: drawings.mistakes(_scores(), names, pictures, [1]))
    self.assertIn(r'\$x_1', axes.texts[0].get_text())
    self.assertEqual(size[0], 750)

  def testNoMistakesDrawNothing(self):
    pictures = np.zeros([0, 4, 4, 3], np.uint8)
    size, axes = self._drawn(lambda: drawings.mistakes(_scores(), NAMES, pictures, []))
    self.assertEqual((size, len(axes.texts)), ((750, 165), 0))


if __name__ == '__main__':
  tf.test.main()
