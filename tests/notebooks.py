"""What the tests of the lessons share: each lesson runs, is current, and says what its cells show.

A figure in the prose is tied to a line that a cell prints by a comment that no reader sees:

  The loss starts at 4.67 <!-- figure: loss at step 1 ± 0.05 -->.

The number before the comment must be within 0.05 of the number in the line "loss at step 1: 4.681".
"""
import glob
import io
import os
import re
import tokenize

import nbformat

import cifar10
from lessons import build

ROOT = os.path.dirname(os.path.abspath(cifar10.__file__))
LESSONS = os.path.join(ROOT, 'lessons')
MAX_LINES = 200  # of a page
MAX_CELL_LINES = 25  # of code
MAX_PICTURE_BYTES = 300_000
FIGURE = re.compile(r'(-?[\d,]*\.?\d+)\W{0,5}<!-- figure: (.+?) ± ([\d.]+) -->')
SEEN_COMMENT = re.compile(r'^ *<!--.*| <!-- figure: [^>]*-->[.,:;。，：；、]', re.MULTILINE)
CHECK = re.compile(r"^(lesson\.check\('([\d.]+)', .+\))$", re.MULTILINE)
SOLUTION = re.compile(r'^\*\*([\d.]+)\*\*.*?^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)
EXERCISES = 3  # of a lesson
LINK = re.compile(r'\]\(([^)\s]+)\)')


def pages(*numbers, folder=''):
  """Returns the paths of the pages of the lessons with these numbers; the Chinese are in 'zh'."""
  return sorted(path for number in numbers
                for path in glob.glob(os.path.join(LESSONS, folder, '%d_*.md' % number)))


def read(path):
  with open(path, encoding='utf-8') as file:
    return file.read()


def number(text):
  return float(text.replace(',', ''))


def wrong_figures(prose, output):
  """Returns what is wrong with the figures in a text (list of str).

  Args:
    prose: the text with its comments.
    output: what the cells printed.
  """
  wrong = []
  if prose.count('<!-- figure') != len(FIGURE.findall(prose)):
    wrong.append('a comment "figure" does not follow a number, or lacks a name or a spread')
  for figure, name, spread in FIGURE.findall(prose):
    shown = re.search(r'^\s*%s *[:=] *(-?[\d,]*\.?\d+)' % re.escape(name), output, re.MULTILINE)
    if not shown:
      wrong.append('no cell prints "%s: NUMBER"' % name)
    elif abs(number(shown[1]) - number(figure)) > number(spread) + 1e-9:
      wrong.append('%s: the text says %s ± %s, the cell %s' % (name, figure, spread, shown[1]))
  return wrong


def solution_cells(page):
  """Returns a dict from exercise, such as '1.2', to a cell that gives its solution to its check."""
  solutions = dict(SOLUTION.findall(read(os.path.join(LESSONS, 'solutions.md'))))
  return {exercise: '%s%s' % (solutions[exercise], check)
          for check, exercise in CHECK.findall(read(page))}


def check_run(page, directory):
  """Runs a lesson and its solutions in a new directory.

  Fails if a cell fails, if a figure differs from the text, or if a solution is wrong.
  """
  book, solutions = build.read(page), solution_cells(page)
  assert len(solutions) == EXERCISES
  book.cells += map(nbformat.v4.new_code_cell, solutions.values())
  build.execute(book, str(directory))
  output = build.text_of(book)
  assert wrong_figures(read(page), output) == []
  for exercise in solutions:
    assert '%s: Right:' % exercise in output, output[-500:]


def check_stored(page):
  """Fails if the stored notebook is older than its page, too large, or shows other figures."""
  path = page.removesuffix('.md') + '.ipynb'
  assert build.is_current(page), 'Run: python lessons/build.py %s' % os.path.relpath(
      page.removesuffix('.md'), LESSONS)
  book = nbformat.read(path, 4)
  assert wrong_figures(read(page), build.text_of(book)) == []
  for cell in book.cells:
    for output in cell.get('outputs', []):
      assert output.output_type != 'error', output.get('evalue')
      data = output.get('data', {})
      assert len(data.get('image/png', '')) * 3 / 4 <= MAX_PICTURE_BYTES, cell.source
  assert ROOT not in read(path)


def check_form(page):
  """Fails if a page or a cell is too long, its first cell is its own, or a link leads nowhere.

  It also fails where a comment "figure" would be seen: one at the start of a line begins a new
  paragraph, and a space before one stands before the full stop or comma that follows.
  """
  cells = build.code_cells(build.read(page))
  assert len(read(page).splitlines()) <= MAX_LINES
  assert SEEN_COMMENT.findall(read(page)) == []
  assert without_texts(cells[0]) == without_texts(build.code_cells(build.read(pages(1)[0]))[0])
  for source in cells:
    assert len(source.splitlines()) <= MAX_CELL_LINES, source
  check_links(page)


def without_texts(source):
  """Returns the tokens of a cell (list of str) without comments, and with all strings alike."""
  found = []
  for token in tokenize.generate_tokens(io.StringIO(source).readline):
    kind = tokenize.tok_name[token.type]
    if kind not in ('COMMENT', 'NL'):
      found.append(kind if kind in ('STRING', 'FSTRING_MIDDLE') else token.string)
  return found


def check_translation(page):
  """Fails if the code of a page in another language differs by more than comments and strings."""
  english = build.read(os.path.join(LESSONS, os.path.basename(page)))
  cells, others = build.code_cells(english), build.code_cells(build.read(page))
  assert len(cells) == len(others)
  for cell, other in zip(cells, others, strict=True):
    assert without_texts(cell) == without_texts(other)


def check_links(page):
  """Fails if a link to a file leads nowhere."""
  for target in LINK.findall(read(page)):
    if not re.match(r'[a-z]+:', target):
      file = target.partition('#')[0]
      assert not file or os.path.exists(os.path.join(os.path.dirname(page), file)), target
