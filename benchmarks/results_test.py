"""Tests that docs/accuracy.md shows what the stored runs give."""
import os

from benchmarks import results
from cifar10_lib.common.tf1 import tf


class ResultsTest(tf.test.TestCase):

  def testPageShowsTheStoredRuns(self):
    with open(os.path.join(results.ROOT, 'docs', 'accuracy.md'), encoding='utf-8') as file:
      page = file.read()
    self.assertIn('\n'.join(results.accuracy_table()), page)
    rows = results.ablation_table()
    shown = page.split('\n%s\n' % rows[0])[1].split('\n\n')[0].split('\n')
    self.assertGreater(len(shown), 10)
    for row in shown:
      self.assertIn(row, rows)

  def testEveryLineIsAnObject(self):
    for name in os.listdir(results.RESULTS):
      for line in results.stored(name.removesuffix('.jsonl')):
        self.assertIsInstance(line, dict)

  def testMeanAndSpread(self):
    self.assertEqual(results.mean_and_spread([0.1, 0.2, 0.3]), '0.2000 ± 0.1000')
    self.assertEqual(results.mean_and_spread([0.1]), '0.1000')

  def testDrawsACurveForEachRun(self):
    path = os.path.join(self.get_temp_dir(), 'curves.png')
    results.draw(path)
    self.assertGreater(os.path.getsize(path), 1000)


if __name__ == '__main__':
  tf.test.main()
