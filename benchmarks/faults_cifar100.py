"""Makes up directories and archives of CIFAR-100 for `faults`, with one file or byte damaged."""
import contextlib
import hashlib
import os
import pathlib
import shutil
from unittest import mock

import numpy as np

from cifar10_lib.dataset import archive, cifar100, records
from cifar10_lib.dataset.testing import cifar100_files, members_of, tarball

FOLDER = cifar100.CIFAR100.directory
# So that a case ends soon: a case need not reach the disk.
QUICK = ((os, 'fsync', lambda _: None), (archive, 'say', lambda _: None),
         (cifar100, 'print', lambda *_, **__: None))


def _other_content(random, content, damaged):
  """Returns what might be in the place of a file's sound content."""
  kind = random.randint(8)
  if kind < 3:
    return damaged(random, content)
  if kind == 3:  # the same length, one byte changed
    place = random.randint(len(content))
    return content[:place] + random.bytes(1) + content[place + 1:]
  if kind == 4:  # another label
    place = random.randint(2) + random.randint(3) * records.CIFAR100_RECORD_BYTES
    return content[:place] + random.bytes(1) + content[place + 1:]
  return [b'', content * 2, random.bytes(random.randint(20) * records.CIFAR100_RECORD_BYTES)][
      kind - 5]


def _is_right(directory, files, labels):
  """Tells whether a directory holds `files`, a dict from name to content, with these labels."""
  column = list(cifar100.LABELS).index(labels)
  for name, parts in cifar100.PARTS.items():
    original = np.frombuffer(files[name], np.uint8).reshape(-1, records.CIFAR100_RECORD_BYTES)
    found = b''.join(pathlib.Path(directory, part).read_bytes() for part in parts)
    expected = np.hstack([original[:, column:column + 1], original[:, 2:]])
    if found != expected.tobytes() or original[:, 0].max() > 19 or original[:, 1].max() > 99:
      return False
  meta = pathlib.Path(directory, records.META_FILE).read_bytes()
  return (meta.count(b'\n') == cifar100.LABELS[labels]
          and cifar100.labels_of(directory) == labels)


def row(directory, damaged):
  """Returns the function that tries one data directory; `damaged` is `faults.damaged`."""
  sound = cifar100_files(train=6, test=3)
  data_dir = pathlib.Path(directory, 'data')
  placed = data_dir / cifar100.CIFAR100.archive

  def put(random):
    """Writes files, damaged or not; returns the content of each, and the archive's hash if any."""
    files = dict(sound)
    if random.rand() < 0.9:
      name = list(files)[random.randint(len(files))]
      files[name] = _other_content(random, files[name], damaged)
    if random.rand() < 0.5:
      (data_dir / FOLDER).mkdir(parents=True)
      for name, content in files.items():
        (data_dir / FOLDER / name).write_bytes(content)
      return files, None
    content = tarball(members_of(files, FOLDER + '/'))
    if random.rand() < 0.3:
      content = damaged(random, content)
    data_dir.mkdir()
    placed.write_bytes(content)
    return files, hashlib.sha256(content).hexdigest()

  def case(random):
    labels = list(cifar100.LABELS)[random.randint(2)]
    try:
      with contextlib.ExitStack() as stack:
        for place, name, value in QUICK:
          stack.enter_context(mock.patch.object(place, name, value, create=name == 'print'))
        files, sha256 = put(random)
        found = cifar100.maybe_download_and_extract(
            str(data_dir), 'cifar100', sha256, labels)
      return _is_right(found, files, labels)
    finally:
      beside = {FOLDER, placed.name, records.DIRECTORY, '.lock'}
      left = set(os.listdir(data_dir)) - beside
      shutil.rmtree(data_dir)
      assert not left, 'files beside the data'
  return case
