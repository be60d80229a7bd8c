"""Tests of what the cells of the lessons share."""
import contextlib
import io
import os
import textwrap
from unittest import mock

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records
from lessons import control_c, errors, lesson, memory, queues
from tests import testing

PAGE = '''# One

```python
first = 1
```

## Two

```python
%matplotlib inline
def second():
  inside = first
```

## Three

```python
print(second())
```
'''


class LessonTest(testing.SampleTestCase):
  EXAMPLES, TEST_EXAMPLES = 100, 20

  def setUp(self):
    super().setUp()
    lesson.data_dir = records.find_directory(self.data_dir)

  def _printed(self, function, *arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out:
      function(*arguments)
    return out.getvalue()

  def _program(self, source):
    path = os.path.join(self.get_temp_dir(), 'program.py')
    with open(path, 'w', encoding='utf-8') as file:
      file.write(textwrap.dedent(source))
    return path

  # Programs.

  def testProgramsShowTheirLines(self):
    program = self._program("import sys; print('one'); print('two', sys.argv[1:])")
    self.assertEqual(self._printed(lesson.run, program, '--steps', 3),
                     "one\ntwo ['--steps', '3']\n")
    self.assertEqual(lesson.output(program), ['one', 'two []'])

  def testFailedProgramIsAFailureAfterItsLines(self):
    program = self._program("import sys; print('why', file=sys.stderr); sys.exit(3)")
    with contextlib.redirect_stdout(io.StringIO()) as out:
      with self.assertRaisesRegex(Failure, 'program.py ended with code 3'):
        lesson.output(program)
    self.assertEqual(out.getvalue(), 'why\n')

  def testInterruptReachesTheProgramOnce(self):
    program = self._program('''
        import signal, sys, time
        caught = []
        signal.signal(signal.SIGINT, lambda *_: caught.append(1))
        print('ready')
        while not caught:
          time.sleep(0.01)
        print('saved after %d' % len(caught))
        ''')
    with contextlib.redirect_stdout(io.StringIO()) as out:
      with self.assertRaisesRegex(KeyboardInterrupt, 'interrupted'), control_c_raised('ready'):
        lesson.run(program)
    self.assertEndsWith(out.getvalue(), 'saved after 1\n')

  def testUnknownFlagIsRefused(self):
    import cifar10_eval
    self.assertEqual(lesson.options(cifar10_eval, batch_size=4).batch_size, 4)
    with self.assertRaisesRegex(Failure, '--bach_size'):
      lesson.options(cifar10_eval, bach_size=4)

  def testEachDataSetHasItsOwnDirectories(self):
    self.assertEqual(lesson.directory('train'), os.path.join('runs', 'train'))
    with mock.patch.object(lesson, 'data_dir', self.get_temp_dir()):
      self.assertEqual(lesson.directory('train'), os.path.join('runs', 'cifar10', 'train'))

  def testScalarsOfEventFiles(self):
    directory = self.get_temp_dir()
    with tf.Graph().as_default(), tf.summary.FileWriter(directory) as writer:
      for step, value in (1, 0.5), (3, 0.25):
        writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag='x', simple_value=value)]), step)
    steps, values = lesson.scalars(directory)['x']
    self.assertAllEqual(steps, [1, 3])
    self.assertAllEqual(values, [0.5, 0.25])

  # Exercises.

  def testUnansweredExercise(self):
    for answer in ..., (1, ...):
      self.assertIn('in place of the dots', self._printed(lesson.check, '1.1', answer))

  def testWrongAnswersAreNotRight(self):
    for exercise, answers in {
        '1.1': [308491, 308492 - 1024, 'x', None, 0],
        '1.2': [None, lambda path, number: (0, np.zeros([32, 32, 3], np.uint8)),
                lambda path, number: 0, lambda path, number: ...],
        '1.3': ['a', 'c', 'x', 3],
        '2.1': [(3, 1), (1, 44), 3, None],
        '2.2': ['a', 'b', '', None],
        '2.3': [(340, 240, 80, 3), (340, 240, 100, 2), (340, 240, 100), None],
        '3.1': ['a', 'c', 'd', None],
        '3.2': [('flip,crop,noise', 'flip,crop,noise'), ('crop,noise,scale', 'crop,noise,scale'),
                ('crop,noise,rotate:90', 'flip,crop,noise'), ('crop,wave,noise', 'flip'), 'crop',
                3],
        '3.3': [81, 128, 64, 0, None]}.items():
      for answer in answers:
        self.assertIn('%s: Not yet: ' % exercise, self._printed(lesson.check, exercise, answer),
                      answer)

  # Errors.

  def testNameIsExplainedByTheHeadingOfItsCell(self):
    self.assertEqual([heading for heading, _ in errors.cells(PAGE)], ['One', 'Two', 'Three'])
    self.assertEqual(errors.where('first', 'x', [PAGE]), 'One')
    self.assertEqual(errors.where('second', 'print(second())', ['', PAGE]), 'Two')
    self.assertIsNone(errors.where('third', 'x', [PAGE]))

  def testTheLessonOfTheCellIsSearchedFirst(self):
    other = '# Other\n\n```python\nsecond = 2\n```\n'
    self.assertEqual(errors.where('second', 'print(second())', [other, PAGE]), 'Two')

  def testErrorsOfOneLine(self):
    self.assertEqual(errors.explanation(Failure('do that'), ''), 'do that')
    self.assertEqual(errors.explanation(KeyboardInterrupt(), ''),
                     'The cell was interrupted. Run it again.')
    self.assertIn('the cells under "One record" first',
                  errors.explanation(NameError('', name='planes'), 'draw.grid([[picture, record'))
    self.assertIsNone(errors.explanation(ValueError('x'), ''))
    self.assertIsNone(errors.explanation(NameError("name 'no_lesson_has_it'",
                                                   name='no_lesson_has_it'), ''))

  # What lessons show.

  def testNearestIsTheSmallestDistance(self):
    random = np.random.RandomState(0)
    known, pictures = random.randint(0, 256, (2, 20, 4, 4, 3)).astype(np.uint8)
    labels = np.arange(20, dtype=np.uint8)
    for picture, found in zip(pictures, memory.nearest(known, labels, pictures), strict=True):
      distances = ((known.astype(int) - picture) ** 2).sum(axis=(1, 2, 3))
      self.assertEqual(found, distances.argmin())

  def testEveryRecordComesOnceInAnEpoch(self):
    paths = records.data_files(self.data_dir)
    self.assertAllEqual(queues.order(paths, shuffle=False), np.arange(100))
    self.assertCountEqual(queues.order(paths, shuffle=True), np.arange(100))

  def testBothQueuesEndEmpty(self):
    run = queues.watch(records.data_files(self.data_dir), read_ms=1, step_ms=2)
    self.assertBetween(run.batches, 50, queues.BATCHES)  # 200 records in batches of 4
    self.assertEqual(run.names[-1], 0)
    self.assertAllInRange(run.records, 0, 1)


@contextlib.contextmanager
def control_c_raised(text):
  """Interrupts the block as control_c.after does, but lets the interrupt out."""
  raised = []
  with control_c.after(text):
    try:
      yield
    except KeyboardInterrupt as interrupt:
      raised.append(interrupt)
  if raised:
    raise raised[0]


if __name__ == '__main__':
  tf.test.main()
