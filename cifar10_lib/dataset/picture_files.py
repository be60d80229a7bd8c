"""Finds picture files and reads them as upright, opaque RGB pictures; does not need TensorFlow.

A photograph may be stored sideways with its orientation in the header. A drawing may be
transparent, a scan may be grey.

A hostile file may hang its reader or fill the memory. `read` opens regular files only and takes
less than 400 MB of memory. cifar10_predict.py, with TensorFlow's 600 MB, stays below 1 GiB.
"""
import glob
import io
import os
import stat
import sys
import warnings

import numpy as np
from PIL import Image

from cifar10_lib.common import writing
from cifar10_lib.common.programs import Failure, printable
from cifar10_lib.dataset import jpeg

FORMATS = ('PNG', 'JPEG', 'BMP', 'GIF', 'WEBP')  # the only decoders that Pillow may use
# File names in a folder that count as pictures.
ENDINGS = ('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.bmp', '.gif', '.webp')
# What `walk` passes over is counted as one of these kinds, or by its ending, such as '*.txt'.
HIDDEN, EMPTY = 'hidden', 'folders without pictures'
LINKS, SPECIAL = 'links to folders', 'FIFOs and devices'
MAX_BYTES = 128 << 20  # of a file
# Pillow takes 4 bytes a pixel, the result 3. Pillow's decoder of WebP takes 16.
MAX_PIXELS = 32_000_000
MAX_WEBP_PIXELS = 16_000_000
MAX_WEBP_BYTES = 64 << 20  # Pillow copies the whole file
MAX_READS = 500_000  # for a file; a photograph takes some thousands
MAX_HEADER_READS = 4000  # before the pixels; Pillow takes minutes over many tiny parts
MAX_HEADER_BYTES = 16 << 20  # EXIF, colour profile and the like
PIXEL_BYTES = 1 << 16  # Pillow reads pixels in blocks of this size, so that larger ones are headers
STRIP_PIXELS = 1 << 20  # converted at once
STDIN = '-'
BACKGROUND = (255, 255, 255, 255)  # red, green, blue, alpha: white
ORIENTATION = 0x0112  # the tag in EXIF

# Maps the orientation in EXIF to what turns pixels [H, W, 3] upright, without a copy.
TURNS = {
    2: lambda pixels: pixels[:, ::-1], 3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1], 5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1), 8: np.rot90,
    7: lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2)}

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit only warns; `read` checks the size


def _is_special(path):
  """Tells whether there is something at `path` that could hang, such as a FIFO or a device."""
  return os.path.exists(path) and not os.path.isfile(path)


def walk(folder, passed_over=None, onerror=None):
  """Returns the paths of the pictures in a folder and its subfolders, sorted (list of str).

  It passes over hidden files and folders, files with other endings, and FIFOs, sockets and devices.
  It follows links to files, and no links to folders, which could lead in a circle.

  Args:
    folder: a path. Anything but a folder gives an empty list.
    passed_over: a collections.Counter, or None. It counts by kind what is passed over.
    onerror: function of an OSError, called for each folder that cannot be listed; None ignores it.
  """
  paths, kinds = [], []
  for directory, folders, files in os.walk(folder, onerror=onerror):
    kinds += [HIDDEN] * sum(name.startswith('.') for name in folders)
    folders[:] = sorted(name for name in folders if not name.startswith('.'))
    kinds += [LINKS] * sum(os.path.islink(os.path.join(directory, name)) for name in folders)
    found = 0
    for name in sorted(files):
      path = os.path.join(directory, name)
      kind = passed_kind(path)
      if kind:
        kinds.append(kind)
      else:
        paths.append(path)
        found += 1
    if not found and not folders:
      kinds.append(EMPTY)
  if passed_over is not None:
    passed_over.update(kinds)
  return paths


def passed_kind(path):
  """Returns as what kind a file is passed over: HIDDEN, SPECIAL, or its ending; '' for a picture.

  The name alone says whether a regular file is a picture.
  """
  name = os.path.basename(path)
  if name.startswith('.'):
    return HIDDEN
  if not name.lower().endswith(ENDINGS):
    return '*' + os.path.splitext(name)[1].lower() if '.' in name else 'files without an ending'
  return SPECIAL if _is_special(path) else ''


def find(sources):
  """Returns the paths of the pictures that a command line names (list of str).

  Args:
    sources: list of files, folders, patterns (not every shell expands them) and '-'. A folder
      stands for the pictures in it and its subfolders, as `walk` returns them.

  Returns:
    A list of paths. It keeps a source without pictures, so that `read` reports the problem.
  """
  paths = []
  for source in sources:
    found = [] if os.path.exists(source) else sorted(glob.glob(source))
    found += walk(source)
    paths += found or [source]
  return paths


class _Counted(io.BufferedReader):
  """A file that ends a picture with headers too long, or with too many parts, for Pillow."""
  opening, reads, header_bytes = True, 0, 0  # `opening` until the pixels begin

  def read(self, size=-1, /):
    data = super().read(size)
    self.reads += 1
    if size is None or size < 0:  # only for WebP
      if len(data) > MAX_WEBP_BYTES:
        raise OSError('%d MB are too much for a WebP file' % (len(data) / 1e6))
    elif self.opening or size > PIXEL_BYTES:
      self.header_bytes += len(data)
    most = MAX_HEADER_READS if self.opening else MAX_READS
    if self.reads > most:
      raise OSError('its headers and pixels are in more than %d parts' % most)
    if self.header_bytes > MAX_HEADER_BYTES:
      raise OSError('its headers have more than %d MB' % (MAX_HEADER_BYTES / 1e6))
    return data

  def content(self):
    """Returns all bytes of the file; keeps the position."""
    place = self.tell()
    self.seek(0)
    data = super().read()
    self.seek(place)
    return data


def _check(path, status):
  """Raises Failure unless an os.stat_result is of a regular file of at most MAX_BYTES."""
  if stat.S_ISDIR(status.st_mode):
    raise Failure('%s has no picture in it whose name ends in %s.' % (
        printable(path), ', '.join(ENDINGS)))
  if not stat.S_ISREG(status.st_mode):
    raise Failure('%s is not a regular file. Name a picture, or redirect it into standard input '
                  'and name - instead.' % printable(path))
  if status.st_size > MAX_BYTES:
    raise Failure('%s has %d MB; a picture may have %d MB.' % (
        printable(path), status.st_size / 1e6, MAX_BYTES / 1e6))


def _open(path):
  """Opens a regular file, or standard input, as a file in which Pillow can seek.

  Raises:
    Failure: the file is anything else, or larger than MAX_BYTES.
    OSError: the file cannot be read.
  """
  if path == STDIN:
    if not sys.stdin:
      raise Failure('Standard input is closed. Name a file, or redirect one into it.')
    content = sys.stdin.buffer.read(MAX_BYTES + 1)  # a pipe does not allow seeking, memory does
    if len(content) > MAX_BYTES:
      raise Failure('Standard input has more than the %d MB that a picture may have.'
                    % (MAX_BYTES / 1e6))
    return _Counted(io.BytesIO(content))
  status = os.stat(path)  # first, because opening a device may have an effect
  _check(path, status)
  if not status.st_size:  # files in /proc claim to be empty, and reading them could wait
    return _Counted(io.BytesIO())
  # O_NONBLOCK: a FIFO that has taken the file's place meanwhile does not hang.
  flags = os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_BINARY', 0)
  raw = io.FileIO(os.open(path, flags))
  try:
    _check(path, os.fstat(raw.fileno()))
  except Failure:
    raw.close()
    raise
  return _Counted(raw)


def _check_size(path, image, file):
  """Raises Failure if a picture has too many pixels; lets a large JPEG be decoded smaller.

  Raises OSError if its header is too long, and ValueError if a JPEG has too many scans.
  """
  if len(image.info.get('exif', b'')) > MAX_HEADER_BYTES:
    raise OSError('its EXIF header has more than %d MB' % (MAX_HEADER_BYTES / 1e6))
  width, height = image.size
  most = MAX_WEBP_PIXELS if image.format == 'WEBP' else MAX_PIXELS
  if image.format == 'JPEG':
    most = jpeg.max_pixels(image, file.content(), MAX_PIXELS)
  if width * height > most:
    raise Failure('%s has %d x %d pixels; make it smaller than %d million.'
                  % (printable(path), width, height, most // 1_000_000))
  if image.format == 'JPEG':
    jpeg.draft(image, MAX_PIXELS)


def _rgb(image):
  """Returns a Pillow image on a white background, uint8 [H, W, 3]; converts strip by strip."""
  width, height = image.size
  pixels = np.empty([height, width, 3], np.uint8)
  rows = max(1, STRIP_PIXELS // width)
  for top in range(0, height, rows):
    strip = image.crop((0, top, width, min(height, top + rows)))
    if strip.mode.startswith('I'):  # 16-bit grey, which Pillow would clip at 255
      grey = (np.asarray(strip).astype(np.int32) + 128) // 257  # 65535 / 257 = 255
      strip = Image.fromarray(grey.astype(np.uint8))
    if strip.has_transparency_data:
      strip = strip.convert('RGBA')
      strip = Image.alpha_composite(Image.new('RGBA', strip.size, BACKGROUND), strip)
    pixels[top:top + rows] = np.asarray(strip.convert('RGB'))
  return pixels


def read(path):
  """Reads a picture.

  Args:
    path: a file in one of FORMATS, whatever its name; '-' for standard input.

  Returns:
    uint8 [H, W, 3], 0..255, red, green, blue. The picture is turned as EXIF says, and transparent
    parts are white. An animation gives its first picture. A JPEG file of more than MAX_PIXELS
    pixels is decoded at a half, a quarter or an eighth of its size.

  Raises:
    Failure: the file is missing, no regular file, larger than MAX_BYTES, broken, not a picture, or
      has more pixels than MAX_PIXELS (MAX_WEBP_PIXELS, jpeg.MAX_PIXELS).
  """
  try:
    file = _open(path)
  except OSError as error:
    raise Failure('%s cannot be read: %s.' % (printable(path), error.strerror)) from error
  try:
    with file, warnings.catch_warnings():
      warnings.simplefilter('ignore')  # Pillow warns of broken headers, perhaps a thousand times
      with Image.open(file, formats=FORMATS) as image:
        _check_size(path, image, file)
        file.opening = False
        pixels = _rgb(image)
        return TURNS.get(image.getexif().get(ORIENTATION), lambda pixels: pixels)(pixels)
  except Failure:
    raise
  except Image.UnidentifiedImageError as error:
    raise Failure('%s is no picture that can be read here (%s).'
                  % (printable(path), ', '.join(FORMATS))) from error
  except Exception as error:  # Pillow raises a dozen kinds, which one depends on the broken part
    problem = printable(str(error) or type(error).__name__, 200)
    raise Failure('%s is broken: %s. Save it again.' % (printable(path), problem)) from error


def write(path, picture):
  """Writes a picture, uint8 [H, W, 3], as a PNG file. It appears at `path` when it is whole."""
  with writing.replacing(path) as file:
    Image.fromarray(picture).save(file, format='PNG')
