"""Tests of drawings: the texts and the size of each."""
import io
from unittest import mock

import numpy as np
from matplotlib import figure
from PIL import Image

from cifar10_lib.common.tf1 import tf
from cifar10_lib.reporting import drawings, report

NAMES = ['cat', 'dog', 'ship']


def _scores():
  probabilities = np.float32([[.7, .2, .1], [.1, .8, .1], [.3, .3, .4]])
  return report.Scores(7, np.int32([0, 0, 1]), np.log(probabilities))


class DrawingsTest(tf.test.TestCase):

  def _drawn(self, draw):
    """Returns the size of the PNG file that `draw()` returns, and its Axes."""
    drawn = []
    add_axes = figure.Figure.add_axes

    def keep(*arguments):
      drawn.append(add_axes(*arguments))
      return drawn[-1]
    with mock.patch.object(figure.Figure, 'add_axes', keep):
      png = draw()
    return Image.open(io.BytesIO(png)).size, drawn[0]

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

  def testNamesAreNoFormulas(self):
    names = ['$x_1', '$\\frac{', '$']
    pictures = np.zeros([1, 8, 8, 3], np.uint8)
    # matplotlib would raise an error for a broken formula.
    size, _ = self._drawn(lambda: drawings.confusion_matrix(_scores(), names))
    self.assertEqual(size, (700, 700))
    size, axes = self._drawn(lambda: drawings.mistakes(_scores(), names, pictures, [1]))
    self.assertIn(r'\$x_1', axes.texts[0].get_text())
    self.assertEqual(size[0], 750)

  def testNoMistakesDrawNothing(self):
    pictures = np.zeros([0, 4, 4, 3], np.uint8)
    size, axes = self._drawn(lambda: drawings.mistakes(_scores(), NAMES, pictures, []))
    self.assertEqual((size, len(axes.texts)), ((750, 165), 0))


if __name__ == '__main__':
  tf.test.main()
