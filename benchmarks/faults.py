"""Feeds made-up files to the programs' readers, and counts what they make of them.

  python benchmarks/faults.py archives --cases=10000 --seed=1

prints one JSON line. A case is `right` if the reader's result is what the file holds, `refused` if
the reader raises a Failure of one printable line, and otherwise a fault: another exception, a wrong
result, more than 10 seconds. Each fault is described on standard error with the number of its case,
which --first=NUMBER --cases=1 repeats. The memory of the whole process is a fault above 1 GiB.

To add a row, write a function like `archives` and name it in ROWS.
"""
import argparse
import io
import json
import os
import pathlib
import re
import struct
import sys
import tempfile
import time
import traceback
import zlib

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import faults_archives  # noqa: E402
from cifar10_lib.common.programs import Failure, printable  # noqa: E402
from cifar10_lib.dataset import picture_files, records  # noqa: E402

MAX_SECONDS = 10     # for a case
MAX_MEGABYTES = 1024  # for the process
MAX_MESSAGE = 2000   # characters


def damaged(random, content):
  """Returns bytes with a few of them changed, cut off, left out, repeated or put in."""
  content = bytearray(content)
  for _ in range(random.randint(1, 4)):
    kind, place = random.randint(6), random.randint(len(content) + 1)
    span = slice(place, place + random.randint(1, 50))
    if kind == 0:
      del content[place:]
    elif kind == 1:
      del content[span]
    elif kind == 2:
      content[place:place] = content[span] * random.randint(1, 4)
    elif kind == 3:
      content[place:place] = random.bytes(random.randint(1, 50))
    elif place < len(content):
      content[place] = random.randint(256) if kind == 4 else content[place] ^ 1 << random.randint(8)
  return bytes(content)


def archives(directory):
  """Archives with flipped bits, hostile headers, bombs; see `faults_archives`."""
  return faults_archives.row(directory, damaged)


def downloads(directory):
  """Hosts with hostile answers in random order, then a polite one; see `faults_downloads`."""
  from benchmarks import faults_downloads  # here, because its helpers load TensorFlow
  return faults_downloads.row(directory, damaged)


def cifar100(directory):
  """Damaged files and archives of CIFAR-100 placed by hand; see `faults_cifar100`."""
  from benchmarks import faults_cifar100
  return faults_cifar100.row(directory, damaged)


def checkpoint_files(directory):
  """Damaged checkpoints; see `faults_training`."""
  from benchmarks import faults_training
  return faults_training.checkpoint_files(directory, damaged)


def configurations(directory):
  """Damaged values of TF_CONFIG; see `faults_training`."""
  from benchmarks import faults_training
  return faults_training.configurations(directory, damaged)


def status_files(directory):
  """Damaged status files of a trainer; see `faults_training`."""
  from benchmarks import faults_training
  return faults_training.status_files(directory, damaged)


def numbers(directory):
  """NaN and infinity in checkpoints, losses, gradients and pictures; see `faults_numbers`."""
  from benchmarks import faults_numbers
  return faults_numbers.row(directory)


def _records(random, count):
  data = random.randint(0, 256, (count, records.RECORD_BYTES), np.uint8)
  data[:, 0] %= 10
  return data.tobytes()


def _other_content(random, content):
  """Returns what might lie in a place of a .bin file, in place of its sound content."""
  kind = random.randint(7)
  if kind == 0:
    return damaged(random, content)
  if kind == 1 and len(content) > records.RECORD_BYTES:  # whole records, damaged labels
    labels = bytearray(content)
    for _ in range(random.randint(1, 3)):
      labels[random.randint(len(labels) // records.RECORD_BYTES) * records.RECORD_BYTES] ^= (
          1 << random.randint(8))
    return bytes(labels)
  return [b'', b'<!DOCTYPE html>' * 3073, bytes(3074 * 3), content + random.bytes(3073),
          random.bytes(random.randint(20000))][max(0, kind - 2)]


def _put(path, content, special):
  """Writes a file; `special` puts a directory, a FIFO or a symbolic link in its place."""
  path.unlink(missing_ok=True)
  if special is None:
    path.write_bytes(content)
  elif special == 'directory':
    path.mkdir()
  elif special == 'fifo':
    os.mkfifo(path)
  elif special == 'sparse':
    path.touch()
    os.truncate(path, 5 << 30)
  else:
    path.symlink_to(special)


def _remove(path):
  if path.is_dir() and not path.is_symlink():
    path.rmdir()
  else:
    path.unlink(missing_ok=True)


SPECIAL = ['directory', 'fifo', 'sparse', '/nowhere', '/dev/zero', '/dev/full']


def bin_files(directory):
  """Data directories in which one .bin file or batches.meta.txt is not what it should be."""
  folder = pathlib.Path(directory)
  sound = {name: _records(np.random.RandomState(seed), 4)
           for seed, name in enumerate(records.BIN_FILES)}
  sound[records.META_FILE] = '\n'.join(records.CLASS_NAMES).encode()
  for name, content in sound.items():
    (folder / name).write_bytes(content)

  def case(random):
    name = list(sound)[random.randint(len(sound))]
    special = SPECIAL[random.randint(len(SPECIAL))] if random.rand() < 0.1 else None
    content = _other_content(random, sound[name])
    try:
      _put(folder / name, content, special)
      files = dict(sound, **{name: content})
      names = records.class_names(directory)
      counts = records.check_data(directory)
      paths = [os.path.join(directory, each) for each in records.BIN_FILES]
      pictures = records.read_pictures(paths, records.WHOLE, range(sum(counts.values())))
      expected = np.frombuffer(b''.join(files[each] for each in records.BIN_FILES), np.uint8)
      expected = expected.reshape(-1, records.RECORD_BYTES)
      return (expected[:, 0].max() < len(names) <= 256 and list(counts) == records.BIN_FILES
              and all(each.isprintable() and len(each) <= records.MAX_NAME for each in names)
              and np.array_equal(pictures.transpose(0, 3, 1, 2).reshape(len(expected), -1),
                                 expected[:, 1:]))
    finally:
      _remove(folder / name)
      (folder / name).write_bytes(sound[name])
  return case


def _chunk(kind, content):
  return (struct.pack('>I', len(content)) + kind + content
          + struct.pack('>I', zlib.crc32(kind + content)))


def _claims(random, content):
  """Returns a PNG file whose header claims another size or kind; its checksum is right."""
  sides = [0, 1, 20, 21, 5000, 6000, 1 << 16, 1 << 31, (1 << 32) - 1]
  head = struct.pack('>IIBBBBB', sides[random.randint(9)], sides[random.randint(9)],
                     [1, 2, 4, 8, 16, 3][random.randint(6)], random.randint(8), 0, 0,
                     random.randint(3))
  extra = [(b'eXIf', random.bytes(40)), (b'tRNS', random.bytes(6)), (b'iCCP', random.bytes(60)),
           (b'zTXt', b'a\0\0' + zlib.compress(bytes(1 << 20))), (b'PLTE', random.bytes(9)),
           (b'IDAT', zlib.compress(bytes(1 << 20)))][random.randint(6)]
  return content[:8] + _chunk(b'IHDR', head) + _chunk(*extra) + content[33:]


def pictures(directory):
  """Pictures of five formats with damaged bytes or false headers, and special files."""
  path = pathlib.Path(directory, 'picture.png')
  pixels = np.random.RandomState(0).randint(0, 256, (20, 24, 4), np.uint8)
  exif = Image.Exif()
  exif[picture_files.ORIENTATION] = 6
  sound = {}
  for kind, mode, options in (
      ('png', 'RGBA', {}), ('png', 'L', {'exif': exif}), ('png', 'P', {'transparency': 3}),
      ('jpeg', 'RGB', {'exif': exif}), ('jpeg', 'CMYK', {}), ('jpeg', 'L', {'progressive': True}),
      ('gif', 'P', {}), ('bmp', 'RGB', {}), ('webp', 'RGBA', {'lossless': True}),
      ('webp', 'RGB', {'exif': exif})):
    with io.BytesIO() as file:
      Image.fromarray(pixels).convert('RGB').convert(mode).save(file, format=kind, **options)
      sound[kind, mode] = file.getvalue()

  def case(random):
    kind, mode = list(sound)[random.randint(len(sound))]
    content = sound[kind, mode]
    special = SPECIAL[random.randint(len(SPECIAL))] if random.rand() < 0.02 else None
    if random.rand() < 0.9:
      claims = kind == 'png' and random.rand() < 0.5
      content = (_claims if claims else damaged)(random, content)
    try:
      _put(path, content, special)
      read = picture_files.read(str(path))
      return (read.dtype == np.uint8 and read.ndim == 3 and read.shape[2] == 3
              and read.size <= 3 * picture_files.MAX_PIXELS
              and (content != sound[kind, mode] or sorted(read.shape[:2]) == [20, 24]))
    finally:
      _remove(path)
  return case


# Each row is a function of an empty directory. It returns a function of a np.random.RandomState
# that tries one case: it returns whether the result is right, or lets the reader's Failure pass.
ROWS = {'archives': archives, 'bin': bin_files, 'pictures': pictures, 'downloads': downloads,
        'cifar100': cifar100, 'checkpoints': checkpoint_files, 'configurations': configurations,
        'status': status_files, 'numbers': numbers}


def problem_of(case, random):
  """Tries one case; returns ('right' or 'refused', None) or ('faults', what happened)."""
  started = time.monotonic()
  try:
    kind, problem = ('right', None) if case(random) else ('faults', 'a wrong result')
  except Failure as failure:
    text = str(failure)
    safe = text == printable(text, MAX_MESSAGE)
    kind, problem = ('refused', None) if safe else ('faults', 'message %r' % text[:200])
  except Exception:
    kind, problem = 'faults', traceback.format_exc()
  seconds = time.monotonic() - started
  if seconds > MAX_SECONDS:
    kind, problem = 'faults', '%.1f s' % seconds
  return kind, problem


def peak_megabytes():
  """Returns the largest memory that this process has held (float).

  Linux counts the parent's memory in getrusage's ru_maxrss, too.
  """
  status = pathlib.Path('/proc/self/status').read_text(encoding='utf-8')
  return int(re.search(r'VmHWM:\s+(\d+) kB', status)[1]) / 1024


def attack(row, cases, seed=1, first=0):
  """Tries cases of a row and counts what comes of them.

  Args:
    row: a name in ROWS.
    cases: number of cases.
    seed: int; case N draws from RandomState([seed, N]).
    first: number of the first case.

  Returns:
    A dict of row, cases, seed, seconds, right, refused, faults, and megabytes.
  """
  counts = {'right': 0, 'refused': 0, 'faults': 0}
  started = time.monotonic()
  with tempfile.TemporaryDirectory(prefix='faults-') as directory:
    case = ROWS[row](directory)
    for number in range(first, first + cases):
      kind, problem = problem_of(case, np.random.RandomState([seed, number]))
      counts[kind] += 1
      if problem:
        print('%s, seed %d, case %d: %s' % (row, seed, number, problem), file=sys.stderr)
  peak = peak_megabytes()
  if peak > MAX_MEGABYTES and row != 'numbers':  # that one builds hundreds of graphs
    counts['faults'] += 1
    print('%s took %d MB of memory' % (row, peak), file=sys.stderr)
  return dict(row=row, cases=cases, seed=seed, seconds=round(time.monotonic() - started, 1),
              **counts, megabytes=round(peak))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('rows', nargs='*', help='of %s; default: all' % ', '.join(ROWS))
  parser.add_argument('--cases', type=int, default=1000, help='number of cases of each row')
  parser.add_argument('--seed', type=int, default=1, help='each case depends on it and its number')
  parser.add_argument('--first', type=int, default=0, help='number of the first case')
  options = parser.parse_args()
  if not set(options.rows) <= set(ROWS):
    parser.error('the rows are %s' % ', '.join(ROWS))
  faults = 0
  for row in options.rows or ROWS:
    found = attack(row, options.cases, options.seed, options.first)
    print(json.dumps(found), flush=True)
    faults += found['faults']
  return 1 if faults else 0


if __name__ == '__main__':
  sys.exit(main())
