"""Stands for the package `lessons`, as ../lessons.py does, in the notebooks of this directory."""


class FirstCellError(ImportError):

  def _render_traceback_(self):  # which IPython shows instead of a traceback
    return ['ImportError: %s' % self]


raise FirstCellError('请先运行本笔记本的第一个单元格，再运行这一个。')
