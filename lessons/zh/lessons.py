"""Asks for a notebook's first cell, as ../lessons.py does, in Chinese."""


class FirstCellError(ImportError):

  def _render_traceback_(self):  # IPython shows this instead of a traceback
    return ['ImportError: %s' % self]


raise FirstCellError('请先运行本笔记本的第一个单元格，再运行这一个。')
