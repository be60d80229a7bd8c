"""Turns picture files into the files of a data set, in steps that a program shows.

  require_new  makes sure that nothing is overwritten
  creating     makes the new directory, which appears at its final name at the end
  read         opens and shrinks pictures, a few at a time, in order
  Spool        keeps their records in a file, so that memory does not grow with their number
  write        writes the files of a data set

Between the last two, `splitting` decides which records are for training and which for the test.
"""
import collections
import concurrent.futures
import contextlib
import hashlib
import html
import os
import pathlib
import tempfile
import time
import warnings

import numpy as np
import PIL

from cifar10_lib.common.programs import Failure, printable
from cifar10_lib.dataset import archive, locking, picture_files, records, shrinking

RULES = 1  # version of how records follow from pictures: order, split, what is left out
CORES = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
THREADS = min(4, CORES)  # each takes up to 400 MB, for a picture of 32 million pixels
AHEAD = 8 * THREADS  # pictures that are read ahead
SHEET_BYTES = 10 << 20  # of a contact sheet of 256 classes of noise


def require_new(data_dir, source):
  """Raises Failure if `data_dir` holds a data set or a part of one, or lies in `source`."""
  here = pathlib.Path(os.path.realpath(data_dir))
  if here.is_relative_to(os.path.realpath(source)):
    raise Failure('--data_dir=%s lies in %s, where every folder counts as a class. Choose a '
                  'directory elsewhere.' % (data_dir, printable(source)))
  for path in [os.path.join(data_dir, name) for name in (records.DIRECTORY, *records.FILES)]:
    if os.path.lexists(path):
      raise Failure('%s is there already, and nothing is overwritten. Choose another --data_dir, '
                    'or move it away.' % path)


@contextlib.contextmanager
def creating(data_dir, source, count):
  """Yields an empty directory that becomes DATA_DIR/cifar-10-batches-bin if the block succeeds.

  A program calls `require_new` first, before it searches and before anything is made.

  Args:
    data_dir: directory to fill; made if necessary.
    source: the folder of pictures.
    count: number of pictures.

  Raises:
    Failure: `data_dir` holds a data set, lies in `source`, or cannot be written.
  """
  with locking.locked(data_dir):
    require_new(data_dir, source)  # another program may have filled it during the wait
    need = 2 * count * records.RECORD_BYTES + SHEET_BYTES  # the spool is there until the end
    with archive.replacing(os.path.join(data_dir, records.DIRECTORY), need) as unfinished:
      yield unfinished


def read(pictures):
  """Opens and shrinks pictures in several threads, because decoding takes most of the time.

  Args:
    pictures: sequence of folders.Picture.

  Yields:
    (picture, pixels), in order. Pixels are uint8 [32, 32, 3]; or a Failure that says why the file
    cannot be read.
  """
  shrink = shrinking.Shrinker()

  def pixels(picture):
    try:
      return shrink(picture_files.read(picture.path))
    except Failure as failure:
      return failure

  waiting = collections.deque()
  with concurrent.futures.ThreadPoolExecutor(THREADS) as pool, warnings.catch_warnings():
    # `picture_files.read` silences warnings too. But threads share the filters, and the thread that
    # ends first turns them on again for the others.
    warnings.simplefilter('ignore')
    try:
      for picture in pictures:
        waiting.append((picture, pool.submit(pixels, picture)))
        if len(waiting) > AHEAD:
          first, future = waiting.popleft()
          yield first, future.result()
      while waiting:
        first, future = waiting.popleft()
        yield first, future.result()
    finally:
      for _, future in waiting:
        future.cancel()


class Spool:
  """Records in a file without a name, in the order of `pictures`."""

  def __init__(self, directory):
    """Makes the file in `directory`."""
    self._file = tempfile.TemporaryFile(dir=directory)
    self.pictures = []  # folders.Picture
    self.digests = []  # bytes; equal where all pixels are

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._file.close()

  def add(self, picture, pixels):
    """Adds a picture, a folders.Picture, with its pixels, uint8 [32, 32, 3]."""
    planes = pixels.transpose(2, 0, 1).tobytes()  # red, green, blue
    self._file.seek(0, os.SEEK_END)
    self._file.write(bytes([picture.label]) + planes)
    self.pictures.append(picture)
    self.digests.append(hashlib.blake2b(planes, digest_size=16).digest())

  def record(self, number):
    """Returns a record (bytes)."""
    self._file.seek(int(number) * records.RECORD_BYTES)
    return self._file.read(records.RECORD_BYTES)

  def pixels(self, numbers):
    """Returns the pixels of records, uint8 [M, 32, 32, 3]; `numbers` is int [M]."""
    raw = np.frombuffer(b''.join(map(self.record, numbers)), np.uint8)
    planes = raw.reshape(-1, records.RECORD_BYTES)[:, records.LABEL_BYTES:]
    return planes.reshape(-1, records.DEPTH, records.HEIGHT, records.WIDTH).transpose(0, 2, 3, 1)


def write(directory, spool, chosen, names):
  """Writes the files of records and the names of the classes into a new directory.

  The numbers of records in two training files differ by at most one.

  Args:
    directory: path.
    spool: a Spool.
    chosen: a splitting.Split of it.
    names: list of str, the classes by label.
  """
  parts = np.array_split(chosen.train, len(records.TRAIN_FILES)) + [chosen.test]
  for name, numbers in zip(records.BIN_FILES, parts, strict=True):
    with open(os.path.join(directory, name), 'wb') as file:
      file.writelines(map(spool.record, numbers))
      file.flush()
      os.fsync(file.fileno())
  with open(os.path.join(directory, records.META_FILE), 'w', encoding='utf-8') as file:
    file.write('\n'.join(names) + '\n')


def write_readme(directory, source, settings, text):
  """Writes readme.html, which says what the data set was made from.

  Args:
    directory: path.
    source: path of the folder of pictures.
    settings: str, how the split was made.
    text: str, the classes with their numbers of records, and what was left out.
  """
  source = html.escape(printable(os.path.abspath(source)))
  page = '\n'.join([
      '<!DOCTYPE html>', '<meta charset="utf-8">', '<title>Pictures of %s</title>' % source,
      '<p>cifar10_convert.py made this data set from the pictures in <code>%s</code> on %s.</p>' % (
          source, time.strftime('%Y-%m-%d %H:%M:%S %z')),
      '<p>%s. Rules of version %d; Pillow %s decoded the pictures.</p>' % (
          html.escape(settings), RULES, PIL.__version__),
      '<p>The files have the format of the binary version of CIFAR-10: %d bytes a record, of which '
      'the first is the label.</p>' % records.RECORD_BYTES,
      '<pre>%s</pre>' % html.escape(text)])
  with open(os.path.join(directory, records.README_FILE), 'w', encoding='utf-8') as file:
    file.write(page + '\n')
