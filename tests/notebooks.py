"""What the tests of the lessons share: each lesson runs, is current, and says what its cells show.

A figure in the prose is tied to a line that a cell prints by a comment that no reader sees:

  The loss starts at 4.67 <!-- figure: loss at step 1 ± 0.05 -->.

The number before the comment must be within 0.05 of the number in the line "loss at step 1: 4.681".
"""
import glob
import os
import re

import nbformat

import cifar10
from lessons import build

ROOT = os.path.dirname(os.path.abspath(cifar10.__file__))
LESSONS = os.path.join(ROOT, 'lessons')
MAX_LINES = 200  # of a page
MAX_CELL_LINES = 25  # of code
MAX_PICTURE_BYTES = 300_000
FIGURE = re.compile(r'(-?[\d,]*\.?\d+)\W{0,5}<!-- figure: (.+?) ± ([\d.]+) -->')
CHECK = re.compile(r"^(lesson\.check\('([\d.]+)', .+\))$", re.MULTILINE)
SOLUTION = re.compile(r'^\*\*([\d.]+)\*\*.*?^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)
EXERCISES = 3  # of a lesson
LINK = re.compile(r'\]\(([^)\s]+)\)')


def pages(*numbers):
  """Returns the paths of the English pages of the lessons with these numbers."""
  return sorted(path for number in numbers
                for path in glob.glob(os.path.join(LESSONS, '%d_*.md' % number)))


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
  """Fails if a page or a cell is too long, its first cell is its own, or a link leads nowhere."""
  text = read(page)
  assert len(text.splitlines()) <= MAX_LINES
  first, = {build.code_cells(build.read(path))[0] for path in pages(*range(1, 10))}
  assert first in text
  for source in build.code_cells(build.read(page)):
    assert len(source.splitlines()) <= MAX_CELL_LINES, source
  for target in LINK.findall(text):
    if not re.match(r'[a-z]+:', target):
      file = target.partition('#')[0]
      assert not file or os.path.exists(os.path.join(os.path.dirname(page), file)), target
