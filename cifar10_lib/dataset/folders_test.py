"""Tests for folders, on trees of small files."""
import os
import shutil
from unittest import mock

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import folders, records
from tests import testing


class FoldersTest(testing.DirectoryTestCase):

  def make(self, *names):
    """Makes empty files, and the folders they are in; `find` does not open pictures."""
    for name in names:
      os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
      self.touch(name)

  def classes(self, *names):
    self.make(*['%s/1.png' % name for name in names])

  def find(self):
    return folders.find(self.directory)

  def assertFails(self, expected, source=None):
    """Expects a Failure with exactly this text, in which DIR stands for the directory."""
    with self.assertRaises(Failure) as caught:
      folders.find(source or self.directory)
    self.assertEqual(str(caught.exception).replace(self.directory, 'DIR'), expected)

  def testClassesAreSortedByCodePoints(self):
    self.make('b/2.png', 'b/10.PNG', 'b/sub/1.jpeg', 'a/x.webp', 'Z/y.gif', '中文/p.bmp',
              '-x/q.jpg')
    found = self.find()
    self.assertEqual(found.names, ['-x', 'Z', 'a', 'b', '中文'])
    self.assertEqual([(os.path.relpath(path, self.directory), label, part)
                      for path, label, part in found.pictures],
                     [('-x/q.jpg', 0, ''), ('Z/y.gif', 1, ''), ('a/x.webp', 2, ''),
                      ('b/10.PNG', 3, ''), ('b/2.png', 3, ''), ('b/sub/1.jpeg', 3, ''),
                      ('中文/p.bmp', 4, '')])
    self.assertFalse(found.is_split)
    self.assertEqual(found.remarks, ({}, [], []))

  def testWhatIsPassedOverIsCounted(self):
    self.classes('a', 'b')
    self.make('a/.DS_Store', '.cache/1.png', 'a/1.HEIC', 'b/2.heic', 'notes.txt', 'LICENSE',
              'lost.png', 'c/readme.txt')
    os.makedirs(self.path('a', 'empty', 'deep'))
    os.mkfifo(self.path('a', 'fifo.png'))
    found = self.find()
    self.assertEqual(found.names, ['a', 'b'])
    self.assertEqual(found.remarks.passed_over, {
        'hidden': 2, '*.heic': 2, '*.txt': 2, 'files without an ending': 1, folders.OUTSIDE: 1,
        'FIFOs and devices': 1, 'folders without pictures': 2})  # 'deep' and 'c'
    self.assertEqual(found.remarks.notes,
                     [self.path('c') + ' is no class, because it holds no picture.'])

  def testAGivenSplitIsTaken(self):
    self.classes('train/cat', 'train/dog', 'test/dog', 'test/cat', 'val/cat')
    found = self.find()
    self.assertEqual(found.names, ['cat', 'dog'])
    self.assertTrue(found.is_split)
    self.assertEqual([(label, part) for _, label, part in found.pictures],
                     [(0, 'test'), (1, 'test'), (0, 'train'), (1, 'train')])
    self.assertEqual(found.remarks.notes, [
        "'val' in %s: not read, because train and test are the split." % self.directory])

  def testAGivenSplitNeedsTheSameClasses(self):
    self.classes('train/cat', 'train/dog', 'test/cat', 'train/fox')
    os.mkdir(self.path('test', 'dog'))
    self.assertFails("DIR/test holds no picture of 'dog', 'fox', but DIR/train does. Add some, or "
                     'remove the class.')
    self.classes('test/dog', 'test/fox', 'test/owl')
    self.assertFails("DIR/train holds no picture of 'owl', but DIR/test does. Add some, or remove "
                     'the class.')

  def testASplitInOtherWordsIsNotTakenForClasses(self):
    self.classes('train/cat', 'train/dog', 'val/cat', 'val/dog')
    self.assertFails("DIR holds only 'train', 'val'. A given split consists of two folders, train "
                     'and test: rename them. Or convert one of them alone; a part of each class is '
                     'then drawn for the test.')
    self.classes('ship')  # trains and ships
    self.assertEqual(self.find().names, ['ship', 'train', 'val'])

  def testTwoTo256Classes(self):
    self.assertFails('DIR holds no folder with pictures (*.png, *.jpg, *.jpeg, *.jpe, *.jfif, '
                     '*.bmp, *.gif, *.webp). Give each class a folder of its own, such as '
                     'DIR/cat/1.jpg and DIR/dog/1.jpg.')
    self.classes('photos/cat', 'photos/dog')
    self.assertFails("DIR holds one class, 'photos'; at least two are needed. If the folders in it "
                     'are the classes, name DIR/photos instead.')
    self.classes(*['%03d' % number for number in range(255)])
    self.assertLen(self.find().names, 256)
    self.classes('one more')
    self.assertFails('DIR holds 257 classes; at most 256 work, because a label is one byte. Join '
                     'or move some of the folders.')

  def testOneClassInAGivenSplit(self):
    self.classes('train/cat', 'test/cat')
    self.assertFails("DIR/train holds one class, 'cat'; at least two are needed.")

  def testWhatIsNoFolderIsNamed(self):
    self.touch('a.png')
    rest = 'Name the folder that holds a folder for each class.'
    self.assertFails('DIR/none cannot be read as a folder: No such file or directory. ' + rest,
                     self.path('none'))
    self.assertFails('DIR/a.png cannot be read as a folder: Not a directory. ' + rest,
                     self.path('a.png'))

  def testLinks(self):
    # TensorFlow deletes temporary directories at the end, and would follow links in circles.
    self.addCleanup(shutil.rmtree, self.directory)
    self.classes('photos/a', 'photos/b', 'elsewhere')
    photos = self.path('photos')
    for target, name in (('.', 'self'), ('..', 'up'), ('loop', 'loop'), ('nowhere', 'lost'),
                         ('.', 'a/here'), ('../b', 'a/there'), (self.path('elsewhere'), 'c')):
      os.symlink(target, os.path.join(photos, name))
    found = folders.find(photos)
    self.assertEqual(found.names, ['a', 'b', 'c'])  # a class may be a link
    self.assertLen(found.pictures, 3)
    self.assertEqual(found.remarks.passed_over,
                     {'links to folders': 4, 'files without an ending': 2})
    os.symlink('a', os.path.join(photos, 'd'))
    self.assertFails("'a' and 'd' in DIR/photos are the same folder. Remove the link.", photos)

  def testNamesAreAsTheyAreReadBack(self):
    names = [' blank ', 'two words', 'line\nbreak', '\x1b[31mred', '$x$ 100%', 'w' * 70,
             os.fsdecode(b'caf\xe9'), '-x', '中文', '<b>&amp;']
    self.classes(*names)
    found = self.find()
    self.assertEqual(found.names, [
        '\\x1b[31mred', 'blank', '$x$ 100%', '-x', '<b>&amp;', 'caf\\xe9', 'line\\nbreak',
        'two words', 'w' * 47 + '...', '中文'])
    with open(self.path(records.META_FILE), 'w', encoding='utf-8') as file:
      file.write('\n'.join(found.names) + '\n')
    self.assertEqual(records.class_names(self.directory), found.names)

  def testTwoFoldersWithOneNameAreRefused(self):
    rest = ('because a name has at most 50 characters and no blanks at its ends. Rename one of '
            'them.')
    self.classes('cat', 'cat ', 'dog')
    self.assertFails("The folders 'cat' and 'cat ' give one class name, 'cat', " + rest)
    os.rename(self.path('cat '), self.path('\n'))
    self.assertFails("The folder '\\n' has a name of blanks only. Rename it.")
    os.rename(self.path('\n'), self.path('x' * 60))
    self.classes('x' * 61)
    self.assertFails("The folders '%s' and '%s' give one class name, '%s...', %s" % (
        'x' * 60, 'x' * 61, 'x' * 47, rest))

  def testNamesThatDifferInCaseOnlyAreNoted(self):
    self.classes('Cat', 'dog', 'caf\u00e9', 'cafe\u0301')
    self.assertEqual(self.find().remarks.notes,
                     ["'cafe\u0301' and 'caf\u00e9' look alike; they are two classes."])
    try:
      os.mkdir(self.path('cat'))
    except FileExistsError:
      self.skipTest('for this file system, the two are one')
    self.classes('cat')
    found = self.find()
    self.assertEqual(found.names[:2], ['Cat', 'cafe\u0301'])
    self.assertIn("'Cat' and 'cat' look alike; they are two classes.", found.remarks.notes)

  def testFoldersThatCannotBeListedAreNamed(self):
    self.classes('a', 'a/private', 'b')
    scandir = os.scandir

    def refuse(path):  # root may list everything, so permissions would not do
      if os.fspath(path).endswith('private'):
        raise PermissionError(13, 'Permission denied', path)
      return scandir(path)
    with mock.patch.object(os, 'scandir', refuse):
      found = self.find()
    self.assertEqual(found.remarks.unlisted,
                     [self.path('a', 'private') + ' cannot be read: Permission denied.'])
    self.assertLen(found.pictures, 2)


if __name__ == '__main__':
  tf.test.main()
