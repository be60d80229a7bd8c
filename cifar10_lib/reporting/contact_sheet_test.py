"""Tests for contact_sheet: pictures stand in their class's row, unchanged but for the zoom."""
import os
import subprocess
import sys

import numpy as np

from cifar10_lib.common.tf1 import tf
from cifar10_lib.reporting import contact_sheet
from tests import pictures


class ContactSheetTest(tf.test.TestCase):

  def testMatplotlibDoesNotReportItsCache(self):
    """As for a user whose home directory is not there, or cannot be written."""
    code = ('from cifar10_lib.reporting import contact_sheet; import matplotlib; '
            'print(matplotlib.get_configdir() is None)')
    missing = os.path.join(os.path.abspath(__file__), 'home')  # below a file
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True,
                          env=dict(os.environ, MPLCONFIGDIR=missing))
    self.assertEqual((done.stdout, done.stderr), ('False\n', ''))

  def cells(self, names, of_class, zoom):
    """Draws a sheet; returns its names' part, and the cells uint8 [K, COLUMNS, S, S, 3]."""
    sheet = np.asarray(contact_sheet.draw(names, of_class))
    cell = 32 * zoom + 2
    left = sheet.shape[1] - 12 * cell
    grid = sheet[:, left:].reshape(len(names), cell, 12, cell, 3).swapaxes(1, 2)
    self.assertAllEqual(grid[:, :, -2:], np.full_like(grid[:, :, -2:], 255))
    return sheet[:, :left], grid[:, :, :cell - 2, :cell - 2]

  def testPicturesStandInTheirRows(self):
    drawn = [pictures.random_pictures(count, seed=count) for count in (12, 3, 20)]
    _, cells = self.cells(['cat', 'dog', 'fox'], drawn, 3)
    for row, of_class in enumerate(drawn):
      for column in range(12):
        if column < len(of_class):
          self.assertAllEqual(cells[row, column], of_class[column].repeat(3, 0).repeat(3, 1))
        else:
          self.assertAllEqual(cells[row, column], np.full([96, 96, 3], 255))

  def testNamesStandInTheirRows(self):
    drawn = [pictures.random_pictures(1)] * 2
    names, _ = self.cells(['cat', 'horse'], drawn, 3)
    cat, horse = (names[top:top + 98] for top in (0, 98))
    for row in cat, horse:
      self.assertLess(row.min(), 64)  # black on white
    self.assertGreater(np.count_nonzero(horse < 128), np.count_nonzero(cat < 128))
    # What the font lacks is drawn as boxes; dollar signs and line breaks have no meaning.
    long, _ = self.cells(['中文 $x$ 100%', 'W' * 50], drawn, 3)
    self.assertGreater(long.shape[1], 400)
    self.assertLess(long.shape[1], 1000)

  def testAllClassesFitIntoASaneHeight(self):
    drawn = [pictures.random_pictures(2, seed=label) for label in range(256)]
    _, cells = self.cells(['class %d' % label for label in range(256)], drawn, 1)
    self.assertAllEqual(cells[:, :2], np.stack(drawn))


if __name__ == '__main__':
  tf.test.main()
