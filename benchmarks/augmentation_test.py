"""Tests of the augmentation benchmark, with tiny runs."""
import contextlib
import io
import os
import tempfile
import types
from unittest import mock

import numpy as np

from benchmarks import augmentation, results
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records, sample


class AugmentationBenchmarkTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.directory = tempfile.mkdtemp(dir=self.get_temp_dir())
    sample.make_sample(os.path.join(self.directory, 'data'), 100, 30)
    self.data_dir = os.path.join(self.directory, 'data')
    self.out = os.path.join(self.directory, 'out')

  def testSplitHoldsOutTheLastRecords(self):
    training, validation = augmentation.split(self.data_dir, self.out, 40, 25)
    def read(paths):
      return [np.fromfile(path, np.uint8).reshape(-1, 3073) for path in paths]
    whole = read(records.data_files(self.data_dir))
    for part, file in zip(whole, read(records.data_files(training)), strict=True):
      self.assertAllEqual(file, part[:8])
    self.assertAllEqual(read(records.data_files(validation, True))[0],
                        np.concatenate([part[15:] for part in whole]))
    self.assertAllEqual(read(records.data_files(training, True))[0],
                        read(records.data_files(self.data_dir, True))[0])

  def testFinishedRunsAreNotRepeated(self):
    options = types.SimpleNamespace(
        data_dir=self.data_dir, out=self.out, train_examples=40, held_out_examples=25, steps=4,
        batch_size=8, seeds=2, results=None)
    augmentation.FLAGS.mark_as_parsed()
    sets = {'none': 'none', 'noise': 'noise'}
    with mock.patch.object(augmentation, 'SETS', sets), \
         contextlib.redirect_stdout(io.StringIO()):
      found = augmentation.run_all(options)
      with mock.patch.object(augmentation, 'run', side_effect=AssertionError('ran again')):
        self.assertEqual(augmentation.run_all(options), found)
    self.assertEqual(set(found), set(sets))
    for finished in found.values():
      self.assertLen(finished, 2)
      for run in finished:
        self.assertEqual(run['step'], [1, 2, 3, 4])
        self.assertLen(run['training'] + run['validation'] + run['test'], 9)

  def testPageShowsTheStoredRuns(self):
    by_set = {}
    for line in results.stored('augmentation'):
      by_set.setdefault(line['set'], []).append(line)
    self.assertCountEqual(by_set, augmentation.SETS)
    page = os.path.join(results.ROOT, 'docs', 'augmentation.md')
    with open(page, encoding='utf-8') as file:
      self.assertIn(augmentation.table(by_set), file.read())

  def testTableAndChart(self):
    def finished(*finals):
      return [{'step': [1, 2], 'training': [0.5, 0.9], 'validation': [0.3, v], 'test': [v - 0.1]}
              for v in finals]
    found = {'none': finished(0.5, 0.6), "the tutorial's": finished(0.6, 0.8)}
    self.assertEqual(augmentation.best(found), "the tutorial's")
    self.assertEqual(augmentation.table(found).splitlines()[2:], [
        "| the tutorial's | 0.900 ± 0.000 | 0.700 ± 0.141 | 0.600 ± 0.141 | 0.300 |",
        '| none | 0.900 ± 0.000 | 0.550 ± 0.071 | 0.450 ± 0.071 | 0.450 |'])
    path = os.path.join(self.directory, 'bars.png')
    augmentation.draw(found, path)
    self.assertBetween(os.path.getsize(path), 5000, 300000)


if __name__ == '__main__':
  tf.test.main()
