"""Picture files: finding them, and opening them whatever they are; no TensorFlow.

A photograph may lie on its side with a note in its header that it does, a drawing may have no
background, a scan no colours. What leaves this room is upright, opaque and has three channels.
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

FORMATS = ('PNG', 'JPEG', 'BMP', 'GIF', 'WEBP')  # what Pillow is asked for: nothing more exotic
# What counts in a folder.
ENDINGS = ('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.bmp', '.gif', '.webp')
LARGEST = 100_000_000  # pixels, 300 MB, and some times that on the way; a small file can claim more
STDIN = '-'
BACKGROUND = (255, 255, 255, 255)  # red, green, blue, alpha: white, as pages have it

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit only warns; ours is below

# What Pillow raises about files that are broken, by the part of them that is.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError,
           OverflowError, struct.error, zlib.error, Image.DecompressionBombError)


def _in_folder(folder):
  """Returns the pictures in a folder and in those below it, in order; no hidden ones."""
  found = []
  for directory, folders, files in os.walk(folder):
    folders[:] = sorted(name for name in folders if not name.startswith('.'))
    found += [os.path.join(directory, name) for name in sorted(files)
              if name.lower().endswith(ENDINGS) and not name.startswith('.')]
  return found


def find(sources):
  """Lists the pictures that a command line names.

  Args:
    sources: list of files, folders, patterns (for shells that leave them as they are) and '-'.

  Returns:
    A list of paths. A source without any picture is among them, for `read` to tell what is wrong.
  """
  paths = []
  for source in sources:
    if os.path.isdir(source):
      found = _in_folder(source)
    elif glob.has_magic(source) and not os.path.exists(source):
      found = sorted(glob.glob(source))
    else:
      found = [source]
    paths += found or [source]
  return paths


def _upright(image):
  """Returns a Pillow image as its maker saw it: turned as EXIF says, on white, in RGB."""
  image = ImageOps.exif_transpose(image)
  if image.mode.startswith('I'):  # 16 bits of grey, which Pillow would cut off at 255
    grey = (np.asarray(image).astype(np.int32) + 128) // 257  # 65535 / 257 = 255
    image = Image.fromarray(grey.astype(np.uint8))
  if image.has_transparency_data:
    image = image.convert('RGBA')
    image = Image.alpha_composite(Image.new('RGBA', image.size, BACKGROUND), image)
  return image.convert('RGB')


def read(path):
  """Opens a picture.

  Args:
    path: of a file in one of FORMATS, whatever its name; '-' for standard input.

  Returns:
    uint8 [H, W, 3], 0..255, red, green, blue. Of an animation the first picture; turned as EXIF
    says; transparent parts white.

  Raises:
    Failure: it is not there, is no picture, is broken or too large.
  """
  if os.path.isdir(path):
    raise Failure('%s has no picture in it that can be seen (%s).' % (path, ' '.join(ENDINGS)))
  try:
    # To memory first: Pillow reads on demand, and a pipe cannot be read twice.
    if path == STDIN and sys.stdin is None:  # closed
      raise Failure('Standard input is closed. Name a file, or lead one into it.')
    if path == STDIN:
      content = sys.stdin.buffer.read()
    else:
      with open(path, 'rb') as file:
        content = file.read()
  except OSError as error:
    raise Failure('%s cannot be read: %s.' % (path, error.strerror)) from error
  try:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
      width, height = image.size
      if width * height > LARGEST:
        raise Failure('%s has %d x %d pixels; make it smaller than %d million.'
                      % (path, width, height, LARGEST // 1_000_000))
      return np.asarray(_upright(image))
  except Image.UnidentifiedImageError as error:
    raise Failure('%s is no picture that can be read here (%s).'
                  % (path, ', '.join(FORMATS))) from error
  except _BROKEN as error:
    raise Failure('%s is broken: %s. Save it anew.' % (path, error)) from error


def write(path, picture):
  """Writes a picture, uint8 [H, W, 3], as a PNG file."""
  Image.fromarray(picture).save(path, format='PNG')
