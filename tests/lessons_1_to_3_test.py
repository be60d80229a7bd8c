"""Runs lessons 1 to 3 on the sample data; another file runs the others at the same time."""

import pytest

from tests import notebooks

PAGES = notebooks.pages(1, 2, 3)


@pytest.mark.parametrize('page', PAGES)
def test_runs_from_any_directory(page, tmp_path):
  notebooks.check_run(page, tmp_path)
