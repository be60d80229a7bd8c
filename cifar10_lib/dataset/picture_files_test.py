"""Tests for picture_files, on files that the tests write."""
import collections
import io
import os
import shutil
import sys
import types
from unittest import mock

import numpy as np
from PIL import Image, ImageOps

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import picture_files


def _random(height, width, depth=3, seed=0):
  return np.random.RandomState(seed).randint(0, 256, (height, width, depth), np.uint8)


class PictureTest(tf.test.TestCase):

  def _path(self, name, content=b''):
    path = os.path.join(self.get_temp_dir(), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as file:
      file.write(content)
    return path

  def _saved(self, name, image, **options):
    path = self._path(name)
    image.save(path, **options)
    return path

  def testLosslessFormatsGiveTheirPixels(self):
    pixels = _random(5, 7)
    for name in 'a.png', 'a.bmp':
      self.assertAllEqual(picture_files.read(self._saved(name, Image.fromarray(pixels))), pixels)
    lossless = self._saved('a.webp', Image.fromarray(pixels), lossless=True)
    self.assertAllEqual(picture_files.read(lossless), pixels)

  def testFormatIsWhatTheFileHoldsWhateverItsName(self):
    pixels = _random(5, 7)
    path = self._saved('photo.jpg', Image.fromarray(pixels), format='PNG')
    self.assertAllEqual(picture_files.read(path), pixels)

  def testJpeg(self):
    pixels = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    path = self._saved('a.jpg', Image.fromarray(pixels), quality=95)
    self.assertAllClose(picture_files.read(path), pixels, atol=3)

  def testExifTurns(self):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees clockwise
    read = picture_files.read(self._saved('a.jpg', Image.fromarray(pixels), exif=exif))
    self.assertEqual(read.shape, (32, 16, 3))
    self.assertAllGreater(read[:16], 250)  # the left half is now on top
    self.assertAllLess(read[16:], 5)

  def testEveryOrientation(self):
    image = Image.fromarray(_random(3, 5))
    for orientation in range(10):
      exif = Image.Exif()
      exif[picture_files.ORIENTATION] = orientation
      path = self._saved('a.png', image, exif=exif)
      with Image.open(path) as saved:
        expected = np.asarray(ImageOps.exif_transpose(saved))
      self.assertAllEqual(picture_files.read(path), expected, 'orientation %d' % orientation)

  def testStripsMakeNoDifference(self):
    for mode in 'RGB', 'RGBA', 'LA', 'L', 'P', '1':
      image = Image.fromarray(_random(9, 7, 4)).convert(mode)
      path = self._saved('a.png', image)
      whole = picture_files.read(path)
      with mock.patch.object(picture_files, 'STRIP_PIXELS', 15):  # two rows
        self.assertAllEqual(picture_files.read(path), whole)

  def testFirstPictureOfAnAnimation(self):
    colours = [(250, 0, 0), (0, 250, 0)]
    frames = [Image.new('RGB', (6, 4), colour) for colour in colours]
    path = self._saved('a.gif', frames[0], save_all=True, append_images=frames[1:])
    self.assertAllEqual(picture_files.read(path), np.tile(np.uint8(colours[0]), (4, 6, 1)))

  def testGrey(self):
    grey = _random(4, 5, 1)
    self.assertAllEqual(picture_files.read(self._saved('a.png', Image.fromarray(grey[..., 0]))),
                        np.repeat(grey, 3, axis=2))

  def testGreyOf16Bits(self):
    grey = np.array([[0, 257, 40000, 65535]], np.uint16)
    read = picture_files.read(self._saved('a.png', Image.fromarray(grey)))
    self.assertAllEqual(read[0, :, 0], [0, 1, 156, 255])  # 40000 / 257 = 155.6

  def testTransparentPartsAreWhite(self):
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8)
    read = picture_files.read(self._saved('a.png', Image.fromarray(pixels)))
    self.assertAllEqual(read[0, :2], [[10, 20, 30], [255, 255, 255]])
    self.assertAllClose(read[0, 2], [127, 127, 127], atol=1)  # half of the white background

  def testTransparentColourOfAPalette(self):
    image = Image.new('P', (2, 1))
    image.putpalette([9, 8, 7, 1, 2, 3])
    image.putdata([0, 1])
    read = picture_files.read(self._saved('a.gif', image, transparency=1))
    self.assertAllEqual(read, [[[9, 8, 7], [255, 255, 255]]])

  def testWhatIsNoPictureIsNamed(self):
    for name, content in ('a.png', b'not a picture'), ('b.jpg', b''), ('c.txt', b'\0' * 99):
      path = self._path(name, content)
      with self.assertRaisesRegex(Failure, '^%s is no picture that can be read' % path):
        picture_files.read(path)
    with self.assertRaisesRegex(Failure, 'missing.png cannot be read: No such file'):
      picture_files.read(os.path.join(self.get_temp_dir(), 'missing.png'))

  def testAFormatThatIsNotAskedForIsRefused(self):
    path = self._saved('a.tiff', Image.fromarray(_random(4, 4)))
    with self.assertRaisesRegex(Failure, 'is no picture that can be read here .PNG, JPEG'):
      picture_files.read(path)

  def testBrokenFilesAreNamed(self):
    random = np.random.RandomState(0)
    sound = {}
    for kind in 'png', 'jpeg', 'gif', 'bmp', 'webp':
      with io.BytesIO() as file:
        Image.fromarray(_random(20, 20)).save(file, format=kind)
        sound[kind] = file.getvalue()
    refused = 0
    for kind, content in sound.items():
      for _ in range(40):
        broken = bytearray(content[:random.randint(1, len(content))])
        for place in random.randint(0, len(broken), 5):
          broken[place] = random.randint(256)
        path = self._path('broken.' + kind, bytes(broken))
        try:
          self.assertEqual(picture_files.read(path).dtype, np.uint8)
        except Failure as failure:
          self.assertIn(path, str(failure))
          refused += 1
    self.assertGreater(refused, 100)

  def testStandardInput(self):
    pixels = _random(5, 6)
    with io.BytesIO() as file:
      Image.fromarray(pixels).save(file, format='PNG')
      content = file.getvalue()
    stdin = types.SimpleNamespace(buffer=io.BytesIO(content))
    with mock.patch.object(sys, 'stdin', stdin):
      self.assertAllEqual(picture_files.read('-'), pixels)

  def testStandardInputWithoutEndIsRefused(self):
    for content in bytes(2000), b'':
      stdin = types.SimpleNamespace(buffer=io.BytesIO(content))
      with mock.patch.object(sys, 'stdin', stdin), mock.patch.object(
          picture_files, 'MAX_BYTES', 1000), self.assertRaisesRegex(
              Failure, 'Standard input has more than' if content else '^- is no picture'):
        picture_files.read('-')

  def testOnlyRegularFilesAreOpened(self):
    fifo = os.path.join(self.get_temp_dir(), 'fifo.png')
    os.mkfifo(fifo)  # opening it would wait for a writer
    for path in fifo, '/dev/zero', '/dev/tty':
      with self.assertRaisesRegex(Failure, '^%s is not a regular file' % path):
        picture_files.read(path)
    # It takes the place of a file after the first look.
    status = os.stat(self._path('a.png', b'x'))
    with mock.patch.object(os, 'stat', return_value=status), self.assertRaisesRegex(
        Failure, 'is not a regular file'):
      picture_files.read(fifo)

  def testFilesInProcAreNotRead(self):
    with self.assertRaisesRegex(Failure, '^/proc/kmsg (is no picture|cannot be read)'):
      picture_files.read('/proc/kmsg')

  def testLargeFilesAreRefused(self):
    path = self._path('sparse.png')
    os.truncate(path, 6 << 30)  # without blocks
    with self.assertRaisesRegex(Failure, 'sparse.png has 6442 MB; a picture may have 134 MB'):
      picture_files.read(path)

  def testNamesAreEscaped(self):
    path = os.path.join(self.get_temp_dir(), '\x1b]0;owned\x07.png')
    for content in None, b'', b'\x89PNG\r\n\x1a\n' + bytes(30):
      if content is not None:
        self._path(path, content)
      with self.assertRaisesRegex(Failure, r'\\x1b\]0;owned\\x07.png (cannot|is)'):
        picture_files.read(path)

  def testFindsNoFifos(self):
    root = os.path.join(self.get_temp_dir(), 'special')
    self._path('special/a.png')
    os.mkfifo(os.path.join(root, 'b.png'))
    os.symlink('/dev/zero', os.path.join(root, 'c.png'))
    os.symlink('nowhere', os.path.join(root, 'd.png'))  # stays, so that `read` names it
    self.assertEqual(picture_files.find([root]), [
        os.path.join(root, name) for name in ('a.png', 'd.png')])

  def testFinds(self):
    root = os.path.join(self.get_temp_dir(), 'find')
    for name in 'b.PNG', 'a.jpg', 'notes.txt', '.hidden.png', 'in/c.gif', '.git/d.png', 'x[1].png':
      self._path(os.path.join('find', name))
    def names(*sources):
      paths = picture_files.find([os.path.join(root, source) for source in sources])
      return [os.path.relpath(path, root) for path in paths]
    self.assertEqual(names(''), ['a.jpg', 'b.PNG', 'x[1].png', 'in/c.gif'])
    self.assertEqual(names('notes.txt', 'a.jpg'), ['notes.txt', 'a.jpg'])  # in the order given
    self.assertEqual(names('*.jpg'), ['a.jpg'])  # where the shell has not expanded it
    self.assertEqual(names('x[1].png'), ['x[1].png'])
    self.assertEqual(names('none.png'), ['none.png'])
    self.assertEqual(picture_files.find(['-']), ['-'])

  def testWalkCountsWhatItPassesOver(self):
    root = os.path.join(self.get_temp_dir(), 'walk')
    for name in 'b.PNG', 'notes.txt', 'IMG.HEIC', 'README', '.hidden.png', '.git/d.png', 'in/a.gif':
      self._path(os.path.join('walk', name))
    os.makedirs(os.path.join(root, 'none', 'empty'))
    os.symlink('in', os.path.join(root, 'link'))
    self.addCleanup(shutil.rmtree, root)  # TensorFlow's own cleaning would follow the link
    os.mkfifo(os.path.join(root, 'fifo.png'))
    passed_over = collections.Counter()
    self.assertEqual(picture_files.walk(root, passed_over),
                     [os.path.join(root, name) for name in ('b.PNG', 'in/a.gif')])
    self.assertEqual(passed_over, {
        'hidden': 2, '*.txt': 1, '*.heic': 1, 'files without an ending': 1, 'links to folders': 1,
        'folders without pictures': 1, 'FIFOs and devices': 1})
    self.assertEqual(picture_files.walk(os.path.join(root, 'missing')), [])

  def testAFolderWithoutPicturesIsNamed(self):
    folder = os.path.join(self.get_temp_dir(), 'empty')
    os.mkdir(folder)
    path, = picture_files.find([folder])
    with self.assertRaisesRegex(Failure, 'empty has no picture in it'):
      picture_files.read(path)

  def testWritesWhatItReads(self):
    pixels, path = _random(6, 5), os.path.join(self.get_temp_dir(), 'out.png')
    picture_files.write(path, pixels)
    self.assertAllEqual(picture_files.read(path), pixels)

  def testFullDiskLeavesNoPartOfAPicture(self):
    folder = os.path.join(self.get_temp_dir(), 'full')
    os.mkdir(folder)

    def save(image, file, **options):
      file.write(b'half')
      raise OSError(28, 'No space left on device')
    with mock.patch.object(Image.Image, 'save', save), self.assertRaises(OSError):
      picture_files.write(os.path.join(folder, 'out.png'), _random(6, 5))
    self.assertEmpty(os.listdir(folder))


if __name__ == '__main__':
  tf.test.main()
