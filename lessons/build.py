"""Makes the notebooks: runs the code cells of lessons/N_name.md and stores what they show.

  python lessons/build.py                the notebooks that are older than their pages
  python lessons/build.py 1_data         this one, run again
  python lessons/build.py zh/1_data      the Chinese one
  python lessons/build.py --data cifar10_data/ --out /tmp/out 1_data    on other data, elsewhere

It needs requirements-dev.txt. Each notebook runs in a new directory of its own, on the sample data.
"""
import argparse
import glob
import hashlib
import os
import re
import sys
import tempfile
import time

import jupytext
import nbclient
import nbformat

HERE = os.path.dirname(os.path.abspath(__file__))
CELL_SECONDS = 600  # after which a cell is given up
FIRST_LINE = re.compile(r"^DATA = '.*?'", re.MULTILINE)


def read(page):
  """Returns the notebook, without outputs, of a page: a path of jupytext Markdown."""
  with open(page, encoding='utf-8') as file:
    book = jupytext.reads(file.read(), 'md')
  for number, cell in enumerate(book.cells):
    cell.id = 'cell-%d' % number  # jupytext's are random
    cell.metadata = {}
  book.metadata = {
      'kernelspec': {'display_name': 'Python 3', 'language': 'python', 'name': 'python3'},
      'language_info': {'name': 'python'},
      'code_sha256': digest(book)}
  return book


def code_cells(book):
  """Returns the sources of the code cells (list of str)."""
  return [cell.source for cell in book.cells if cell.cell_type == 'code']


def digest(book):
  """Returns the hash of the code cells; a notebook keeps the one that its outputs belong to."""
  return hashlib.sha256('\0'.join(code_cells(book)).encode()).hexdigest()


def execute(book, directory, data=None):
  """Runs a notebook in a directory, and stores the outputs in it.

  Args:
    book: the notebook.
    directory: working directory of its kernel.
    data: what DATA in the first cell is for this run; None leaves it.

  Raises:
    nbclient.exceptions.CellExecutionError: a cell failed.
  """
  first = next(cell for cell in book.cells if cell.cell_type == 'code')
  source = first.source
  if data:
    first.source = FIRST_LINE.sub(lambda _: 'DATA = %r' % data, source)
  os.environ['CIFAR10_PROJECT'] = os.path.dirname(HERE)
  nbclient.NotebookClient(
      book, timeout=CELL_SECONDS, kernel_name='python3', coalesce_streams=True,
      record_timing=False, resources={'metadata': {'path': directory}},
      extra_arguments=['--log-level=ERROR']).execute()  # no warning of TCP on this machine
  first.source = source
  for cell in book.cells:
    cell.metadata = {}
    for output in cell.get('outputs', []):
      if 'metadata' in output:
        output['metadata'] = {}


def text_of(book):
  """Returns all text that the cells of a notebook printed (str)."""
  return ''.join(output.text for cell in book.cells for output in cell.get('outputs', [])
                 if output.output_type == 'stream')


def is_current(page):
  """Returns whether the notebook beside a page has its text, and outputs of its code."""
  path = page.removesuffix('.md') + '.ipynb'
  if not os.path.exists(path):
    return False
  book, source = nbformat.read(path, 4), read(page)
  return (book.metadata.get('code_sha256') == source.metadata['code_sha256'] == digest(book)
          and [cell.source for cell in book.cells] == [cell.source for cell in source.cells])


def take_outputs(book, path):
  """Takes the outputs of the notebook at `path` if its code is the same; returns whether it is."""
  if not os.path.exists(path):
    return False
  old = nbformat.read(path, 4)
  if not old.metadata.get('code_sha256') == book.metadata['code_sha256'] == digest(old):
    return False
  ran = [cell for cell in old.cells if cell.cell_type == 'code']
  mine = [cell for cell in book.cells if cell.cell_type == 'code']
  for cell, before in zip(mine, ran, strict=True):
    cell.outputs, cell.execution_count = before.outputs, before.execution_count
  return True


def build(page, out=None, data=None, again=False):
  """Writes the notebook of a page, beside it or into the directory `out`.

  It runs the page, unless the notebook has the outputs of the same code and `again` is false.
  """
  begin, book = time.time(), read(page)
  path = page.removesuffix('.md') + '.ipynb'
  if again or out or data or not take_outputs(book, path):
    with tempfile.TemporaryDirectory() as directory:
      execute(book, directory, data)
  if out:
    os.makedirs(out, exist_ok=True)
    path = os.path.join(out, os.path.basename(path))
  with open(path, 'w', encoding='utf-8') as file:
    file.write(nbformat.writes(book) + '\n')
  print('%s: %.1f s' % (os.path.relpath(path), time.time() - begin), flush=True)


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('lessons', nargs='*')
  parser.add_argument('--data', help="in place of 'sample': a directory of CIFAR-10")
  parser.add_argument('--out', help='directory for the notebooks')
  options = parser.parse_args()
  pages = sorted(glob.glob(os.path.join(HERE, '[1-9]_*.md'))
                 + glob.glob(os.path.join(HERE, 'zh', '[1-9]_*.md')))
  if options.lessons:
    names = [os.path.join(HERE, name.removesuffix('.md')) + '.md' for name in options.lessons]
    unknown = set(names) - set(pages)
    if unknown:
      sys.exit('No such lesson: %s' % ', '.join(sorted(unknown)))
    pages = names
  elif not options.out:
    pages = [page for page in pages if not is_current(page)]
  for page in pages:
    build(page, options.out, os.path.abspath(options.data) if options.data else None,
          again=bool(options.lessons))


if __name__ == '__main__':
  main()
