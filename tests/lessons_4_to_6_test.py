"""Runs lessons 4 to 6 on the sample data; another file runs the others at the same time."""
import pytest

from tests import notebooks

PAGES = notebooks.pages(4, 5, 6)
CHINESE = notebooks.pages(4, 5, 6, folder='zh')


@pytest.mark.parametrize('page', PAGES)
def test_runs_from_any_directory(page, tmp_path):
  notebooks.check_run(page, tmp_path)


@pytest.mark.parametrize('page', PAGES + CHINESE)
def test_stored_outputs_belong_to_the_page(page):
  notebooks.check_stored(page)


@pytest.mark.parametrize('page', PAGES + CHINESE)
def test_form(page):
  notebooks.check_form(page)


@pytest.mark.parametrize('page', CHINESE)
def test_translation_has_the_same_code(page):
  notebooks.check_translation(page)
