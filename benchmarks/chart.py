"""Charts without a screen, as PNG files."""
import contextlib


@contextlib.contextmanager
def panels(path, columns, size):
  """Yields axes side by side to draw into, then writes them.

  Args:
    path: of the PNG file.
    columns: how many axes.
    size: width and height of all, inches; 72 pixels each.

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
