"""Asks for a notebook's first cell, which puts the project and its package `lessons` on the path.

A notebook's kernel starts in this directory. Without this file a later cell would fail with "No
module named 'lessons'", as if there were something to install.
"""


class FirstCellError(ImportError):

  def _render_traceback_(self):  # IPython shows this instead of a traceback
    return ['ImportError: %s' % self]


raise FirstCellError('Run the first cell of this notebook, then this one again.')
