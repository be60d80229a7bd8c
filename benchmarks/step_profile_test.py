"""Tests of the profile of a training step."""
import collections
import os
import subprocess
import sys

from benchmarks import step_profile
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import recipes
from tests import testing


class StepProfileTest(testing.SampleTestCase):

  def testTableShowsTheLargestAndSumsUpTheOthers(self):
    total = collections.Counter({('Conv2D', 'a'): 6.0, ('Mul', 'b'): 0.5, ('MatMul', 'c'): 3.0,
                                 ('Add', 'd'): 0.5})
    self.assertEqual(step_profile.table(total, 20).splitlines(), [
        '| share | ms | op | node |', '| --- | --- | --- | --- |',
        '| 60.0% | 6.00 | Conv2D | a |', '| 30.0% | 3.00 | MatMul | c |',
        '| 10.0% | 1.00 | 2 others | |'])

  def testFastRecipeIsProfiledWithItsDistortions(self):
    """Runs as a program. The crop depends on the step, so the step must be initialised first."""
    done = subprocess.run(
        [sys.executable, os.path.abspath(step_profile.__file__), '--data_dir', self.data_dir,
         '--recipe=fast', '--max_steps=40', '--batch_size=8', '--steps=1', '--warmup=1',
         '--percent=5'],
        capture_output=True, text=True, timeout=120, check=False)
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertIn('--recipe=fast --augment=%s --batch_size=8, float32:\n\n| share | ms |'
                  % recipes.fast(40).augment, done.stdout)
    self.assertRegex(done.stdout, r'\n\d+\.\d ms a step without the trace\.\n$')


if __name__ == '__main__':
  tf.test.main()
