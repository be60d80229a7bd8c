"""Makes the errors of a notebook readable: one line that says what to do, where that is known.

A cell that uses a name before another cell has made it gets the heading of that cell. A Failure of
the project says in its text what to do. All other errors keep their traceback.
"""
import ast
import glob
import os
import re

from cifar10_lib.common.programs import Failure

HERE = os.path.dirname(os.path.abspath(__file__))
CELL = re.compile(r'^(#+ .*?)$|^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def assigned(code):
  """Returns the names that a cell gives a value at its top level (set of str)."""
  found = set()
  for node in ast.walk(ast.parse(re.sub(r'^[%!].*$', '', code, flags=re.MULTILINE))):
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
      found.add(node.id)
    elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
      found.add(node.name)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
      found |= {alias.asname or alias.name.split('.')[0] for alias in node.names}
  return found


def cells(page):
  """Returns the code cells of a page (str) with their headings: list of (heading, code)."""
  found, heading = [], ''
  for match in re.finditer(CELL, page):
    if match[1]:
      heading = match[1].lstrip('# ')
    else:
      found.append((heading, match[2]))
  return found


def where(name, code, pages):
  """Returns the heading under which a lesson first assigns a name, or None.

  Args:
    name: the name without a value.
    code: source of the cell that failed, which tells the lesson.
    pages: the lessons' pages (list of str).
  """
  for page in sorted(pages, key=lambda page: code.strip() not in page):
    for heading, other in cells(page):
      if name in assigned(other):
        return heading
  return None


def pages(folder=HERE):
  """Returns the text of the lessons' pages in a folder (list of str)."""
  found = []
  for path in sorted(glob.glob(os.path.join(folder, '[1-9]_*.md'))):
    with open(path, encoding='utf-8') as file:
      found.append(file.read())
  return found


def explanation(error, code, say=str, folder=HERE):
  """Returns one line that says what to do about an error in a cell, or None.

  Args:
    error: the exception.
    code: source of the cell.
    say: function that translates a text into the notebook's language.
    folder: directory of the lessons' pages in that language.
  """
  if isinstance(error, NameError) and error.name:
    heading = where(error.name, code, pages(folder))
    if heading:
      return say('`%s` has no value yet. Run the cells under "%s" first, then this one again. '
                 'Run > Run All Above Selected Cell does so.') % (error.name, heading)
  if isinstance(error, KeyboardInterrupt):
    return str(error) or say('The cell was interrupted. Run it again.')
  if isinstance(error, Failure):
    return str(error)
  return None


def install(say=str, folder=HERE):
  """Explains errors from now on, if this is a notebook; takes arguments of `explanation`."""
  try:
    from IPython import get_ipython
  except ImportError:
    return
  shell = get_ipython()
  if not shell:
    return

  def handle(shell, kind, error, traceback, tb_offset=None):
    code = (shell.history_manager.input_hist_raw or [''])[-1]
    text = explanation(error, code, say, folder)
    shell.set_custom_exc((), None)  # the next line would come back here
    try:
      if text:
        error._render_traceback_ = lambda: ['%s: %s' % (kind.__name__, text)]
      shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
    finally:
      shell.set_custom_exc((NameError, Failure, KeyboardInterrupt), handle)
  shell.set_custom_exc((NameError, Failure, KeyboardInterrupt), handle)
