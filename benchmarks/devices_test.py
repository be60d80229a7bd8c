"""Tests of the benchmark of devices."""
import os
import subprocess
import sys

from benchmarks import devices, results
from cifar10_lib.common.tf1 import tf


class DevicesTest(tf.test.TestCase):

  def testRateStartsAfterTheWarmUp(self):
    """The rate spans the first line after the warm-up to the last; other lines are ignored."""
    log = ('worker 0: process 7\n'
           '2026-11-25 08:00:00.000000: step 1, loss = 4.67 (first step after 2.0 sec)\n'
           '2026-11-25 08:00:09.500000: step 50, loss = 4.00 (1.0 examples/sec; ...)\n'
           '2026-11-25 08:00:10.000000: step 60, loss = 4.00 (1.0 examples/sec; ...)\n'
           '2026-11-25 08:00:12.000000: step 100, loss = 3.00 (1.0 examples/sec; ...)\nDone: step')
    self.assertAllClose(devices.rate(log, 50), 128 * 50 / 2.5)
    self.assertAllClose(devices.rate(log, 55), 128 * 40 / 2.0)

  def testTableShowsMediansAndRatios(self):
    found = {devices.ALONE: [{'images/s': 100.0, 'precision': 0.5},
                             {'images/s': 200.0, 'precision': 0.6}],
             'towers': [{'images/s': 90.0, 'precision': 0.51},
                        {'images/s': 220.0, 'precision': 0.61}]}
    self.assertEqual(devices.table(found).splitlines()[2:], [
        '| one device | 150 (100-200) | 1.00 (1.00-1.00) | 0.500, 0.600 |',
        '| towers | 155 (90-220) | 1.00 (0.90-1.10) | 0.510, 0.610 |'])

  def testPageShowsTheStoredRuns(self):
    by_recipe = {'fast': {}, 'tutorial': {}}
    for line in results.stored('devices'):
      by_recipe[line['recipe']].setdefault(line['program'], []).append(line)
    with open(os.path.join(results.ROOT, 'docs', 'distributed.md'), encoding='utf-8') as file:
      content = file.read()
    for each in by_recipe.values():
      self.assertCountEqual(each, devices.PROGRAMS)
      self.assertIn('\n'.join(devices.table(each).splitlines()[2:]), content)

  def testFlagsDoNotClash(self):
    """Run as a program, its flags do not clash with the evaluator's."""
    done = subprocess.run([sys.executable, os.path.abspath(devices.__file__), '--help'],
                          capture_output=True, text=True, timeout=120, check=False)
    self.assertIn('--warmup', done.stdout + done.stderr)


if __name__ == '__main__':
  tf.test.main()
