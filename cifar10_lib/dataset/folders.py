"""Finds classes and their pictures in a folder that holds one folder for each class.

  photos/cat/1.jpg, photos/dog/2.jpg, ...                a split is drawn later
  photos/train/cat/1.jpg, photos/test/cat/2.jpg, ...     this split is taken

Labels are the places of the folders' names in the order of their characters' code points.
"""
import collections
import os
import pathlib
import unicodedata
from typing import NamedTuple

from cifar10_lib.common.programs import Failure, printable
from cifar10_lib.dataset import picture_files, records

TRAIN, TEST = 'train', 'test'  # names of the two folders of a given split
# A folder that holds nothing but some of these is a split in other words, not classes.
SPLIT_NAMES = {TRAIN, TEST, 'training', 'testing', 'val', 'valid', 'validation', 'eval'}
MAX_CLASSES = 256  # a label is one byte
MAX_NAMED = 3  # folders that one message names
OUTSIDE = 'pictures outside the folders of classes'
NO_SPLIT = 'folders beside train and test'


class Picture(NamedTuple):
  """A picture file."""
  path: str
  label: int
  part: str  # TRAIN or TEST, as given; '' where the split is to be drawn


class Remarks(NamedTuple):
  """What a search comes across beside pictures."""
  passed_over: collections.Counter  # of kinds, such as 'hidden' and '*.txt'
  unlisted: list  # of str: folders inside classes that cannot be listed, and why
  notes: list  # of str: what the user may not expect


class Found(NamedTuple):
  """What `find` finds."""
  source: str
  names: list  # of str: the classes by label, as batches.meta.txt lists them
  pictures: list  # of Picture: those of TEST first, then by label, then by path
  is_split: bool  # whether TRAIN and TEST are given
  remarks: Remarks


def _quoted(names):
  """Returns names as text: 'cat', 'dog', 'fox' and 2 more."""
  more = len(names) - MAX_NAMED
  return ', '.join("'%s'" % printable(name, 100) for name in names[:MAX_NAMED]) + (
      ' and %d more' % more if more > 0 else '')


def _leads_back(path):
  """Tells whether a folder is a link to a folder that holds it."""
  here = pathlib.Path(os.path.realpath(os.path.dirname(path)))
  return os.path.islink(path) and here.is_relative_to(os.path.realpath(path))


def _subfolders(folder, passed_over):
  """Returns the names of the folders in a folder, sorted; counts the rest in `passed_over`."""
  try:
    names = sorted(os.listdir(folder))
  except OSError as error:
    raise Failure('%s cannot be read as a folder: %s. Name the folder that holds a folder for each '
                  'class.' % (printable(folder), error.strerror)) from error
  folders = []
  for name in names:
    path = os.path.join(folder, name)
    if name.startswith('.'):
      passed_over[picture_files.HIDDEN] += 1
    elif not os.path.isdir(path):
      passed_over[picture_files.passed_kind(path) or OUTSIDE] += 1
    elif _leads_back(path):
      passed_over[picture_files.LINKS] += 1
    else:
      folders.append(name)
  return folders


def _parts(source, remarks):
  """Returns the folders of classes by part: {'': names}, or {TEST: names, TRAIN: names}."""
  names = _subfolders(source, remarks.passed_over)
  if {TRAIN, TEST} <= set(names):
    others = [name for name in names if name not in (TRAIN, TEST)]
    if others:
      remarks.passed_over[NO_SPLIT] += len(others)
      remarks.notes.append('%s in %s: not read, because train and test are the split.' % (
          _quoted(others), printable(source)))
    return {part: _subfolders(os.path.join(source, part), remarks.passed_over)
            for part in (TEST, TRAIN)}
  if names and {name.lower() for name in names} <= SPLIT_NAMES:
    raise Failure('%s holds only %s. A given split consists of two folders, train and test: rename '
                  'them. Or convert one of them alone; a part of each class is then drawn for the '
                  'test.' % (printable(source), _quoted(names)))
  return {'': names}


def _pictures(folders, remarks):
  """Returns the paths of the pictures of one part by class: {name of the folder: paths}.

  Args:
    folders: {name: path}.
    remarks: a Remarks, which grows.
  """
  def cannot_list(error):
    remarks.unlisted.append('%s cannot be read: %s.' % (printable(error.filename), error.strerror))

  places, pictures = {}, {}
  for name, path in folders.items():
    twin = places.setdefault(os.path.realpath(path), name)
    if twin != name:
      raise Failure("'%s' and '%s' in %s are the same folder. Remove the link." % (
          printable(twin, 100), printable(name, 100), printable(os.path.dirname(path))))
    pictures[name] = picture_files.walk(path, remarks.passed_over, cannot_list)
    if not pictures[name]:
      remarks.notes.append('%s is no class, because it holds no picture.' % printable(path))
  return {name: paths for name, paths in pictures.items() if paths}


def _require_same_classes(source, pictures):
  """Raises Failure unless train and test hold the same classes."""
  for one, other in (TRAIN, TEST), (TEST, TRAIN):
    missing = sorted(pictures[one].keys() - pictures[other].keys())
    if missing:
      raise Failure('%s holds no picture of %s, but %s does. Add some, or remove the class.' % (
          printable(os.path.join(source, other)), _quoted(missing),
          printable(os.path.join(source, one))))


def _require_classes(place, names, is_split):
  """Raises Failure unless the folder `place` holds 2 to MAX_CLASSES classes."""
  where = printable(place)
  if len(names) > MAX_CLASSES:
    raise Failure('%s holds %d classes; at most %d work, because a label is one byte. Join or move '
                  'some of the folders.' % (where, len(names), MAX_CLASSES))
  if not names:
    raise Failure('%s holds no folder with pictures (%s). Give each class a folder of its own, '
                  'such as %s and %s.' % (
                      where, ', '.join('*' + ending for ending in picture_files.ENDINGS),
                      os.path.join(where, 'cat', '1.jpg'), os.path.join(where, 'dog', '1.jpg')))
  if len(names) == 1:
    instead = '' if is_split else ' If the folders in it are the classes, name %s instead.' % (
        printable(os.path.join(place, names[0])))
    raise Failure('%s holds one class, %s; at least two are needed.%s' % (
        where, _quoted(names), instead))


def _class_names(folders, notes):
  """Returns the names of the classes, as `records.class_names` reads them, of sorted folders.

  Adds to `notes` which of them look alike.
  """
  by_name, by_look = {}, {}
  for folder in folders:
    name = printable(folder.strip(), records.MAX_NAME)
    if not name:
      raise Failure('The folder %r has a name of blanks only. Rename it.' % folder)
    if name in by_name:
      raise Failure("The folders '%s' and '%s' give one class name, '%s', because a name has at "
                    'most %d characters and no blanks at its ends. Rename one of them.' % (
                        printable(by_name[name], 300), printable(folder, 300), name,
                        records.MAX_NAME))
    by_name[name] = folder
    twin = by_look.setdefault(unicodedata.normalize('NFC', name.casefold()), name)
    if twin != name:
      notes.append("'%s' and '%s' look alike; they are two classes." % (twin, name))
  return list(by_name)


def find(source):
  """Finds the classes and the pictures in a folder.

  Folders without pictures are no classes. Folders inside a class belong to it. A class may be a
  link to a folder elsewhere.

  Args:
    source: path of the folder that holds a folder for each class; or holds `train` and `test`,
      which do.

  Returns:
    A Found, with 2 to MAX_CLASSES classes.

  Raises:
    Failure: the folder cannot be listed, holds fewer or more classes, or classes that differ
      between `train` and `test`; or two classes have the same name or the same folder.
  """
  remarks, pictures = Remarks(collections.Counter(), [], []), {}
  for part, names in _parts(source, remarks).items():
    folders = {name: os.path.join(source, part, name) for name in names}
    pictures[part] = _pictures(folders, remarks)
  is_split = len(pictures) > 1
  if is_split:
    _require_same_classes(source, pictures)
  classes = sorted(pictures[TRAIN if is_split else ''])
  _require_classes(os.path.join(source, TRAIN) if is_split else source, classes, is_split)
  return Found(source, _class_names(classes, remarks.notes), [
      Picture(path, label, part) for part, paths in pictures.items()
      for label, name in enumerate(classes) for path in paths[name]], is_split, remarks)
