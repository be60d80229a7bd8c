"""Tests that modules keep to the layout: imports run one way, private names stay private."""
import ast
import glob
import os

import cifar10
from cifar10_lib.common.tf1 import tf

ROOT = os.path.dirname(os.path.abspath(cifar10.__file__))
# A module imports from folders with a smaller number, and from its own folder without circles.
LEVELS = {'common': 0, 'dataset': 1, 'network': 1, 'reporting': 2, 'training': 3,
          'cifar10_input.py': 4, 'cifar10.py': 5, 'programs': 6}
FORBIDDEN = {('network', 'dataset')}  # same level, but the network knows no files
MAX_PARAMETERS = 7
MAX_LINES = 300


def module_paths():
  """Returns the paths of the product's modules, relative to the root."""
  found = glob.glob('cifar10*.py', root_dir=ROOT) + glob.glob('cifar10_lib/*/*.py', root_dir=ROOT)
  return sorted(path for path in found
                if not path.endswith(('_test.py', '/testing.py', '/__init__.py')))


def parse(path):
  with open(os.path.join(ROOT, path), encoding='utf-8') as file:
    return ast.parse(file.read())


def imported(path):
  """Returns the paths of our modules that a module imports."""
  known, found = set(module_paths()), set()
  for node in ast.walk(parse(path)):
    names = []
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
      names = [node.module] + ['%s.%s' % (node.module, alias.name) for alias in node.names]
    found |= {name.replace('.', '/') + '.py' for name in names} & known
  return found


def room(path):
  """Returns the key of LEVELS for a module."""
  if '/' in path:
    return path.split('/')[1]
  return path if path in LEVELS else 'programs'


class LayoutTest(tf.test.TestCase):

  def testImportsRunOneWay(self):
    for path in module_paths():
      for other in imported(path):
        here, there = room(path), room(other)
        if here != there:
          self.assertGreaterEqual(LEVELS[here], LEVELS[there], '%s imports %s' % (path, other))
          self.assertNotIn((here, there), FORBIDDEN, '%s imports %s' % (path, other))

  def testNoCircles(self):
    arrows = {path: imported(path) for path in module_paths()}
    while arrows:
      free = [path for path, others in arrows.items() if not others & arrows.keys()]
      self.assertNotEmpty(free, 'a circle among %s' % sorted(arrows))
      for path in free:
        del arrows[path]

  def testPrivateNamesStayInTheirModule(self):
    for path in module_paths():
      tree = parse(path)
      ours = {other.removesuffix('.py').split('/')[-1] for other in module_paths()}
      for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
          private = node.attr.startswith('_') and not node.attr.startswith('__')
          known = node.attr in ('_replace', '_asdict', '_fields')  # public parts of named tuples
          self.assertFalse(node.value.id in ours and private and not known,
                           '%s uses %s.%s' % (path, node.value.id, node.attr))

  def testFunctionsTakeFewParameters(self):
    for path in module_paths():
      for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith('_'):
          count = len(node.args.args) + len(node.args.kwonlyargs)
          count -= bool(node.args.args) and node.args.args[0].arg == 'self'
          self.assertLessEqual(count, MAX_PARAMETERS, '%s: %s' % (path, node.name))

  def testFilesAreShort(self):
    for path in module_paths():
      with open(os.path.join(ROOT, path), encoding='utf-8') as file:
        self.assertLessEqual(len(file.readlines()), MAX_LINES, path)


if __name__ == '__main__':
  tf.test.main()
