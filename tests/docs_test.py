"""Tests of the pages: links lead somewhere, commands have programs and flags that exist."""
import glob
import importlib
import os
import re
import shlex

from absl import flags

import cifar10
from cifar10_lib.common.tf1 import tf

ROOT = os.path.dirname(os.path.abspath(cifar10.__file__))
PAGES = sorted(glob.glob('*.md', root_dir=ROOT) + glob.glob('docs/*.md', root_dir=ROOT)
               + glob.glob('deploy/*.md', root_dir=ROOT))
MAX_LINES = {'README.md': 180, 'README.zh-CN.md': 180, 'docs/accuracy.md': 120,
             'docs/speed.md': 120}
MAX_PICTURE_BYTES = 300_000
LINK = re.compile(r'\]\(([^)\s]+)\)')


def read(page):
  with open(os.path.join(ROOT, page), encoding='utf-8') as file:
    return file.read()


def anchors(text):
  """Returns the anchors of a page's headings, as code forges make them."""
  heads = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
  return {re.sub(r'[^\w\- ]', '', head.lower()).replace(' ', '-') for head in heads}


def commands(text):
  """Returns the commands in the indented blocks of a page: list of lists of words."""
  joined = re.sub(r'\\\n\s*', '', text)
  lines = re.findall(r'^    (python3? .+|\./\w+\.sh.*)$', joined, re.MULTILINE)
  return [shlex.split(line, comments=True) for line in lines]


def key_flags(program):
  """Returns the names of the flags of one of our programs at the top."""
  module = program.removesuffix('.py')
  importlib.import_module(module)
  return {flag.name for flag in flags.FLAGS.get_key_flags_for_module(module)}


class DocsTest(tf.test.TestCase):

  def testLinksLeadSomewhere(self):
    for page in PAGES:
      text, folder = read(page), os.path.dirname(page)
      for link in LINK.findall(text):
        if link.startswith(('http://', 'https://')):
          continue
        path, _, anchor = link.partition('#')
        place = os.path.normpath(os.path.join(ROOT, folder, path)) if path else os.path.join(
            ROOT, page)
        with self.subTest(page=page, link=link):
          self.assertTrue(os.path.exists(place))
          if anchor:
            self.assertIn(anchor, anchors(read(os.path.relpath(place, ROOT))))
          if place.endswith('.png'):
            self.assertLess(os.path.getsize(place), MAX_PICTURE_BYTES)

  def testCommandsHaveProgramsAndFlags(self):
    seen = 0
    for page in PAGES:
      for command in commands(read(page)):
        program = command[0] if command[0].startswith('./') else command[1]
        with self.subTest(page=page, command=command):
          if program != '-m':
            self.assertTrue(os.path.isfile(os.path.join(ROOT, program)))
          if re.fullmatch(r'cifar10_\w+\.py', program):
            seen += 1
            names = {word.lstrip('-').partition('=')[0] for word in command[2:]
                     if word.startswith('--')}
            self.assertContainsSubset(names - {'help', 'helpfull'}, key_flags(program))
    self.assertGreater(seen, 20)

  def testBothFrontPagesHaveTheSameCommands(self):
    self.assertEqual(commands(read('README.md')),
                     [[word.replace('lessons/zh/', 'lessons/') for word in command]
                      for command in commands(read('README.zh-CN.md'))])

  def testPagesAreShort(self):
    for page, most in MAX_LINES.items():
      self.assertLessEqual(len(read(page).splitlines()), most, page)

  def testNothingIsLeftToFillIn(self):
    for page in PAGES:
      self.assertNotIn('@' + '@', read(page), page)


if __name__ == '__main__':
  tf.test.main()
