"""Tests of the pages: links lead somewhere; two languages have the same commands; length."""
import glob
import os
import re

import cifar10
from cifar10_lib.common.tf1 import tf
from tests import pages

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


class DocsTest(tf.test.TestCase):

  def testLinksLeadSomewhere(self):
    for page in PAGES:
      text, folder = read(page), os.path.dirname(page)
      for link in LINK.findall(pages.prose(text)):
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

  def testBothFrontPagesHaveTheSameItems(self):
    found = pages.read_all()
    for page, other in pages.SAME.items():
      self.assertEqual(
          [(item.kind, item.text.replace('lessons/zh/', 'lessons/')) for item in found[page]],
          [(item.kind, item.text) for item in found[other]])

  def testPagesAreShort(self):
    for page, most in MAX_LINES.items():
      self.assertLessEqual(len(read(page).splitlines()), most, page)

  def testNothingIsLeftToFillIn(self):
    for page in PAGES:
      self.assertNotRegex(read(page), '@[A-Z0-9]*@', page)


if __name__ == '__main__':
  tf.test.main()
