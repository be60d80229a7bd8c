"""Tests of the transfer benchmark: its data sets, its runs and its table."""
import contextlib
import io
import json
import os
from unittest import mock

import numpy as np

from benchmarks import transfer
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records
from tests import testing

SCORE = '2026-01-01: precision @ 1 = 0.%d00 (%d/10) at step 5, mean loss = 1.0\n'


def rows_of(labels):
  """Returns records with these labels. The first pixel of a record is its number."""
  rows = np.zeros([len(labels), records.RECORD_BYTES], np.uint8)
  rows[:, 0], rows[:, 1] = labels, np.arange(len(labels))
  return rows


def second(seed=0, pictures=10, score='test', start='fresh', flags=transfer.CANDIDATES[0]):
  return transfer.Run('second', pictures, score, seed, start, flags)


class DataTest(testing.DirectoryTestCase):

  def testHalvesShareNoClass(self):
    self.assertCountEqual(transfer.FIRST + transfer.SECOND, records.CLASS_NAMES)

  def testRecordsAreRelabelled(self):
    rows = rows_of([9, 8, 1, 2, 0, 1])
    found = transfer.of_classes(rows, transfer.SECOND)  # automobile 1, bird 2, ..., ship 8
    self.assertAllEqual(found[:, 0], [4, 0, 1, 0])
    self.assertAllEqual(found[:, 1], [1, 2, 3, 5])
    self.assertAllEqual(rows[:, 0], [9, 8, 1, 2, 0, 1])

  def testDrawsAreBalancedAndLeaveTheHeldOutPictures(self):
    rows = rows_of(np.arange(50) % 5)  # 10 pictures a class
    self.enter_context(mock.patch.object(transfer, 'HELD_OUT', 4))
    drawn, held_out = transfer.draw(rows, second())
    self.assertCountEqual(held_out[:, 1], range(30, 50))
    self.assertAllEqual(np.bincount(drawn[:, 0]), [2] * 5)
    self.assertLen(set(drawn[:, 1]), 10)
    self.assertLess(max(drawn[:, 1]), 30)
    self.assertAllEqual(transfer.draw(rows, second())[0], drawn)
    self.assertNotAllEqual(transfer.draw(rows, second(seed=1))[0], drawn)

  def testDataSetsAreWritten(self):
    source = self.path('cifar10')
    os.mkdir(source)
    for name in records.BIN_FILES:
      rows_of(np.arange(40) % 10).tofile(os.path.join(source, name))
    with mock.patch.object(transfer, 'HELD_OUT', 2):
      for score, total in ('validation', 10), ('test', 20):
        directory = transfer.data_set(second(score=score), source, self.path('work'))
        self.assertEqual(sum(records.check_data(directory).values()), 10 + total)
    first = transfer.data_set(transfer.first_run(), source, self.path('work'))
    self.assertEqual(list(records.check_data(first).values()), 6 * [20])
    with open(os.path.join(first, records.META_FILE)) as file:
      self.assertEqual(file.read().split(), transfer.FIRST)


class RunsTest(testing.DirectoryTestCase):

  def setUp(self):
    super().setUp()
    self.path_of_results, self.calls = self.path('results', 'runs.jsonl'), []

  def results(self):
    return transfer.Results(self.path_of_results, 'data', self.path('work'))

  @contextlib.contextmanager
  def programs(self):
    """Replaces the programs. A fresh start scores 4 of 10, the other one 7, candidate 1 more."""
    def program(name, **flags):
      self.calls.append((name, flags))
      if name == 'cifar10_train.py':
        os.makedirs(flags['train_dir'], exist_ok=True)
        self.right = 7 if flags['init_from'] else 4
        self.right += (flags['max_steps'], flags['learning_rate']) == transfer.CANDIDATES[3][1:]
        return 'Starting from there' if flags['init_from'] else 'Starting in'
      return SCORE % (self.right, self.right)
    with mock.patch.object(transfer, 'program', program), \
         mock.patch.object(transfer, 'data_set', lambda run, *_: run.classes), \
         contextlib.redirect_stdout(io.StringIO()):
      yield

  def testRunsAreMadeOnce(self):
    with self.programs():
      for _ in range(2):
        results = self.results()
        self.assertEqual(results.precision(second(start='init_from')), 0.7)
        self.assertEqual(results.precision(second(seed=1)), 0.4)
    trained = [flags for name, flags in self.calls if name == 'cifar10_train.py']
    self.assertEqual([(flags['data_dir'], flags['init_from'], flags['seed'], flags['batch_size'])
                      for flags in trained], [
        ('first', None, 0, None), ('second', self.path('work', 'first'), 0, 32),
        ('second', None, 1, 32)])
    with open(self.path_of_results) as file:
      lines = [json.loads(line) for line in file]
    self.assertEqual([line['start'] for line in lines], ['fresh', 'init_from', 'fresh'])

  def testFirstNetworkIsMadeAgainWhereItIsMissing(self):
    with self.programs():
      self.results().precision(transfer.first_run())
      os.rmdir(self.path('work', 'first'))
      self.assertEqual(self.results().precision(second(start='init_from')), 0.7)
    trained = [flags['data_dir'] for name, flags in self.calls if name == 'cifar10_train.py']
    self.assertEqual(trained, ['first', 'first', 'second'])
    with open(self.path_of_results) as file:
      self.assertLen(file.readlines(), 2)

  def testTableUsesTheChosenFlags(self):
    with self.programs():
      self.assertEqual(transfer.choose(100, self.results()), transfer.CANDIDATES[3])
      row = transfer.row(100, 2, self.results())
    self.assertEqual(row, '| 100 | 50.0 ± 0.0 | 80.0 ± 0.0 | 30.0 ± 0.0 | '
                          '`--recipe=fast --max_steps=1000 --learning_rate=0.01` |')
    self.assertEqual(transfer.spread([0.5, 0.6, 0.7]), '60.0 ± 10.0')

  def testStartThatTookNothingIsAFailure(self):
    with self.programs(), mock.patch.object(transfer, 'program', lambda *_, **__: 'Continuing'):
      with self.assertRaisesRegex(Failure, 'The trainer says: Continuing'):
        transfer.make(second(start='init_from'), 'data', self.path('work'), 'first')


if __name__ == '__main__':
  tf.test.main()
