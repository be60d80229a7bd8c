"""Draws a contact sheet: some pictures of each class of a data set, in one PNG file."""
import os

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLUMNS = 12  # pictures of a class
MAX_HEIGHT = 9000  # pixels; 256 classes have 8704
MAX_ZOOM = 3  # each pixel is drawn as a square of up to 3 x 3 pixels
GAP = 2  # pixels between pictures
MARGIN = 6  # pixels left and right of a name
MAX_FONT = 14  # pixels
BACKGROUND, TEXT = (255, 255, 255), (0, 0, 0)


def _font(size):
  """Returns the font that matplotlib brings; it covers Latin, Greek, Cyrillic and Arabic."""
  import matplotlib  # imported here: only drawings need it
  return ImageFont.truetype(
      os.path.join(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'), size)


def draw(names, pictures):
  """Draws a row for each class: label and name, then its pictures.

  The font shows a character that it lacks, such as a Chinese one, as a box. The label tells which
  class it is.

  Args:
    names: list of str [K], the classes by label.
    pictures: list of uint8 [M, S, S, 3] arrays, M up to COLUMNS, one for each class.

  Returns:
    A Pillow image of at most 9,000 pixels in height and about 1,900 in width.
  """
  side = pictures[0].shape[1]
  zoom = max(1, min(MAX_ZOOM, MAX_HEIGHT // (len(names) * (side + GAP))))
  cell = side * zoom + GAP
  font = _font(min(MAX_FONT, cell // 2))
  titles = ['%d  %s' % pair for pair in enumerate(names)]
  left = round(max(map(font.getlength, titles))) + 2 * MARGIN
  sheet = np.full([len(names) * cell, left + COLUMNS * cell, 3], BACKGROUND, np.uint8)
  for row, of_class in enumerate(pictures):
    enlarged = of_class[:COLUMNS].repeat(zoom, 1).repeat(zoom, 2)
    for column, picture in enumerate(enlarged):
      top, start = row * cell, left + column * cell
      sheet[top:top + cell - GAP, start:start + cell - GAP] = picture
  image = Image.fromarray(sheet)
  canvas = ImageDraw.Draw(image)
  for row, title in enumerate(titles):
    canvas.text((MARGIN, row * cell + (cell - GAP) // 2), title, TEXT, font, anchor='lm')
  return image
