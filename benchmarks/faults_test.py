"""Tests for faults: a short form of each row; what counts as a fault."""
import json
import subprocess
import sys
from unittest import mock

from benchmarks import faults
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf


class FaultsTest(tf.test.TestCase):

  def testShortFormOfEachRow(self):
    # The memory of this process is that of TensorFlow; the long form measures.
    with mock.patch.object(faults, 'MAX_MEGABYTES', 1e6):
      for row in faults.ROWS.keys() - {'numbers'}:  # takes seconds a case; survival_test has some
        cases = 20 if row == 'downloads' else 200
        found = faults.attack(row, cases, seed=2)
        self.assertEqual((found['row'], found['cases'], found['faults']), (row, cases, 0))
        self.assertGreater(found['refused'], 0)
        self.assertGreater(found['right'], 0)
        self.assertEqual(found['right'] + found['refused'], cases)

  def testWhatCounts(self):
    def refuse(text):
      def case(_):
        raise Failure(text)
      return case
    self.assertEqual(faults.problem_of(lambda _: True, None), ('right', None))
    self.assertEqual(faults.problem_of(lambda _: False, None), ('faults', 'a wrong result'))
    self.assertEqual(faults.problem_of(refuse('a.png: 7 bytes are missing.'), None)[0], 'refused')
    for text in 'two\nlines', '\x1b[2J', 'x' * 5000:
      self.assertEqual(faults.problem_of(refuse(text), None)[0], 'faults')
    kind, problem = faults.problem_of(lambda _: 1 // 0, None)
    self.assertEqual(kind, 'faults')
    self.assertIn('ZeroDivisionError', problem)
    with mock.patch.object(faults.time, 'monotonic', side_effect=[0, 11]):
      self.assertEqual(faults.problem_of(lambda _: True, None), ('faults', '11.0 s'))

  def testPrintsOneLineOfJson(self):
    result = subprocess.run([sys.executable, faults.__file__, 'bin', '--cases=5', '--first=7'],
                            capture_output=True, text=True, check=True)
    found = json.loads(result.stdout)
    self.assertEqual((found['row'], found['cases'], found['faults']), ('bin', 5, 0))


if __name__ == '__main__':
  tf.test.main()
