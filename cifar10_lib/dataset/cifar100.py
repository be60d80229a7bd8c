"""Puts CIFAR-100, binary version, into a data directory, in the layout of CIFAR-10.

  DATA_DIR/cifar-100-binary.tar.gz   fetched as `download` fetches CIFAR-10, or placed by hand
  DATA_DIR/cifar-100-binary          what the archive holds, if that is placed by hand
  DATA_DIR/cifar-10-batches-bin      converted from either: the eight files

A record of CIFAR-100 is a coarse label (1 byte), a fine label (1 byte) and a picture in CIFAR-10's
format. The converted record keeps one of the labels. This module does not need TensorFlow.
"""
import contextlib
import os
import re

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.dataset import archive as archives
from cifar10_lib.dataset import download, locking, records, versions
from cifar10_lib.dataset.records import CIFAR100_RECORD_BYTES

ASKED = 'cifar100'  # value of --data_url for the official archive
LABELS = {'coarse': 20, 'fine': 100}  # number of classes, in the order of a record's label bytes
NAMES = {labels: labels + '_label_names.txt' for labels in LABELS}  # a file with a name per line
# Which files the records of a file are divided among.
PARTS = {'train.bin': records.TRAIN_FILES, 'test.bin': [records.TEST_FILE]}

# TensorFlow Datasets lists this size and hash in url_checksums/cifar100.txt.
CIFAR100 = archives.Source(
    title='CIFAR-100', url='https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
    archive=versions.CIFAR100_ARCHIVE, size=168513733,
    sha256='58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec',
    directory=versions.CIFAR100_DIRECTORY, bin_files=list(PARTS), text_files=list(NAMES.values()),
    record_bytes=CIFAR100_RECORD_BYTES, max_bin_bytes=320 << 20,  # train.bin has 153,700,000 bytes
    has_others=True)  # fine_label_names.txt~, which an editor left there

# `labels_of` searches readme.html for this text.
MARKER = '<meta name="cifar-100" content="%s labels">'
README = MARKER + '''
<title>CIFAR-100</title>
<p>This is CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html) with its %d %s labels, in the
files of CIFAR-10. It was converted from
%s.</p>
'''
MAX_README = 1 << 16  # characters to search


def is_meant(data_url, labels='fine'):
  """Tells whether the values of --data_url and --labels ask for CIFAR-100 (bool).

  A URL asks for it if it ends in the archive's name. --labels=coarse can mean nothing else.
  """
  name = re.split('[?#]', data_url)[0].rsplit('/', 1)[-1]
  return data_url == ASKED or name == CIFAR100.archive or labels != 'fine'


def labels_of(directory):
  """Returns 'fine' or 'coarse' if a directory holds CIFAR-100, or None if it holds anything else.

  Args:
    directory: path of a cifar-10-batches-bin directory.

  Raises:
    Failure: readme.html cannot be read.
  """
  path = os.path.join(directory, records.README_FILE)
  if not os.path.isfile(path):
    return None
  try:
    with open(path, encoding='utf-8', errors='replace') as file:
      text = file.read(MAX_README)
  except OSError as error:
    raise Failure('Cannot read %s: %s.' % (path, error.strerror)) from error
  return next((labels for labels in LABELS if MARKER % labels in text), None)


def _blocks(file, size):
  """Yields the first `size` bytes of an open file in blocks."""
  while size:
    block = file.read(min(size, archives.BLOCK_BYTES))
    if not block:
      raise Failure('%s became shorter while it was read. Run the same command again.' % file.name)
    size -= len(block)
    yield block


def _placed_files(place):
  """Yields the files in a directory placed by hand, as `archive.opened` does for an archive."""
  for name in CIFAR100.bin_files + CIFAR100.text_files:
    path = os.path.join(place, name)
    if not os.path.lexists(path):
      continue
    if not os.path.isfile(path):
      raise Failure('%s is not a regular file. Move %s away and run again.' % (path, place))
    size = os.path.getsize(path)
    problem = CIFAR100.problem(name, size)
    if problem:
      raise Failure('%s: %s. Move %s away and run again.' % (path, problem, place))
    with open(path, 'rb') as file:
      yield name, size, _blocks(file, size)


def _check_labels(batch, start, name, place):
  """Raises Failure if a label in a batch of records is too large; `start` records came before."""
  for column, (labels, count) in enumerate(LABELS.items()):
    wrong = np.flatnonzero(batch[:, column] >= count)
    if wrong.size:
      number = start + wrong[0]
      raise Failure('%s: %s has %s label %d at record %d (byte %d); %s labels must be 0..%d. Move '
                    'it away and run again.' % (
                        place, name, labels, batch[wrong[0], column], number,
                        number * CIFAR100_RECORD_BYTES + column, labels, count - 1))


def _batches(blocks, name, place):
  """Regroups the content of a .bin file as batches of records, and checks their labels.

  Yields (number of records before the batch, batch: uint8 [N, CIFAR100_RECORD_BYTES]).
  """
  rest, start = b'', 0
  for block in blocks:
    rest += block
    whole = len(rest) - len(rest) % CIFAR100_RECORD_BYTES
    batch = np.frombuffer(rest[:whole], np.uint8).reshape(-1, CIFAR100_RECORD_BYTES)
    _check_labels(batch, start, name, place)
    yield start, batch
    rest, start = rest[whole:], start + len(batch)


def _divide(batches, count, paths, labels):
  """Writes `count` records in order into files of equal size, in CIFAR-10's format.

  If `count` is no multiple of the number of files, their sizes differ by one record at most.

  Args:
    batches: iterator as `_batches` returns it.
    count: int, number of records in all batches.
    paths: files to write.
    labels: which label a record keeps, 'fine' or 'coarse'.
  """
  bounds = [count * number // len(paths) for number in range(len(paths) + 1)]  # between the files
  column = list(LABELS).index(labels)
  with contextlib.ExitStack() as stack:
    files = [stack.enter_context(open(path, 'wb')) for path in paths]
    for start, batch in batches:
      converted = batch[:, 1:].copy()  # [N, RECORD_BYTES], with the fine label
      converted[:, 0] = batch[:, column]
      for file, first, end in zip(files, bounds, bounds[1:], strict=False):
        file.write(converted[max(0, first - start):max(0, end - start)])
    for file in files:
      file.flush()
      os.fsync(file.fileno())


def _names(text, name, place):
  """Returns the class names in a file of names (list of str); `text` is its content, bytes."""
  lines = re.split('[\r\n]', text.decode('utf-8', 'replace'))
  found = [line.strip() for line in lines if line.strip()]
  count = next(count for labels, count in LABELS.items() if NAMES[labels] == name)
  if len(found) != count:
    raise Failure('%s: %s holds %d names, not %d. Move it away and run again.' % (
        place, name, len(found), count))
  return found


def _convert(files, place, labels, folder):
  """Writes the .bin files and batches.meta.txt.

  Args:
    files: iterator over (name, size in bytes, blocks of bytes), as `archive.opened` yields it.
    place: the archive or directory that they come from, for messages.
    labels: which label a record keeps, 'fine' or 'coarse'.
    folder: path of the directory to write into.

  Raises:
    Failure: a file is missing or not sound.
  """
  counts, names = {}, {}  # of records in .bin files; of classes in files of names
  for name, size, blocks in files:
    if name not in PARTS:
      names[name] = _names(b''.join(blocks), name, place)
      continue
    paths = [os.path.join(folder, part) for part in PARTS[name]]
    counts[name] = size // CIFAR100_RECORD_BYTES
    if counts[name] < len(paths):
      raise Failure('%s: %s has %d records, too few for %d files. Move it away and run again.' % (
          place, name, counts[name], len(paths)))
    _divide(_batches(blocks, name, place), counts[name], paths, labels)
  missing = [name for name in [*PARTS, NAMES[labels]] if name not in {**counts, **names}]
  if missing:
    raise Failure('%s holds no %s. Move it away and run again.' % (place, missing[0]))
  with open(os.path.join(folder, records.META_FILE), 'w', encoding='utf-8') as file:
    file.write('\n'.join(names[NAMES[labels]]) + '\n')


def _placed(data_dir):
  """Returns the directory of CIFAR-100's files that was placed by hand, or None."""
  inside = os.path.join(data_dir, CIFAR100.directory)
  itself = all(os.path.isfile(os.path.join(data_dir, name)) for name in CIFAR100.bin_files)
  return inside if os.path.isdir(inside) else data_dir if itself else None


def _write_readme(folder, labels, origin):
  """Writes readme.html; `origin` says what was converted."""
  with open(os.path.join(folder, records.README_FILE), 'w', encoding='utf-8') as file:
    file.write(README % (labels, LABELS[labels], labels, origin))


def _fill_from_directory(directory, place, labels):
  """Converts the files in the directory `place` into the new directory `directory`."""
  with archives.replacing(directory, archives.UNPACKED_BYTES) as folder:
    _convert(_placed_files(place), place, labels, folder)
    hashes = ['%s with SHA-256 %s' % (name, download.sha256_of(os.path.join(place, name)))
              for name in CIFAR100.bin_files]
    _write_readme(folder, labels, ' and '.join(hashes))


def _fill_from_archive(directory, archive, sha256, labels):
  """Converts the files in an archive into the new directory `directory`."""
  with archives.replacing(directory, archives.UNPACKED_BYTES) as folder:
    with archives.opened(CIFAR100, archive) as files:
      _convert(files, archive, labels, folder)
    _write_readme(folder, labels, '%s with SHA-256 %s' % (CIFAR100.archive, sha256))


def maybe_download_and_extract(data_dir, data_url=ASKED, data_sha256=None, labels='fine',
                               max_bytes=download.MAX_BYTES):
  """Makes sure that `data_dir` holds CIFAR-100 in the layout of CIFAR-10.

  It uses no network if the data is there, or cifar-100-binary.tar.gz, or what that unpacks to.

  Args:
    data_dir: directory to fill, made if necessary; or a directory that holds the .bin files.
    data_url: https, http or file URL of the archive; 'cifar100' for the official one.
    data_sha256: SHA-256 (64 hex digits) of that archive; None for that of the official archive.
    labels: 'fine' (100 classes) or 'coarse' (20 classes).
    max_bytes: int, the size of the largest archive to download.

  Returns:
    The path of the directory with the .bin files, DATA_DIR/cifar-10-batches-bin unless DATA_DIR
    holds them itself, checked by `records.check_data`.

  Raises:
    Failure: the data cannot be fetched, converted or written, or is not sound; or the directory
      holds another data set or other labels. The message says what to do.
  """
  def fill(directory):
    if not is_meant(data_url):
      raise Failure('--labels=%s is for CIFAR-100. Pass --data_url=cifar100 too.' % labels)
    archive, place = os.path.join(data_dir, CIFAR100.archive), _placed(data_dir)
    if place and not os.path.lexists(archive):
      download.check_space(data_dir, archives.UNPACKED_BYTES)
      _fill_from_directory(directory, place, labels)
    else:
      archive, sha256 = download.fetch(CIFAR100, data_dir, url, data_sha256, max_bytes)
      _fill_from_archive(directory, archive, sha256, labels)
    print('Successfully converted CIFAR-100 with its %d %s labels.' % (LABELS[labels], labels),
          flush=True)
  url = CIFAR100.url if data_url == ASKED else data_url
  download.check_flags(url, data_sha256)
  directory = locking.filled(data_dir, CIFAR100.title, fill)
  found = labels_of(directory)
  if found is None:
    raise Failure('%s holds another data set, not CIFAR-100. Choose another --data_dir for '
                  'CIFAR-100.' % directory)
  if found != labels:
    raise Failure('%s holds CIFAR-100 with %s labels, not with %s ones. Choose another --data_dir, '
                  'or pass --labels=%s.' % (directory, found, labels, found))
  records.check_data(directory)
  return directory
