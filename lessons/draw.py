"""Draws what several lessons show: grids of pictures, and curves.

In a notebook a figure appears below its cell. Its ground is white, in a dark theme too.
"""
import math

import numpy as np
from matplotlib import pyplot

CELL = 0.8  # inches; side of a picture in a grid
COLOURS = ('#2f6aa8', '#d1495b', '#3a7d44', '#f2a03d', '#7a5195', '#555555')
STYLE = {'figure.facecolor': 'white', 'figure.dpi': 80, 'savefig.facecolor': 'white',
         'axes.prop_cycle': pyplot.cycler(color=COLOURS), 'axes.spines.top': False,
         'axes.spines.right': False, 'axes.grid': True, 'grid.alpha': 0.3, 'legend.frameon': False}
pyplot.rcParams.update(STYLE)


def literal(text):
  """Returns a text in which matplotlib takes no dollar sign for the start of a formula."""
  return str(text).replace('$', r'\$')


def picture(axis, pixels, title=''):
  """Draws a picture, uint8 [H, W, 3] or one channel [H, W], without ticks; None leaves a gap."""
  axis.grid(False)
  axis.set(xticks=[], yticks=[])
  axis.spines[:].set_visible(False)
  if pixels is not None:
    axis.imshow(pixels, interpolation='nearest', cmap='gray', vmin=0, vmax=255)
  axis.set_title(literal(title), fontsize=9)


def grid(rows, row_titles=(), column_titles=(), size=CELL):
  """Draws pictures in rows.

  Args:
    rows: sequence of rows; each is a sequence of pictures, uint8 [H, W, 3] or [H, W], or of None.
    row_titles: text to the left of each row.
    column_titles: text above each column.
    size: inches; side of a picture.
  """
  columns = max(map(len, rows))
  left = 0.09 * max((len(str(title)) for title in row_titles), default=0)  # inches
  top = 0.25 if len(column_titles) else 0
  width, height = left + size * columns, top + size * len(rows)
  _, axes = pyplot.subplots(
      len(rows), columns, figsize=(width, height), squeeze=False,
      gridspec_kw=dict(left=left / width, right=1, top=1 - top / height, bottom=0, wspace=0.06,
                       hspace=0.06))
  for i, row in enumerate(rows):
    for j, axis in enumerate(axes[i]):
      above = column_titles[j] if i == 0 and j < len(column_titles) else ''
      picture(axis, row[j] if j < len(row) else None, above)
    if i < len(row_titles):
      axes[i, 0].set_ylabel(literal(row_titles[i]), rotation=0, ha='right', va='center', fontsize=9)


def curves(curves, xlabel='', ylabel='', title='', axis=None):
  """Draws curves over one axis, each with its name in the legend.

  Args:
    curves: dict from name to (x, y), two arrays of one length.
    xlabel, ylabel, title: texts.
    axis: the matplotlib axis to draw on; a new figure if not given.
  """
  if axis is None:
    axis = pyplot.subplots(figsize=(7, 3.6), layout='constrained')[1]
  for name, (x, y) in curves.items():
    axis.plot(x, y, label=literal(name))
  axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
  if len(curves) > 1:
    axis.legend(fontsize=9)


def bars(values, labels, ylabel='', title=''):
  """Draws a bar for each of `values`; its label stands below it."""
  axis = pyplot.subplots(figsize=(max(4, 0.7 * len(values)), 3), layout='constrained')[1]
  axis.bar(np.arange(len(values)), values, color=COLOURS[0])
  axis.set_xticks(range(len(values)), [literal(label) for label in labels],
                  rotation=45 if max(map(len, labels)) > 4 else 0, ha='right')
  axis.set(ylabel=ylabel, title=title, ylim=(0, 1.1 * max(values) or math.nan))
