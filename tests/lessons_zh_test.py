"""Tests the Chinese lessons without running them: same code, live links, every text translated."""
import ast
import glob
import os
import re

import pytest

from lessons import build, errors
from lessons.zh import texts
from tests import notebooks

ZH = os.path.join(notebooks.LESSONS, 'zh')
PAGES = notebooks.pages(*range(1, 7), folder='zh')
FORMAT = re.compile(r'%(?:\(\w+\))?[-+ #0]*\d*(?:\.\d+)?[a-zA-Z%]')
SAID = {'why', 'problem'}  # variables given to say: reasons of the exercises
QUOTED = re.compile(r'“([^%”]+)”一节')  # heading in a translation

by_page = pytest.mark.parametrize('page', PAGES, ids=os.path.basename)


def constants(tree):
  """Returns the strings in a syntax tree that are not docstrings (list of str)."""
  comments = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
  return [node.value for node in ast.walk(tree)
          if isinstance(node, ast.Constant) and isinstance(node.value, str)
          and id(node) not in comments]


def said(source):
  """Returns the first arguments of all calls of `say` in a module (list of syntax trees)."""
  return [node.args[0] for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)
          and getattr(node.func, 'attr', getattr(node.func, 'id', '')) == 'say']


def reasons(source):
  """Returns the reasons of a module of exercises: its strings of several words (set of str)."""
  return {text for text in constants(ast.parse(source)) if ' ' in text}


def modules(pattern):
  """Returns the sources of the modules of lessons/ that match, without tests (list of str)."""
  paths = sorted(glob.glob(os.path.join(notebooks.LESSONS, pattern)))
  return [notebooks.read(path) for path in paths if not path.endswith('_test.py')]


# Pages.


@by_page
def test_code_is_that_of_the_english_page(page):
  notebooks.check_translation(page)
  for cell in build.code_cells(build.read(page)):
    starts = re.findall(r'lesson\.start\((.*)\)', cell)
    assert starts in ([], ["DATA, 'zh'"])


@by_page
def test_solutions_have_the_code_of_the_english_ones(page):
  english, chinese = (dict(notebooks.SOLUTION.findall(notebooks.read(os.path.join(
      folder, 'solutions.md')))) for folder in (notebooks.LESSONS, ZH))
  exercises = [exercise for _, exercise in notebooks.CHECK.findall(notebooks.read(page))]
  assert len(exercises) == notebooks.EXERCISES
  for exercise in exercises:
    assert notebooks.without_texts(chinese[exercise]) == notebooks.without_texts(english[exercise])


@by_page
def test_form(page):
  notebooks.check_form(page)


def test_links_of_the_solutions_lead_somewhere():
  notebooks.check_links(os.path.join(ZH, 'solutions.md'))


@by_page
def test_stored_outputs_belong_to_the_page(page):
  notebooks.check_stored(page)


# Texts.


def test_every_text_is_translated_and_no_other():
  found = set().union(*map(reasons, modules('exercises_*.py')))
  for source in modules('*.py'):
    for text in said(source):
      if isinstance(text, ast.Name):
        assert text.id in SAID, text.id
      else:
        assert isinstance(text, ast.Constant), ast.unparse(text)  # else no translation is found
        found.add(text.value)
  assert found - texts.TEXTS.keys() == set()
  assert texts.TEXTS.keys() - found == set()


@pytest.mark.parametrize('english', texts.TEXTS)
def test_formats_are_the_same(english):
  chinese = texts.TEXTS[english]
  assert FORMAT.findall(chinese) == FORMAT.findall(english)
  assert re.search('[\u4e00-\u9fff]', chinese)


def test_headings_in_texts_are_those_of_the_pages():
  headings = {heading for page in errors.pages(ZH) for heading, _ in errors.cells(page)}
  quoted = {heading for text in texts.TEXTS.values() for heading in QUOTED.findall(text)}
  assert quoted
  if len(PAGES) == 6:
    assert quoted <= headings


def test_reasons_and_said_texts_are_found():
  source = '''"""A docstring."""
def exercise_1(answer):
  """Another one."""
  hints = {1: 'a hint.'}
  return False, hints.get(answer, say('two ' 'parts %d') % 2 if answer else lesson.say('three'))
'''
  assert reasons(source) == {'a hint.', 'two parts %d'}
  assert {text.value for text in said(source)} == {'two parts %d', 'three'}
