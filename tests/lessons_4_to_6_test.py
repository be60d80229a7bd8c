"""Runs lessons 4 to 6 on the sample data; another file runs the others at the same time."""
import pytest

from tests import notebooks

PAGES = notebooks.pages(4, 5, 6)


@pytest.mark.parametrize('page', PAGES)
def test_runs_from_any_directory(page, tmp_path):
  notebooks.check_run(page, tmp_path)
