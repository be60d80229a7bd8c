"""Tests of the speed and growth benchmarks, with tiny runs on a sample data set."""
import collections
import contextlib
import io
import os
import tempfile
import types

from benchmarks import growth, results, speed, speed_parts, step_profile
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records, sample


class SpeedTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.directory = tempfile.mkdtemp(dir=self.get_temp_dir())
    self.data_dir = sample.make_sample(os.path.join(self.directory, 'data'), 200, 200)
    self.data_dir = os.path.dirname(self.data_dir)

  def testProgramsAreMeasuredAndShown(self):
    programs = [speed.PROGRAMS[0]._replace(parts=('training', 'input')),
                speed.PROGRAMS[1]._replace(parts=('input',))]
    options = types.SimpleNamespace(rounds=1, data_dir=self.data_dir, warmup=2, steps=3,
                                    torch_python='none')
    with contextlib.redirect_stdout(io.StringIO()) as out:
      path = os.path.join(self.directory, 'speed.jsonl')
      results = speed.measure_all(programs, options, path)
    self.assertCountEqual(results, [(speed.PROJECT, 'training'), (speed.PROJECT, 'input'),
                                    (speed.TUTORIAL, 'input')])
    for numbers in results.values():
      self.assertGreater(numbers[0]['images/s'], 0)
      self.assertGreater(numbers[0]['peak MiB'], 100)
      self.assertGreater(numbers[0]['processor ms'], 0)
    self.assertLen(out.getvalue().splitlines(), 3)
    rows = speed.table(results, programs).splitlines()
    self.assertLen(rows, 4)
    self.assertEqual(rows[3].count('| -'), 5)  # the tutorial's row has only the input
    self.assertRegex(rows[2], r'\| [0-9.]+% \|$')
    path = os.path.join(self.directory, 'speed.png')
    speed.draw(results, programs, path)
    with open(path, 'rb') as file:
      self.assertEqual(file.read(4), b'\x89PNG')

  def testRatiosAreOfMedians(self):
    results = {(speed.PROJECT, 'training'): [{'images/s': n, 'first step s': 1.0, 'peak MiB': 80}
                                             for n in (90, 100, 1000)],
               (speed.TUTORIAL, 'training'): [{'images/s': n, 'first step s': 2.0, 'peak MiB': 100}
                                              for n in (10, 50, 60)]}
    lines = speed.ratios(results, speed.PROGRAMS[:2]).splitlines()
    self.assertEqual([line.split()[-1] for line in lines], ['2.00', '0.50', '0.80'])
    self.assertEqual(speed.cell([90, 1000, 100]), '100 (90-1,000)')
    self.assertEqual(speed.cell([]), '-')

  def testInputIsAShareOfTrainingsProcessorTime(self):
    lines = [('training', 2.0), ('input', 0.3), ('training', 4.0), ('input', 0.1),
             ('training', 1.0), ('input', 0.2)]
    path = os.path.join(self.directory, 'runs.jsonl')
    with open(path, 'w') as file:
      for part, processor in lines:
        print('{"program": "p", "part": "%s", "processor ms": %f}' % (part, processor), file=file)
    self.assertEqual(speed.input_share(speed.read(path), 'p'), '10.0%')
    with self.assertRaisesRegex(Failure, 'No stored runs in no_file'):
      speed.read('no_file')
    without = {('q', part): [{'images/s': 5.0}] for part in ('training', 'input')}
    self.assertEqual(speed.input_share(without, 'q'), '-')

  def testFailingPeerIsNamed(self):
    with self.assertRaisesRegex(Failure, "the tutorial's structure failed: .*Run it by"):
      speed.measure(speed.PROGRAMS[1], 'nothing', self.data_dir, 1, 1)

  def testInstalledChecksPythonAndLibrary(self):
    with self.assertRaisesRegex(Failure, 'no_such_python: no such program'):
      speed.installed(speed.PROGRAMS[-1], 'no_such_python')
    self.assertTrue(speed.installed(speed.PROGRAMS[0], 'none'))
    missing = speed.PROGRAMS[0]._replace(library='no_such_library')
    self.assertFalse(speed.installed(missing, 'none'))

  def testProfileSumsUpSmallOps(self):
    total = collections.Counter({('Conv2D', 'a'): 90.0, ('Mul', 'b'): 9.0, ('Add', 'c'): 1.0})
    self.assertEqual(step_profile.table(total, 2.0).splitlines()[2:], [
        '| 90.0% | 90.00 | Conv2D | a |', '| 9.0% | 9.00 | Mul | b |',
        '| 1.0% | 1.00 | 1 others | |'])

  def testPageShowsTheStoredRuns(self):
    with open(os.path.join(results.ROOT, 'docs', 'speed.md'), encoding='utf-8') as file:
      page = file.read()
    stored = speed.read(os.path.join(results.RESULTS, 'speed.jsonl'))
    shown = [program for program in speed.PROGRAMS + speed.SIXTEEN_BITS
             if (program.name, 'training') in stored]
    self.assertGreater(len(shown), 4)
    self.assertIn(speed.table(stored, shown), page)
    self.assertIn(speed_parts.table(results.stored('speed_parts')), page)

  def testPartsAreSortedByWhatTheySave(self):
    lines = [{'left out': name, 'dtype': dtype, 'ms a step': ms}
             for name, dtype, values in (
                 ('all shortcuts', 'float32', (50, 40, 60)), ('a', 'float32', (60, 50, 90)),
                 ('b', 'float32', (100, 100, 100)), ('all shortcuts', 'bfloat16', (20,)))
             for ms in values]
    self.assertEqual(speed_parts.table(lines).splitlines()[2:], [
        '| b | float32 | 100.0 (100.0-100.0) | 2.00 |', '| a | float32 | 60.0 (50.0-90.0) | 1.20 |',
        '| all shortcuts | float32 | 50.0 (40.0-60.0) | 1.00 |',
        '| all shortcuts | bfloat16 | 20.0 (20.0-20.0) | 1.00 |'])

  def testAllShortcutsCanBeLeftOut(self):
    names = [more[-1] for _, more in speed_parts.VARIANTS.values() if more]
    self.assertLen(names, 4)
    result = speed.measure(speed.PROGRAMS[0], 'training', self.data_dir, 2, 3,
                           more=['--without', ','.join(names)])
    self.assertGreater(result['images/s'], 0)

  def testGrowthEnlargesDataAndDividesTime(self):
    large = growth.enlarge(self.data_dir, os.path.join(self.directory, 'large'))
    self.assertEqual(records.count_records(records.data_files(large)),
                     [10 * n for n in records.count_records(records.data_files(self.data_dir))])
    # Steps 2 to 20 take 100 ms each, later ones 200 ms.
    result = {'ms by step': {'20': 100.0, '40': (19 * 100 + 20 * 200) / 39}}
    self.assertAlmostEqual(growth.between(result, 20, 40), 200.0)
    self.assertAlmostEqual(growth.between(result, 1, 20), 100.0)
    result = {'ms by step': {str(10 * n): 50.0 for n in range(1, 11)}, 'peak MiB': 700}
    rows = growth.over_steps(result, 100).splitlines()
    self.assertEqual(rows[2:4], ['| 1 to 10 | 50.0 |', '| 10 to 20 | 50.0 |'])
    self.assertEqual(rows[-3:], ['| 90 to 100 | 50.0 |', '', 'Peak memory 700 MiB.'])
    result = {'images/s': 1000.0, 'first step s': 2.0, 'peak MiB': 800}
    self.assertEqual(growth.row('128', result, 128), '| 128 | 128.0 | 1000 | 2.0 | 800 |')


if __name__ == '__main__':
  tf.test.main()
