"""Turns a folder of pictures into a data set that the other programs learn from.

  python cifar10_convert.py photos/ --data_dir my_data/

Each folder in photos/ is a class, and its name is the class's name: photos/cat/1.jpg. A part of
each class, --test_share, is drawn for the test. --seed (0 if not given) sets the draw. Folders
photos/train/ and photos/test/, with the same classes in both, are taken as the split.
It reads PNG, JPEG, BMP, GIF and WebP files. A name that starts with a dash is written ./-name.
"""
import os
import shlex
import sys

from absl import flags
from tqdm import tqdm

import cifar10_train  # noqa: F401, for the flags that both share
from cifar10_lib.common import programs
from cifar10_lib.common.programs import Failure, printable
from cifar10_lib.dataset import conversion, folders, records, splitting
from cifar10_lib.reporting import contact_sheet

FLAGS = flags.FLAGS
flags.DEFINE_float('test_share', 0.2, 'Share of each class that is drawn for the test, above 0 and '
                   'below 1; at least one picture.')
flags.declare_key_flag('data_dir')  # not --seed, whose help speaks of training; see above
# `options` below are the parsed flags, or anything with their names as attributes.

SHEET = 'contact_sheet.png'
MAX_NAMED = 20  # files that cannot be read and are named
MAX_KINDS = 8  # of what is passed over
MAX_NOTES = 10


def say(text):
  """Prints a line to standard error, above the progress bar."""
  tqdm.write(printable(text), file=sys.stderr)


def say_found(found):
  """Prints how much was found, what was passed over, and what the user may not expect."""
  split = ', split into train and test' if found.is_split else ''
  print('%s: %d pictures of %d classes%s' % (
      printable(found.source), len(found.pictures), len(found.names), split), flush=True)
  kinds = found.remarks.passed_over.most_common()
  if kinds:
    more = ['other kinds: %d' % sum(count for _, count in kinds[MAX_KINDS:])]
    print('Passed over: %s' % printable(', '.join(
        ['%s: %d' % pair for pair in kinds[:MAX_KINDS]] + more * (len(kinds) > MAX_KINDS))))
  for note in found.remarks.notes[:MAX_NOTES]:
    print('Note: %s' % note)
  if len(found.remarks.notes) > MAX_NOTES:
    print('Note: and %d more like these' % (len(found.remarks.notes) - MAX_NOTES))
  sys.stdout.flush()


def read(found, spool):
  """Reads all pictures into a conversion.Spool, and names the files that cannot be read.

  Returns how many cannot be read. Raises Failure once they are more than half.
  """
  problems = 0

  def report(problem):
    nonlocal problems
    problems += 1
    if problems <= MAX_NAMED:
      say('Error: %s' % problem)

  for problem in found.remarks.unlisted:
    report(problem)
  total = len(found.pictures)
  with tqdm(total=total, unit='picture', file=sys.stderr, dynamic_ncols=True, leave=False,
            disable=None) as bar:  # None: no bar without a terminal
    for picture, pixels in conversion.read(found.pictures):
      if isinstance(pixels, Failure):
        report(pixels)
        if problems > total / 2:
          raise Failure('More than half of the %d pictures in %s cannot be read. Nothing was '
                        'written.' % (total, printable(found.source)))
      else:
        spool.add(picture, pixels)
      bar.update()
  if problems > MAX_NAMED:
    say('Error: and %d more that cannot be read.' % (problems - MAX_NAMED))
  return problems


def table_of(names, train, test):
  """Returns the classes and their numbers of records, int [K] each, as text."""
  rows = [(label, *row) for label, row in enumerate(zip(train, test, names, strict=True))]
  rows = [('label', 'training', 'test', 'class'), *rows, ('total', sum(train), sum(test), '')]
  return '\n'.join(('%5s %9s %7s  %s' % row).rstrip() for row in rows)


def write(directory, found, spool, chosen, settings):
  """Writes the data set and its contact sheet into a new directory.

  Returns the text that tells the user what is in it.
  """
  train, test = (splitting.by_class(spool.pictures, numbers, len(found.names))
                 for numbers in (chosen.train, chosen.test))  # lists of int64 arrays
  table = table_of(found.names, list(map(len, train)), list(map(len, test)))
  left = ['Left out: %s' % line for line in splitting.left_out(spool.pictures, chosen)]
  text = '\n'.join([table] + left)
  conversion.write(directory, spool, chosen, found.names)
  conversion.write_readme(directory, found.source, settings, text)
  sheet = contact_sheet.draw(found.names, [
      spool.pixels(numbers[:contact_sheet.COLUMNS]) for numbers in train])
  sheet.save(os.path.join(directory, SHEET))
  return text


def next_command(data_dir):
  """Returns the command that learns from the new data set."""
  train_dir = os.path.normpath(data_dir) + '_train'
  return 'python cifar10_train.py --data_dir %s --train_dir %s' % (
      shlex.quote(data_dir), shlex.quote(train_dir))


def convert(source, options):
  """Converts a folder of pictures, and prints what became of it.

  Returns the exit code: 1 if a file could not be read. The data set is complete in both cases.
  Raises Failure if no data set can be made.
  """
  seed, share = options.seed or 0, options.test_share
  conversion.require_new(options.data_dir, source)  # before the search, which takes some seconds
  found = folders.find(source)
  say_found(found)
  settings = 'A share of %g of each class was drawn for the test, with seed %d' % (share, seed)
  if found.is_split:
    settings = 'The folders train and test gave the split, seed %d the order' % seed
  with conversion.creating(options.data_dir, source, len(found.pictures)) as directory, \
       conversion.Spool(directory) as spool:
    problems = read(found, spool)
    chosen = splitting.split(spool.pictures, spool.digests, found, share, seed % 2**32)
    text = write(directory, found, spool, chosen, settings)
  print(text)
  directory = os.path.join(options.data_dir, records.DIRECTORY)
  print('Wrote %s. Look at %s: this is what the network learns from.' % (
      directory, os.path.join(directory, SHEET)))
  print('Next: %s' % printable(next_command(options.data_dir)), flush=True)
  if problems:
    say('%d files or folders could not be read; the data set holds the others.' % problems)
  return 1 if problems else 0


def main(argv):
  if len(argv) != 2:
    programs.wrong_usage('name one folder, which holds a folder of pictures for each class')
  if not FLAGS['data_dir'].present:
    programs.wrong_usage('give --data_dir, the directory for the data set')
  if not 0 < FLAGS.test_share < 1:
    programs.wrong_usage('--test_share=%g is not above 0 and below 1' % FLAGS.test_share)
  return convert(argv[1], FLAGS)


if __name__ == '__main__':
  programs.run(main, arguments=True)
