"""Measures what layers learned on other pictures are worth: --init_from against a fresh start.

  python benchmarks/transfer.py --data_dir cifar10_data/ --work transfer/

The first network learns five classes of CIFAR-10, FIRST, from all their training pictures. Small
networks then learn the other five classes, SECOND, from 100 and from 1,000 training pictures: from
a fresh start, and from the layers of the first network. Both starts have the same pictures, steps
and flags. A seed draws the pictures, the same number of each class. The score is precision @ 1 on
all 5,000 test pictures of these classes.

The flags of each size are chosen among CANDIDATES without the test file. The last HELD_OUT training
pictures of each class score them, and no network learns these pictures. The candidate with the
highest mean over both starts serves both.

It runs cifar10_train.py and cifar10_eval.py as a user does, one after the other. Each run appends
one JSON line to --results. Runs that are there are not repeated, so a stopped benchmark goes on.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import numpy as np  # noqa: E402

from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.common.programs import Failure  # noqa: E402
from cifar10_lib.dataset import records  # noqa: E402

# Two vehicles and three animals in each half.
FIRST = ['airplane', 'cat', 'dog', 'horse', 'truck']
SECOND = ['automobile', 'bird', 'deer', 'frog', 'ship']
ALL = 0  # as a number of pictures: all
HELD_OUT = 500  # training pictures of each class that choose the flags
CHOOSING_SEED = 100  # draws the training pictures for that; the seeds of the table count from 0
BATCH = 32  # pictures; a step takes 0.4 of the time of one with 128
STARTS = 'fresh', 'init_from'


class Flags(NamedTuple):
  """Flags of the trainer; None leaves a flag out."""
  recipe: str = 'fast'
  max_steps: int = 600
  learning_rate: float | None = None


FIRST_FLAGS = Flags(max_steps=2000)  # with batches of 128
# The rate of the recipe is 0.05; a flag scales the rate of Muon with it.
CANDIDATES = [Flags(max_steps=300), Flags(max_steps=1000),
              Flags(max_steps=300, learning_rate=0.01), Flags(max_steps=1000, learning_rate=0.01)]


class Run(NamedTuple):
  """What identifies a run in the file of results."""
  classes: str  # 'first' or 'second'
  pictures: int  # training pictures in all; ALL for all
  score: str  # pictures that score it: 'validation' (held out) or 'test'
  seed: int  # draws the training pictures, and is the trainer's --seed
  start: str  # one of STARTS
  flags: Flags


# Data sets.


def read_records(paths):
  """Returns the records of files, uint8 [N, RECORD_BYTES]."""
  return np.concatenate([np.fromfile(path, np.uint8) for path in paths]).reshape(
      -1, records.RECORD_BYTES)


def of_classes(rows, names):
  """Returns the records of the classes `names`, relabelled from CIFAR-10's labels in this order."""
  labels = [records.CLASS_NAMES.index(name) for name in names]
  rows = rows[np.isin(rows[:, 0], labels)]
  new_labels = np.zeros(256, np.uint8)
  new_labels[labels] = np.arange(len(names))
  rows[:, 0] = new_labels[rows[:, 0]]
  return rows


def draw(rows, run):
  """Returns the records that a run of SECOND learns, and those that are held out from all runs.

  Args:
    rows: training records of SECOND, relabelled, uint8 [N, RECORD_BYTES].
    run: a Run; its pictures are drawn by its seed, the same number of each class.
  """
  random = np.random.RandomState(run.seed)
  drawn, left = [], []
  for label in range(len(SECOND)):
    found = np.flatnonzero(rows[:, 0] == label)
    drawn.append(random.permutation(found[:-HELD_OUT])[:run.pictures // len(SECOND)])
    left.append(found[-HELD_OUT:])
  return rows[random.permutation(np.concatenate(drawn))], rows[np.concatenate(left)]


def write_data(directory, train, test, names):
  """Writes records as a data set: five training files and a test file."""
  unfinished = directory + '.unfinished'
  shutil.rmtree(unfinished, ignore_errors=True)
  os.makedirs(unfinished)
  for name, rows in zip(records.BIN_FILES, [*np.array_split(train, 5), test], strict=True):
    rows.tofile(os.path.join(unfinished, name))
  pathlib.Path(unfinished, records.META_FILE).write_text('\n'.join(names) + '\n')
  pathlib.Path(unfinished, records.README_FILE).write_text('Relabelled records of CIFAR-10.\n')
  os.rename(unfinished, directory)


def data_set(run, data_dir, work):
  """Returns the directory of a run's data set; writes it if it is not there."""
  names = FIRST if run.classes == 'first' else SECOND
  directory = os.path.join(work, 'data-%s-%d-%s-%d' % run[:4])
  if not os.path.exists(directory):
    train, test = (of_classes(read_records(records.data_files(data_dir, eval_data)), names)
                   for eval_data in (False, True))
    if run.pictures != ALL:
      train, held_out = draw(train, run)
      test = held_out if run.score == 'validation' else test
    write_data(directory, train, test, names)
  return directory


# Runs.


def program(name, **flags):
  """Runs a program with flags, those that are not None; returns what it printed."""
  given = ['--%s=%s' % (flag, value) for flag, value in flags.items() if value is not None]
  done = subprocess.run([sys.executable, os.path.join(ROOT, name), *given], capture_output=True,
                        text=True, check=False)
  if done.returncode:
    raise Failure('%s %s ended with code %d: %s' % (
        name, ' '.join(given), done.returncode, (done.stderr or done.stdout)[-500:]))
  return done.stdout


def make(run, data_dir, work, init_from=None):
  """Trains and scores; returns a dict of the results. The checkpoints of 'first' are kept."""
  data = data_set(run, data_dir, work)
  train_dir = os.path.join(work, run.classes)
  if run.classes != 'first':  # each run begins at step 0; the first network may go on
    shutil.rmtree(train_dir, ignore_errors=True)
  began = time.monotonic()
  log = program('cifar10_train.py', data_dir=data, train_dir=train_dir, seed=run.seed,
                batch_size=None if run.classes == 'first' else BATCH, init_from=init_from,
                **run.flags._asdict())
  seconds = time.monotonic() - began
  if bool(init_from) != ('Starting from' in log):
    raise Failure('The trainer says: %s' % log[:500])
  scored = program('cifar10_eval.py', data_dir=data, checkpoint_dir=train_dir, run_once=True,
                   eval_dir=os.path.join(work, 'eval'))
  right, total = map(int, re.search(r'precision @ 1 = \S+ \((\d+)/(\d+)\)', scored).groups())
  return {'precision': right / total, 'scored': total, 'train_seconds': round(seconds, 1),
          'date': time.strftime('%Y-%m-%d')}


class Results:
  """The runs, each made once, in a file of one JSON line a run."""

  def __init__(self, path, data_dir, work):
    """Reads the runs that `path` has already."""
    self._path, self._data_dir, self._work = path, data_dir, work
    self._done = {}
    if os.path.exists(path):
      with open(path) as file:
        for line in map(json.loads, file):
          run = Run(*(line[name] for name in Run._fields))
          self._done[run._replace(flags=Flags(**run.flags))] = line

  def precision(self, run):
    """Returns the precision @ 1 of a run, 0 to 1; makes the run if it is not in the file."""
    if run not in self._done:
      init_from = None
      if run.start == 'init_from':
        self.precision(first_run())
        init_from = os.path.join(self._work, 'first')
        if not os.path.exists(init_from):  # its line comes from another machine or --work
          make(first_run(), self._data_dir, self._work)
      line = run._asdict() | {'flags': run.flags._asdict()} | make(
          run, self._data_dir, self._work, init_from)
      os.makedirs(os.path.dirname(self._path) or '.', exist_ok=True)
      with open(self._path, 'a') as file:
        file.write(json.dumps(line) + '\n')
      self._done[run] = line
      print('%.4f %s' % (line['precision'], run), flush=True)
    return self._done[run]['precision']


def first_run():
  """Returns the Run of the first network."""
  return Run('first', ALL, 'test', 0, 'fresh', FIRST_FLAGS)


def choose(pictures, results):
  """Returns the Flags with the highest mean precision of both starts on held-out pictures."""
  means = {flags: statistics.fmean(
      results.precision(Run('second', pictures, 'validation', CHOOSING_SEED, start, flags))
      for start in STARTS) for flags in CANDIDATES}
  return max(means, key=means.get)


def spread(values):
  """Returns mean and standard deviation of precisions as text, in per cent."""
  deviation = ' ± %.1f' % (100 * statistics.stdev(values)) if len(values) > 1 else ''
  return '%.1f%s' % (100 * statistics.fmean(values), deviation)


def row(pictures, seeds, results):
  """Measures both starts on the test file; returns a row of the Markdown table."""
  flags = choose(pictures, results)
  runs = [[results.precision(Run('second', pictures, 'test', seed, start, flags))
           for start in STARTS] for seed in range(seeds)]
  fresh, started = zip(*runs, strict=True)
  gains = [after - before for before, after in runs]
  given = ' '.join('--%s=%s' % item for item in flags._asdict().items() if item[1] is not None)
  return '| %d | %s | %s | %s | `%s` |' % (
      pictures, spread(fresh), spread(started), spread(gains), given)


def main(argv):
  parser = argparse.ArgumentParser(description='--init_from against a fresh start.')
  parser.add_argument('--data_dir', default='/tmp/cifar10_data', help='CIFAR-10.')
  parser.add_argument('--work', default='transfer', help='Directory of data sets and runs.')
  parser.add_argument('--results', default=os.path.join(ROOT, 'benchmarks/results/transfer.jsonl'))
  parser.add_argument('--pictures', type=int, nargs='+', default=[100, 1000])
  parser.add_argument('--seeds', type=int, default=3)
  options = parser.parse_args(argv[1:])
  results = Results(options.results, options.data_dir, options.work)
  first = results.precision(first_run())
  rows = [row(pictures, options.seeds, results) for pictures in options.pictures]
  print('The first network scores %.1f%% on its own five classes.\n' % (100 * first))
  print('| training pictures | fresh start, % | --init_from, % | gain, points | flags |')
  print('| --- ' * 5 + '|', *rows, sep='\n')


if __name__ == '__main__':
  try:
    main(sys.argv)
  except Failure as failure:
    sys.exit('Error: %s' % programs.printable(str(failure)))
