"""Tests the English lessons without running them: form, stored outputs, links; and these checks."""
import os
import subprocess
import sys

import pytest

from tests import notebooks

PAGES = notebooks.pages(*range(1, 7))


@pytest.mark.parametrize('page', PAGES)
def test_stored_outputs_belong_to_the_page(page):
  notebooks.check_stored(page)


@pytest.mark.parametrize('page', PAGES)
def test_form(page):
  notebooks.check_form(page)


@pytest.mark.parametrize('name', ['README.md', 'solutions.md'])
def test_links_lead_somewhere(name):
  notebooks.check_links(os.path.join(notebooks.LESSONS, name))


def test_a_figure_that_differs_is_found():
  page = 'It is 4.6 <!-- figure: loss ± 0.05 -->, of 1,068,298 <!-- figure: parameters ± 0 -->.'
  good = 'loss: 4.64\nparameters: 1,068,298\n'
  assert notebooks.wrong_figures(page, good) == []
  assert len(notebooks.wrong_figures(page, good.replace('4.64', '4.66'))) == 1
  assert len(notebooks.wrong_figures(page, 'loss: 4.6\n')) == 1
  assert notebooks.wrong_figures('It is <!-- figure: loss ± 0.05 -->', good)


def test_a_comment_that_would_be_seen_is_found():
  comment = '<!-- figure: loss ± 0 -->'
  assert notebooks.SEEN_COMMENT.findall('It is 4.6%s, of\n5 %s steps' % (comment, comment)) == []
  for page in 'It is 4.6\n%s of 5', 'It is 4.6 %s. So', '是 4.6 %s。':
    assert len(notebooks.SEEN_COMMENT.findall(page % comment)) == 1


def test_only_comments_and_strings_may_differ():
  cell = "x = f('a', 1)  # one\n"
  assert notebooks.without_texts(cell) == notebooks.without_texts("x = f('乙', 1)\n")
  assert notebooks.without_texts(cell) != notebooks.without_texts("x = f('a', 2)\n")


@pytest.mark.parametrize('folder, text', [('', 'Run the first cell'), ('zh', '请先运行')])
def test_a_cell_before_the_first_one_names_it(folder, text):
  directory = os.path.join(notebooks.LESSONS, folder)  # where a notebook's kernel starts
  program = ('from importlib import import_module\ntry:\n  import_module("lessons.draw")\n'
             'except ImportError as error: print(*error._render_traceback_())')
  done = subprocess.run([sys.executable, '-c', program], cwd=directory, capture_output=True,
                        encoding='utf-8', env=dict(os.environ, PYTHONUTF8='1', PYTHONPATH=''),
                        check=False)
  assert done.stdout.startswith('ImportError: ' + text), done.stderr
