"""Finds picture files and reads them as upright, opaque RGB pictures; does not need TensorFlow.

A photograph may be stored sideways with its orientation in the header. A drawing may be
transparent, a scan may be grey.
"""
import glob
import io
import os
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageOps

from cifar10_lib.common.programs import Failure

FORMATS = ('PNG', 'JPEG', 'BMP', 'GIF', 'WEBP')  # the only decoders that Pillow may use
# File names in a folder that count as pictures.
ENDINGS = ('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.bmp', '.gif', '.webp')
MAX_PIXELS = 100_000_000  # 300 MB as RGB; decoding takes several times as much
STDIN = '-'
BACKGROUND = (255, 255, 255, 255)  # red, green, blue, alpha: white

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit only warns; `read` checks MAX_PIXELS

# Pillow's errors for broken files; which one depends on the broken part.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError,
           OverflowError, struct.error, zlib.error, Image.DecompressionBombError)


def find(sources):
  """Returns the paths of the pictures that a command line names (list of str).

  Args:
    sources: list of files, folders, patterns (not every shell expands them) and '-'. A folder
      stands for the pictures in it and its subfolders, sorted, without hidden ones.

  Returns:
    A list of paths. It keeps a source without pictures, so that `read` reports the problem.
  """
  paths = []
  for source in sources:
    found = [] if os.path.exists(source) else sorted(glob.glob(source))
    for directory, folders, files in os.walk(source):  # nothing if it is no folder
      folders[:] = sorted(name for name in folders if not name.startswith('.'))
      found += [os.path.join(directory, name) for name in sorted(files)
                if name.lower().endswith(ENDINGS) and not name.startswith('.')]
    paths += found or [source]
  return paths


def _upright(image):
  """Returns a Pillow image turned as EXIF says, on a white background, in RGB."""
  image = ImageOps.exif_transpose(image)
  if image.mode.startswith('I'):  # 16-bit grey, which Pillow would clip at 255
    grey = (np.asarray(image).astype(np.int32) + 128) // 257  # 65535 / 257 = 255
    image = Image.fromarray(grey.astype(np.uint8))
  if image.has_transparency_data:
    image = image.convert('RGBA')
    image = Image.alpha_composite(Image.new('RGBA', image.size, BACKGROUND), image)
  return image.convert('RGB')


def read(path):
  """Reads a picture.

  Args:
    path: a file in one of FORMATS, whatever its name; '-' for standard input.

  Returns:
    uint8 [H, W, 3], 0..255, red, green, blue. The picture is turned as EXIF says, and transparent
    parts are white. An animation gives its first picture.

  Raises:
    Failure: the file is missing, broken, not a picture, or has more than MAX_PIXELS pixels.
  """
  if os.path.isdir(path):
    raise Failure('%s has no picture in it whose name ends in %s.' % (path, ', '.join(ENDINGS)))
  try:
    # Pillow seeks in a file, and a pipe does not allow that. Memory does.
    if path != STDIN:
      with open(path, 'rb') as file:
        content = file.read()
    elif sys.stdin:
      content = sys.stdin.buffer.read()
    else:
      raise Failure('Standard input is closed. Name a file, or redirect one into it.')
  except OSError as error:
    raise Failure('%s cannot be read: %s.' % (path, error.strerror)) from error
  try:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
      width, height = image.size
      if width * height > MAX_PIXELS:
        raise Failure('%s has %d x %d pixels; make it smaller than %d million.'
                      % (path, width, height, MAX_PIXELS // 1_000_000))
      return np.asarray(_upright(image))
  except Image.UnidentifiedImageError as error:
    raise Failure('%s is no picture that can be read here (%s).'
                  % (path, ', '.join(FORMATS))) from error
  except _BROKEN as error:
    raise Failure('%s is broken: %s. Save it again.' % (path, error)) from error


def write(path, picture):
  """Writes a picture, uint8 [H, W, 3], as a PNG file."""
  Image.fromarray(picture).save(path, format='PNG')
