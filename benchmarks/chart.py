"""Draws charts into PNG files, without a screen."""
import contextlib


@contextlib.contextmanager
def panels(path, columns, size):
  """Yields axes side by side to draw into, then writes them to a file.

  Args:
    path: the PNG file to write.
    columns: number of axes.
    size: width and height of the whole figure in inches of 72 pixels.

  Yields:
    A list of matplotlib's Axes.
  """
  import matplotlib
  matplotlib.use('Agg')
  from matplotlib import pyplot
  figure, axes = pyplot.subplots(1, columns, figsize=size, squeeze=False)
  try:
    yield list(axes[0])
    figure.tight_layout()
    figure.savefig(path, dpi=72)
  finally:
    pyplot.close(figure)
