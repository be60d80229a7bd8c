"""Limits the memory and time that decoding a JPEG file takes."""
import re

MAX_PIXELS = 200_000_000  # the largest sensor of a phone
MAX_SCANS = 100     # a progressive file has about 10; each scan passes through the whole picture
MAX_SEGMENTS = 10000
COLOURS = 3         # components of an ordinary picture

# The byte after 0xff that starts a segment. Others are data, filling or restart markers.
_MARKER = re.compile(rb'\xff([^\x00\x01\xd0-\xd8\xff])')
_END, _SCAN = b'\xd9', b'\xda'


def scans(content):
  """Returns the number of components in each scan of a JPEG file (list of int).

  Args:
    content: bytes of the file.

  Raises:
    ValueError: the file has too many scans or segments.
  """
  found, place = [], 0
  for _ in range(MAX_SEGMENTS):
    marker = _MARKER.search(content, place)
    if not marker or marker[1] == _END:
      return found
    start = marker.end()
    place = start + int.from_bytes(content[start:start + 2], 'big')
    if marker[1] == _SCAN:
      found.extend(content[start + 2:start + 3])
      if len(found) > MAX_SCANS:
        raise ValueError('it has more than %d scans' % MAX_SCANS)
  raise ValueError('it has more than %d segments' % MAX_SEGMENTS)


def max_pixels(image, content, most):
  """Returns the largest number of pixels that this kind of JPEG file may have.

  The decoder keeps the whole picture of a file with several scans, even if the result is smaller.
  That takes 2 bytes for each pixel and component.

  Args:
    image: the Pillow image of the file, not yet decoded.
    content: bytes of the file.
    most: the limit for a picture of three components that is decoded as a whole.

  Raises:
    ValueError: the file has too many scans.
  """
  found = scans(content)
  if found == [image.layers] and 'progressive' not in image.info:
    return MAX_PIXELS
  return most * COLOURS // max(COLOURS, image.layers)


def draft(image, most):
  """Has a JPEG file decoded at a half, a quarter or an eighth if it has more than `most` pixels."""
  width, height = image.size
  scale = 1
  while scale < 8 and width * height > most * scale * scale:
    scale *= 2
  if scale > 1:
    image.draft(None, (width // scale, height // scale))
