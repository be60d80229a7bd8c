"""Draws the confusion matrix and the worst mistakes as PNG files, returned as bytes.

`scores` is a report.Scores, `names` a list of str [K], the classes by label.
"""
import io

import numpy as np

COLUMNS = 5  # pictures in a row of the worst mistakes
DPI = 100  # pixels per inch: a confusion matrix has 700 x 700 pixels


def _png(inches, draw):
  """Returns the PNG file of a figure of (width, height) inches, filled by `draw(figure)`."""
  from matplotlib.figure import Figure  # imported here: it takes 0.5 s, and only drawings need it
  figure = Figure(figsize=inches)
  draw(figure)
  with io.BytesIO() as file:
    figure.savefig(file, format='png', dpi=DPI)
    return file.getvalue()


def _literal(names):
  """Returns names in which matplotlib takes no dollar sign for the start of a formula."""
  return [name.replace('$', r'\$') for name in names]


def confusion_matrix(scores, names):
  """Draws the confusion matrix: counts, in the shade of their share of the row, the true class."""
  names = _literal(names)
  confusion = scores.confusion()
  share = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))

  def draw(figure):
    axes = figure.add_axes((0.15, 0.15, 0.82, 0.8))
    axes.imshow(share, cmap='Blues', vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha='right')
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel='predicted class', ylabel='true class', title='step %d' % scores.step)
    for row, column in np.ndindex(confusion.shape):
      axes.text(column, row, confusion[row, column], ha='center', va='center', fontsize=8,
                color='white' if share[row, column] > 0.5 else 'black')
  return _png((7, 7), draw)


def mistakes(scores, names, pictures, numbers):
  """Draws wrongly predicted pictures, with true and predicted class and its probability.

  Args:
    pictures: uint8 [M, H, W, 3].
    numbers: int [M], the numbers of the pictures in `scores`.
  """
  names, rows = _literal(names), max(1, -(-len(numbers) // COLUMNS))

  def draw(figure):  # one set of axes for all pictures: one for each takes five times as long
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis('off')
    for place, (picture, number) in enumerate(zip(pictures, numbers, strict=True)):
      row, column = divmod(place, COLUMNS)
      prediction = scores.predictions[number]
      axes.imshow(picture, extent=(column + 0.1, column + 0.9, row + 0.98, row + 0.25))
      axes.text(column + 0.5, row + 0.22, '#%d %s\npredicted %s %.2f' % (
          number, names[scores.labels[number]], names[prediction],
          np.exp(scores.log_probabilities[number, prediction])), ha='center',
          fontsize=7)  # 'predicted automobile 0.99' just fits
    axes.set(xlim=(0, COLUMNS), ylim=(rows, 0), aspect='auto')  # imshow changes all three
  return _png((7.5, 1.65 * rows), draw)
