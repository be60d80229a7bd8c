"""Draws the confusion matrix and the worst mistakes as PNG files, returned as bytes.

`scores` is a report.Scores, `names` a list of str [K], the classes by label.
"""
import io

import numpy as np

from cifar10_lib.reporting import texts

COLUMNS = 5  # pictures in a row of the worst mistakes
DPI = 100  # pixels per inch
POINT = DPI / 72  # pixels; the unit of font sizes
LETTER = 0.6  # width of a letter, of its font size
FEW = 16  # classes; a confusion matrix of more is drawn larger
SMALL, LARGE = 7, 12  # inches
NUMBER_PIXELS = 35  # width of a cell that has room for its number: '1000' in 8 points takes 28
NAME_POINTS, LEAST_POINTS = 10, 5  # font size of names: at most, at least
LONGEST = 24  # columns of a name; a longer one is cut
PICTURE, CAPTION_POINTS = 1.5, 7  # inches for a mistake, at least; font size of its caption
# Families of fonts for characters that matplotlib's own fonts lack: the first one found serves.
OTHER_FONTS = ('Noto Sans CJK', 'Noto Serif CJK', 'WenQuanYi', 'Source Han', 'Droid Sans Fallback',
               'PingFang', 'Hiragino', 'Heiti', 'Microsoft YaHei', 'SimHei', 'SimSun', 'Yu Gothic',
               'Malgun Gothic', 'Arial Unicode MS')


def _png(inches, draw):
  """Returns the PNG file of a figure of (width, height) inches, filled by `draw(figure)`."""
  from matplotlib import style  # imported here: it takes 0.5 s, and only drawings need it
  from matplotlib.figure import Figure
  with style.context('default'), io.BytesIO() as file:  # whatever the user has set
    figure = Figure(figsize=inches)
    draw(figure)
    figure.savefig(file, format='png', dpi=DPI)
    return file.getvalue()


def _drawable(names, most):
  """Prepares names for matplotlib; returns them and the font families to draw them in.

  It cuts them to `most` columns, and takes care that no dollar sign starts a formula. A name with
  a character that no font has becomes 'class 3'; matplotlib would warn and draw a box.
  """
  from matplotlib import font_manager, rcParams
  families, known = list(rcParams['font.family']), set()
  if not all(map(str.isascii, names)):
    installed = sorted(font_manager.fontManager.get_font_names())
    families += [name for start in OTHER_FONTS for name in installed if name.startswith(start)][:1]
  for family in families:
    path = font_manager.findfont(font_manager.FontProperties(family=[family]))
    known |= font_manager.get_font(path).get_charmap().keys()
  drawn = [texts.cut(name, most) if all(ord(character) in known for character in name)
           else 'class %d' % label for label, name in enumerate(names)]
  return [name.replace('$', r'\$') for name in drawn], families


def confusion_matrix(scores, names):
  """Draws the confusion matrix: the shade of a cell is its share of the row, the true class.

  A cell also has its count, unless it is too small. Then the shade is the square root of the share,
  so that small shares can be seen. Where there is no room for all names, every second is drawn.
  """
  confusion = scores.confusion()
  share = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
  inches = SMALL if len(names) <= FEW else LARGE
  shown, families = _drawable(names, LONGEST)
  longest = max(map(texts.width, shown)) * NAME_POINTS * LETTER * POINT + 2 * NAME_POINTS  # pixels
  margin = max(0.15, longest / (inches * DPI))  # share of the figure, for the names
  cell = (0.95 - margin) * inches * DPI / len(names)  # pixels
  numbered = cell >= NUMBER_PIXELS
  every = int(np.ceil(LEAST_POINTS * POINT / cell))  # of which one has its name drawn
  text = dict(family=families, fontsize=min(NAME_POINTS, every * cell / POINT))
  places, shown = range(0, len(names), every), shown[::every]

  def draw(figure):
    axes = figure.add_axes((margin, margin, 0.97 - margin, 0.95 - margin))
    axes.imshow(share if numbered else np.sqrt(share), cmap='Blues', vmin=0, vmax=1,
                interpolation='nearest')
    turn = dict(rotation=45, ha='right') if cell >= 2 * NAME_POINTS else dict(rotation=90)
    axes.set_xticks(places, shown, **turn, **text)
    axes.set_yticks(places, shown, **text)
    note = '' if numbered else '; shade: square root of the share of the true class'
    axes.set(xlabel='predicted class', ylabel='true class',
             title='step %d%s' % (scores.step, note))
    for row, column in np.ndindex(confusion.shape) if numbered else ():
      axes.text(column, row, confusion[row, column], ha='center', va='center', fontsize=8,
                color='white' if share[row, column] > 0.5 else 'black')
  return _png((inches, inches), draw)


def mistakes(scores, names, pictures, numbers):
  """Draws wrongly predicted pictures, with true and predicted class and its probability.

  The drawing is as large as the longest name needs.

  Args:
    pictures: uint8 [M, H, W, 3].
    numbers: int [M], the numbers of the pictures in `scores`.
  """
  rows = max(1, -(-len(numbers) // COLUMNS))
  names, families = _drawable(names, LONGEST)
  caption = 'predicted %s 0.99' % max(names, key=texts.width)
  side = max(PICTURE, texts.width(caption) * CAPTION_POINTS * LETTER / 72)  # inches

  def draw(figure):  # one set of axes for all pictures: one for each takes five times as long
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis('off')
    for place, (picture, number) in enumerate(zip(pictures, numbers, strict=True)):
      row, column = divmod(place, COLUMNS)
      prediction = scores.predictions[number]
      axes.imshow(picture, extent=(column + 0.1, column + 0.9, row + 0.98, row + 0.25))
      axes.text(column + 0.5, row + 0.22, '#%d %s\npredicted %s %.2f' % (
          number, names[scores.labels[number]], names[prediction],
          np.exp(scores.log_probabilities[number, prediction])), ha='center', family=families,
          fontsize=CAPTION_POINTS)
    axes.set(xlim=(0, COLUMNS), ylim=(rows, 0), aspect='auto')  # imshow changes all three
  return _png((COLUMNS * side, 1.1 * side * rows), draw)
