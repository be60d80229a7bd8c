"""Tests for picture_files and jpeg: pictures made to fill the memory or to take for ever."""
import io
import os
import struct
import subprocess
import sys
import textwrap
import zlib
from unittest import mock

import numpy as np
from PIL import Image

import cifar10_lib
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import jpeg, picture_files

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(cifar10_lib.__file__)))

# Prints the memory that reading pictures takes beyond that of the imports, MB.
MEMORY = r'''
    import re, sys
    from cifar10_lib.common.programs import Failure
    from cifar10_lib.dataset import picture_files
    def peak():
      # Linux counts the memory of this test, too, in getrusage's ru_maxrss.
      return int(re.search(r'VmHWM:\s+(\d+) kB', open('/proc/self/status').read())[1]) / 1024
    before = peak()
    for path in sys.argv[1:]:
      try:
        picture_files.read(path)
      except Failure as failure:
        print(failure, file=sys.stderr)
    print(peak() - before)
'''


def chunk(kind, content):
  """Returns a chunk of a PNG file (bytes)."""
  return (struct.pack('>I', len(content)) + kind + content
          + struct.pack('>I', zlib.crc32(kind + content)))


def png(width, height, depth=8, colour=2, data=b'', extra=b'', end=b''):
  """Returns a PNG file (bytes) of `data`, with chunks `extra` before and `end` after the pixels."""
  head = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
  return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + extra
          + chunk(b'IDAT', zlib.compress(data)) + end + chunk(b'IEND', b''))


def saved(image, **options):
  """Returns a Pillow image as a JPEG file (bytes)."""
  with io.BytesIO() as file:
    image.save(file, format='JPEG', **options)
    return file.getvalue()


class LimitsTest(tf.test.TestCase):

  def path(self, name, content):
    path = os.path.join(self.get_temp_dir(), name)
    with open(path, 'wb') as file:
      file.write(content)
    return path

  def refused(self, content, problem):
    with self.assertRaisesRegex(Failure, problem):
      picture_files.read(self.path('picture', content))

  def testManyPixelsAreRefusedBeforeTheyAreUnpacked(self):
    self.refused(png(100000, 100000), 'picture has 100000 x 100000 pixels; make it smaller than 32')
    self.refused(png(10000, 10000, 16, 6), 'picture has 10000 x 10000 pixels')
    self.refused(png(6400, 5001), 'has 6400 x 5001 pixels')
    self.refused(png(6400, 5000), 'is broken')

  def testMemory(self):
    limit = png(5600, 5600, 8, 6, bytes(5600 * (1 + 5600 * 4)))
    whole = saved(Image.new('RGB', (5600, 5600)), progressive=True, subsampling=0)
    result = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(MEMORY), self.path('a.png', limit),
         self.path('b.jpg', whole), self.path('c.png', png(10000, 10000, 16, 6))],
        env=dict(os.environ, PYTHONPATH=ROOT), capture_output=True, text=True, check=True)
    self.assertRegex(result.stderr, '^.*c.png has 10000 x 10000 pixels.*\n$')
    self.assertLess(float(result.stdout), 400)  # TensorFlow takes 600

  def testLargePhotographsAreDecodedSmaller(self):
    ramp = np.linspace(0, 255, 640).astype(np.uint8)
    image = Image.fromarray(np.broadcast_to(ramp[None, :, None], (480, 640, 3)))
    content = saved(image, quality=95)
    full = picture_files.read(self.path('a.jpg', content))
    for scale in 1, 2, 4, 8:
      with mock.patch.object(
          picture_files, 'MAX_PIXELS', 640 * 480 // scale ** 2):
        small = picture_files.read(self.path('a.jpg', content))
      self.assertEqual(small.shape, (480 // scale, 640 // scale, 3))
      means = full.reshape(480 // scale, scale, 640 // scale, scale, 3).mean((1, 3))
      self.assertAllClose(small, means, atol=3)
    self.assertAllEqual(full.shape, (480, 640, 3))

  def testProgressiveFilesAreDecodedAsAWhole(self):
    image = Image.new('RGB', (60, 40))
    for mode, options, most in (('RGB', {}, jpeg.MAX_PIXELS), ('L', {}, jpeg.MAX_PIXELS),
                                ('RGB', {'progressive': True}, 1000),
                                ('CMYK', {'progressive': True}, 750)):
      content = saved(image.convert(mode), **options)
      with Image.open(io.BytesIO(content)) as opened:
        self.assertEqual(jpeg.max_pixels(opened, content, 1000), most)

  def testManyScans(self):
    content = saved(Image.new('RGB', (40, 40), (200, 100, 0)), progressive=True)
    found = jpeg.scans(content)
    self.assertBetween(len(found), 5, 20)
    self.assertEqual(jpeg.scans(content + content), found)  # what follows the end does not count
    last = content[content.rindex(b'\xff\xda'):-2]
    picture_files.read(self.path('picture', content[:-2] + last * 50 + content[-2:]))
    self.refused(content[:-2] + last * 5000 + content[-2:], 'is broken: it has more than 100 scans')
    flood = b'\xff\xe9\0\2' * 20000
    self.refused(content[:-2] + flood, 'is broken: it has more than 10000 segments')

  def testManyParts(self):
    part, pixel = chunk(b'abCd', b''), bytes(4)
    self.refused(png(1, 1, data=pixel, extra=part * 2000), 'broken: .* more than 4000 parts')
    with mock.patch.object(picture_files, 'MAX_READS', 1000):
      picture_files.read(self.path('picture', png(1, 1, data=pixel, end=part * 10)))
      self.refused(png(1, 1, data=pixel, end=part * 1000), 'broken: .* more than 1000 parts')
    content = saved(Image.new('RGB', (40, 40)))
    exif = b'\xff\xe1' + struct.pack('>H', 30) + b'Exif\0\0' + bytes(22)  # Pillow joins them
    self.refused(content[:2] + exif * 5000 + content[2:], 'broken: .* more than 4000 parts')
    comments = b'GIF89a' + struct.pack('<HHBBB', 9, 9, 0, 0, 0) + b'!\xfe' + b'\x01a' * 9000
    self.refused(comments, 'broken: .* more than 4000 parts')

  def testLongHeaders(self):
    exif, pixel = chunk(b'eXIf', bytes(3000)), bytes(4)
    with mock.patch.multiple(picture_files, MAX_HEADER_BYTES=2000, PIXEL_BYTES=1000):
      self.refused(png(1, 1, data=pixel, extra=exif), 'broken: its headers have more than 0 MB')
      self.refused(png(1, 1, data=pixel, end=exif), 'broken: its headers have more than 0 MB')
      with io.BytesIO() as file:
        Image.new('RGB', (9, 9)).save(file, format='WEBP', exif=b'Exif\0\0' + bytes(3000))
        self.refused(file.getvalue(), 'broken: its EXIF header has more than 0 MB')
    with mock.patch.object(picture_files, 'MAX_WEBP_BYTES', 2), io.BytesIO() as file:
      Image.new('RGB', (9, 9)).save(file, format='WEBP')
      self.refused(file.getvalue(), 'broken: 0 MB are too much for a WebP file')


if __name__ == '__main__':
  tf.test.main()
