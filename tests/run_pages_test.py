"""Tests that `run_pages` can run the pages: each line is of a known kind, commands' flags parse."""
import ast
import copy
import importlib.util
import os
import pathlib
import re
import shlex
import sys

from absl import flags

from cifar10_lib.common.tf1 import tf
from tests import pages, run_pages, testing

FOUND = pages.read_all()
# Options of programs that are not ours.
OTHERS = {'bind_all', 'gpus', 'nosync', 'help', 'helpfull', 'logdir', 'logdir_spec', 'filename',
          'follow', 'file'}

PAGE = """# A page

Run `./test.sh`, or `tensorboard --logdir
runs` with a `--flag`. `data.tar` and `x = 1` are no commands.

    # Comments are none.
    python a.py \\
        --one=1  # nor is this
    export A='x # y'
    A="{\\"b c\\": 1}" python b.py &
    Starting in train/.

```python
import c
print(
    c)
```

    d = 1

    print(d)

What?

    bare words
- `make --all` is unknown too.
"""

SERVER = """#!{python}
import http.server
server = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)
print('http://localhost:%d/' % server.server_port, flush=True)
server.serve_forever()
"""


def key_flags(program):
  """Returns a new absl.flags.FlagValues with the flags of one of our programs at the top."""
  importlib.import_module(program)
  values = flags.FlagValues()
  for flag in flags.FLAGS.get_key_flags_for_module(program):
    values[flag.name] = copy.deepcopy(flag)
  return values


def names_in_source(path):
  """Returns the names of the flags that a Python file defines, and of cifar10.py if it uses it."""
  source = (pages.ROOT / path).read_text(encoding='utf-8')
  found = set(re.findall(r"(?:DEFINE_\w+\(\s*'|add_argument\('--)(\w+)", source))
  shared = 'adopt_module_key_flags(cifar10)' in source
  return found | (names_in_source('cifar10.py') if shared else set())


def python_commands():
  """Yields the page, and the words behind `python` of each command; no redirection, no `&`."""
  for page, found in FOUND.items():
    for item in found:
      words = shlex.split(item.text) if item.kind == 'command' else []
      if 'python' in words and '-m' not in words:
        yield page, [word for word in words[words.index('python') + 1:] if word != '&']


def imported(snippet):
  """Yields what a snippet imports, such as 'numpy' or 'cifar10_lib.dataset.records'."""
  for node in ast.walk(ast.parse(snippet)):
    if isinstance(node, ast.Import | ast.ImportFrom):
      module = [node.module] if isinstance(node, ast.ImportFrom) else []
      yield from ('.'.join([*module, name.name]) for name in node.names)


def exists(name):
  """Returns whether a module exists or, if it is ours, has this attribute; imports only ours."""
  top, module = name.partition('.')[0], name.rpartition('.')[0]
  if not top.startswith('cifar10'):
    return importlib.util.find_spec(top) is not None
  return bool(module and hasattr(importlib.import_module(module), name.rpartition('.')[2])
              or importlib.util.find_spec(name))


class PagesTest(testing.DirectoryTestCase):

  def testItemsOfAPage(self):
    self.assertEqual([item[1:] for item in pages.items('a.md', PAGE)], [
        (3, 'command', './test.sh'),
        (3, 'command', 'tensorboard --logdir runs'),
        (7, 'command', 'python a.py --one=1'),
        (9, 'command', "export A='x # y'"),
        (10, 'command', 'A="{\\"b c\\": 1}" python b.py &'),
        (11, 'output', 'Starting in train/.'),
        (14, 'snippet', 'import c\nprint(\n    c)'),
        (19, 'snippet', 'd = 1\n\nprint(d)'),
        (25, 'unknown', 'bare words'),
        (26, 'unknown', 'make --all')])

  def testEveryLineIsOfAKnownKind(self):
    for found in FOUND.values():
      for item in found:
        self.assertNotEqual(item.kind, 'unknown', item)
    kinds = [item.kind for found in FOUND.values() for item in found]
    self.assertGreater(kinds.count('command'), 80)
    self.assertGreater(kinds.count('snippet'), 1)

  def testProgramsOfTheTableExist(self):
    for name in pages.SHORT_OPTIONS:
      self.assertTrue('.py' not in name or (pages.ROOT / name).is_file(), name)

  def testImportsOfSnippets(self):
    snippet = 'import numpy as np, ab.c\nfrom cifar10_lib.dataset import records, x\nf(1)'
    found = list(imported(snippet))
    self.assertEqual(found, ['numpy', 'ab.c', 'cifar10_lib.dataset.records',
                             'cifar10_lib.dataset.x'])
    self.assertEqual([exists(name) for name in found], [True, False, True, False])
    self.assertTrue(exists('cifar10_lib.dataset.records.HEIGHT'))
    self.assertTrue(exists('cifar10_train'))

  def testShortened(self):
    for text, expected in (
        ('python cifar10_train.py --max_steps=9000',
         'python cifar10_train.py --max_steps=20 --max_steps=20 --save_checkpoint_steps=10'),
        ('TF_CONFIG=\'"worker"\' python cifar10_train_distributed.py &',
         'TF_CONFIG=\'"worker"\' python cifar10_train_distributed.py --max_steps=80 &'),
        ('ruff check .', 'ruff check .')):
      self.assertEqual(pages.shortened(pages.Item('a.md', 1, 'command', text)), expected)
    snippet = pages.Item('a.md', 1, 'snippet', 'train(max_steps = 9000)  # 1 &')
    self.assertEqual(pages.shortened(snippet), 'train(max_steps = 20)  # 1 &')

  def testSnippetsImportWhatExists(self):
    for found in FOUND.values():
      for item in found:
        if item.kind == 'snippet' and not pages.reason_not_run(item):
          for name in imported(item.text):
            self.assertTrue(exists(name), '%s:%d: %s' % (item.page, item.line, name))

  def testCommandsHaveProgramsAndFlags(self):
    seen = 0
    for page, words in python_commands():
      with self.subTest(page=page, words=words):
        self.assertTrue((pages.ROOT / words[0]).is_file())
        if re.fullmatch(r'cifar10_\w+\.py', words[0]):
          key_flags(words[0].removesuffix('.py'))(words)
          seen += 1
        names = {word[2:].partition('=')[0] for word in words if word.startswith('--')}
        if words[0].startswith('benchmarks/'):
          self.assertContainsSubset(names, names_in_source(words[0]))
    self.assertGreater(seen, 20)

  def testScriptsExist(self):
    for found in FOUND.values():
      for item in found:
        name = pages.program(item.text) if item.kind == 'command' else ''
        self.assertTrue(not name.startswith('./') or (pages.ROOT / name).is_file(), item)

  def testFlagsInTheTextExist(self):
    programs = {words[0] for _, words in python_commands()}
    ours = {program for program in programs if program.startswith('cifar10_')}
    self.assertLen(ours, 6)
    known = OTHERS.union(*(key_flags(program.removesuffix('.py')) for program in ours),
                         *map(names_in_source, programs - ours))
    for page in FOUND:
      text = (pages.ROOT / page).read_text(encoding='utf-8')
      for span in re.findall(r'`[^`\n]+`', text):
        self.assertContainsSubset(re.findall(r'(?<![\w-])--(\w+)', span), known, page)


class RunTest(testing.DirectoryTestCase):

  def setUp(self):
    super().setUp()
    root = pathlib.Path(self.directory)
    for name in 'home', 'scratch':
      (root / name).mkdir()
    self.page = run_pages.Page(root, root / 'page.log')
    self.addCleanup(self.page.close)

  def _check(self, text, kind='command'):
    return self.page.check(pages.Item('a.md', 1, kind, text))

  def testCommandsShareTheShellsState(self):
    self.assertEqual(self._check("export WORDS='b c'"), '')
    self.assertEqual(self._check('python -c "import os; print(os.environ[\'WORDS\'])"'), '')
    self.assertEqual(self.page.printed().splitlines()[-1], 'b c')

  def testSnippetsShareTheirNames(self):
    self.assertEqual(self._check('word = 3', 'snippet'), '')
    self.assertEqual(self._check('print(word + 1)', 'snippet'), '')
    self.assertEqual(self.page.printed().splitlines()[-1], '4')

  def testFilesOfTheReaderAreMade(self):
    self.assertEqual(self._check('test -d runs  # --logdir runs'), '')
    self.assertEqual(self._check('true new.jpg'), 'cannot make new.jpg')  # no lessons/ here

  def testFaultsAreFound(self):
    self.assertEqual(self._check('python -c "raise SystemExit(3)"'), 'exit code 3')
    self.assertEqual(self._check('python -c "1 / 0"; true'), 'a traceback')
    line = 'Starting in train/.'
    self.assertIn('no command', self._check(line, 'output'))
    self.assertEqual(self._check('python -c "print(%r)"' % line), '')
    self.assertEqual(self._check(line, 'output'), '')

  def testCommandInTheBackgroundIsWaitedFor(self):
    self.assertEqual(self._check('python -c "input()" &'), '')  # there is no input
    (_, fault), = self.page.finish()
    self.assertEqual(fault, 'exit code 1')

  def testServerIsAskedAndStopped(self):
    program = os.path.join(self.directory, 'tensorboard')
    with open(program, 'w') as file:
      file.write(SERVER.format(python=sys.executable))
    os.chmod(program, 0o755)
    self.page.environment['PATH'] = self.directory + ':' + self.page.environment['PATH']
    self.assertEqual(self._check('tensorboard --logdir train/'), 'a traceback')  # of Ctrl-C
    self.assertIn('GET / HTTP/1.1" 200', self.page.printed())
    with open(program, 'w') as file:
      file.write('#!/bin/sh\n')
    self.assertEqual(self._check('tensorboard --logdir train/'), 'no address')


if __name__ == '__main__':
  tf.test.main()
