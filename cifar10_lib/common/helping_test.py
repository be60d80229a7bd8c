"""Tests of --help and of docs/flags.md."""
import glob
import importlib
import os
import re
import subprocess
import sys

from absl import flags

from cifar10_lib.common import helping
from cifar10_lib.common.tf1 import tf

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(helping.__file__))))
PROGRAMS = [os.path.basename(path)[:-len('.py')]
            for path in sorted(glob.glob(os.path.join(ROOT, 'cifar10_*.py')))
            if not path.endswith(('_test.py', 'cifar10_input.py'))]


class HelpTest(tf.test.TestCase):

  def testHelpFitsAScreen(self):
    for name in PROGRAMS:
      with self.subTest(name):
        program = importlib.import_module(name)
        shown = helping.text(program).splitlines()
        self.assertLess(len(shown), 40)
        self.assertLessEqual(max(map(len, shown)), 100)
        self.assertEqual(shown[0], program.__doc__.splitlines()[0])
        named = re.findall(r'^  --(\w+)', '\n'.join(shown), re.MULTILINE)
        self.assertBetween(len(named), 2, 12)
        self.assertContainsSubset(named, [
            flag.name for flag in flags.FLAGS.get_key_flags_for_module(name)])

  def testHelpGoesToStandardOutput(self):
    for flag, text in ('--help', 'Pictures in a batch.'), ('--helpfull', 'read_threads'):
      done = subprocess.run([sys.executable, os.path.join(ROOT, 'cifar10_train.py'), flag],
                            capture_output=True, text=True, timeout=60, check=False)
      self.assertEqual((done.returncode, done.stderr), (0, ''))
      self.assertIn(text, done.stdout)

  def testPageHasEveryFlag(self):
    done = subprocess.run([sys.executable, os.path.join(ROOT, 'docs', 'make_flags.py')],
                          capture_output=True, text=True, timeout=120, check=False)
    self.assertEqual((done.returncode, done.stderr), (0, ''))
    with open(os.path.join(ROOT, 'docs', 'flags.md'), encoding='utf-8') as file:
      self.assertEqual(file.read(), done.stdout, 'run python docs/make_flags.py > docs/flags.md')


if __name__ == '__main__':
  tf.test.main()
