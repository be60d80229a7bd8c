"""Tests that docs/accuracy.md shows what the stored runs give."""
import os
from unittest import mock

from benchmarks import results
from cifar10_lib.common.tf1 import tf


class ResultsTest(tf.test.TestCase):

  def testPageShowsTheStoredRuns(self):
    with open(os.path.join(results.ROOT, 'docs', 'accuracy.md'), encoding='utf-8') as file:
      page = file.read()
    self.assertIn('\n'.join(results.accuracy_table()), page)
    self.assertIn('\n'.join(results.ablation_table()), page)
    spread = results.ablation_spread()
    self.assertIn('One run varies by %.2f points' % spread, page)
    lost = [float(row.split(' | ')[1]) for row in results.ablation_table()[2:]]
    self.assertIn('Only the first %d rows' % sum(points > 2 * spread for points in lost), page)

  def testEveryLineIsAnObject(self):
    for name in os.listdir(results.RESULTS):
      for line in results.stored(name.removesuffix('.jsonl')):
        self.assertIsInstance(line, dict)

  def testMeanAndSpread(self):
    self.assertEqual(results.mean_and_spread([0.1, 0.2, 0.3]), '0.2000 ± 0.1000')
    self.assertEqual(results.mean_and_spread([0.1]), '0.1000')

  def testAblation(self):
    lines = [{'run': run, 'views': {'1': one, '2': two}} for run, one, two in (
        ('the fast recipe', 0.77, 0.78), ('no flip', 0.70, 0.72), ('the fast recipe', 0.79, 0.80),
        ('no flip', 0.70, 0.72), ('no crop', 0.80, 0.81))]
    with mock.patch.object(results, 'stored', return_value=lines):
      self.assertEqual(results.ablation_table()[2:], [
          '| no flip | 8.0 | 0.7000 | 0.7200 |', '| the fast recipe | 0.0 | 0.7800 | 0.7900 |',
          '| no crop | -2.0 | 0.8000 | 0.8100 |'])
      # Two squares of 0.01 over two degrees of freedom: the row of one run has none.
      self.assertAlmostEqual(results.ablation_spread(), 1.0)

  def testARunWithoutALineIsNoticed(self):
    with mock.patch.object(results, 'stored', return_value=[]), self.assertRaisesRegex(
        AssertionError, '12000 steps is not stored'):
      results.draw(os.path.join(self.get_temp_dir(), 'curves.png'))

  def testDrawsACurveForEachRun(self):
    path = os.path.join(self.get_temp_dir(), 'curves.png')
    results.draw(path)
    self.assertGreater(os.path.getsize(path), 1000)


if __name__ == '__main__':
  tf.test.main()
