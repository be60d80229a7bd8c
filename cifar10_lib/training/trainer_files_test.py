"""Tests of trainer_files: the lock against a second trainer, and the status for evaluators."""
import contextlib
import io
import os
import subprocess
import sys
from unittest import mock

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records
from cifar10_lib.training import trainer_files
from tests import testing

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(trainer_files.__file__))))

# Holds the lock of a directory until its standard input ends, or until it is killed.
HOLDER = '''
import sys
from cifar10_lib.training import trainer_files
directory = sys.argv[1]
with trainer_files.exclusive(directory):
  trainer_files.write_status(directory, 'training', step=5)
  print('held', flush=True)
  sys.stdin.read()
'''


class NamesTest(testing.DirectoryTestCase):

  def _save(self, count, name='softmax_linear/biases'):
    """Saves a checkpoint of one variable [count]; returns its path."""
    with tf.Graph().as_default(), tf.Session() as session:
      tf.get_variable(name, [count])
      session.run(tf.global_variables_initializer())
      return tf.train.Saver().save(session, self.path('model.ckpt'), 7)

  def _refusal(self, learned, names):
    """Returns what is said about a data set with `names`, for a checkpoint that has `learned`."""
    trainer_files.keep_names(self.directory, learned)
    path = self._save(len(learned))
    trainer_files.require_same_classes(path, learned, 'data', '--train_dir')  # the same
    with self.assertRaises(Failure) as caught:
      trainer_files.require_same_classes(path, names, 'data', '--train_dir')
    return str(caught.exception).removeprefix(self.directory + ' has learned ')

  def testKeptNamesAreTheLearnedOnes(self):
    path, names = self._save(3), ['a cat', '猫', '$']
    trainer_files.keep_names(self.directory, names)
    self.assertEqual(trainer_files.learned_names(path), names)

  def testNamesThatStandIn(self):
    for count, expected in ((10, records.CLASS_NAMES), (3, ['class 0', 'class 1', 'class 2'])):
      self.assertEqual(trainer_files.learned_names(self._save(count)), expected)
    # The last layer has another name, so the number is unknown.
    self.assertEqual(trainer_files.learned_names(self._save(3, 'last/biases')), records.CLASS_NAMES)

  def testNamesOfAnotherNumberAreRefused(self):
    path = self._save(4)
    trainer_files.keep_names(self.directory, ['a', 'b', 'c'])
    with self.assertRaisesRegex(Failure, 'model.ckpt-7 has learned 4 classes, but batches.meta.txt '
                                'beside it holds 3 names. Write one name per line, or move'):
      trainer_files.learned_names(path)

  def testUnreadableCheckpointIsAFailure(self):
    with self.assertRaisesRegex(Failure, 'nowhere cannot be read'):
      trainer_files.learned_names(self.path('nowhere'))

  def testOtherClassesAreNamed(self):
    end = ' Choose another --train_dir or --data_dir.'
    for learned, names, expected in (
        ('abcd', 'xyz', '4 classes (a, b, ...), data has 3 (x, y, ...).'),
        ('abcde', 'abXYZ', '5 classes (..., c, d, ...), data has 5 (..., X, Y, ...).'),
        ('abc', 'abX', '3 classes (..., c), data has 3 (..., X).'),
        ('ab', 'ba', '2 classes (a, b), data has 2 (b, a).'),
        ('abc', 'abcd', '3 classes (..., c), data has 4 (..., c, d).'),
        ('abcde', 'abc', '5 classes (..., c, d, ...), data has 3 (..., c).')):
      self.assertEqual(self._refusal(list(learned), list(names)), expected + end)

  def testNumberCountsWhereThereAreNoNames(self):
    path = self._save(3)
    trainer_files.require_same_classes(path, list('abc'), 'data', '--train_dir')
    with self.assertRaisesRegex(Failure, r'has learned 3 classes, data has 2 \(a, b\)\. Choose'):
      trainer_files.require_same_classes(path, list('ab'), 'data', '--train_dir')
    path = self._save(3, 'last/biases')  # unknown
    trainer_files.require_same_classes(path, list('ab'), 'data', '--train_dir')


class ExclusiveTest(testing.DirectoryTestCase):

  def assertFree(self):
    with trainer_files.exclusive(self.directory):
      pass

  def testSecondIsRefusedUntilTheFirstEnds(self):
    trainer_files.write_status(self.directory, 'training')
    with trainer_files.exclusive(self.directory):
      for _ in range(2):
        with self.assertRaises(Failure) as caught:
          self.assertFree()
        self.assertIn(self.directory, str(caught.exception))
        self.assertIn('process %d' % os.getpid(), str(caught.exception))
    self.assertFree()
    with self.assertRaises(ZeroDivisionError), trainer_files.exclusive(self.directory):
      raise ZeroDivisionError
    self.assertFree()

  def testHolderWithoutStatusIsUnknown(self):
    with trainer_files.exclusive(self.directory):
      with self.assertRaisesRegex(Failure, 'process unknown'):
        self.assertFree()

  def testTwoDirectoriesAreIndependent(self):
    with trainer_files.exclusive(self.path('one')):
      with trainer_files.exclusive(self.path('deep', 'two')):
        self.assertTrue(os.path.isdir(self.path('one')))
        self.assertTrue(os.path.isdir(self.path('deep', 'two')))

  def testLockOfAKilledProcessIsFree(self):
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLDER, self.directory], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONPATH=ROOT))
    try:
      self.assertEqual(holder.stdout.readline(), 'held\n')
      with self.assertRaisesRegex(Failure, 'process %d' % holder.pid):
        self.assertFree()
    finally:
      holder.kill()
      holder.communicate()
    self.assertEqual(trainer_files.read_status(self.directory)['step'], 5)
    self.assertFree()

  def testUnwritableDirectoryIsNamed(self):
    self.touch('file')
    with self.assertRaisesRegex(Failure, 'Cannot write to %s' % self.path('file', 'train')):
      with trainer_files.exclusive(self.path('file', 'train')):
        pass
    with self.assertRaisesRegex(Failure, 'Cannot write to %s' % self.path('file')):
      with trainer_files.exclusive(self.path('file')):
        pass


class StatusTest(testing.DirectoryTestCase):

  def testStatusIsReadAsWritten(self):
    self.assertEqual(trainer_files.read_status(self.directory), {})
    self.assertEqual(trainer_files.read_status(self.path('nowhere')), {})
    trainer_files.write_status(self.directory, 'training', step=3)
    self.assertEqual(trainer_files.read_status(self.directory),
                     {'state': 'training', 'pid': os.getpid(), 'step': 3})
    trainer_files.write_status(self.directory, 'finished')
    self.assertEqual(trainer_files.read_status(self.directory),
                     {'state': 'finished', 'pid': os.getpid()})
    self.assertLen(os.listdir(self.directory), 1)

  def testDamagedStatusIsEmpty(self):
    trainer_files.write_status(self.directory, 'training')
    name, = os.listdir(self.directory)
    for broken in [b'', b'{"state": "trai', b'\xff\xfe{}']:
      with open(self.path(name), 'wb') as file:
        file.write(broken)
      self.assertEqual(trainer_files.read_status(self.directory), {})

  def testOddContentIsLeftOut(self):
    path = self.path('trainer.json')
    for text, expected in (
        ('[' * 100000, {}), ('[1]', {}), ('3', {}), ('{"state": 7, "run": "a"}', {'run': 'a'}),
        ('{"max_steps": 1e400, "pid": "x", "state": "training"}', {'state': 'training'}),
        ('{"run": "\\ud800", "hparams": {"a": [1], "b": 0.5, "c": "\\udfff"}}',
         {'hparams': {'b': 0.5}}), ('{"hparams": []}', {})):
      with open(path, 'w') as file:
        file.write(text)
      self.assertEqual(trainer_files.read_status(self.directory), expected, text[:80])
    os.remove(path)
    os.mkdir(path)
    self.assertEqual(trainer_files.read_status(self.directory), {})


class AbandonedTest(testing.DirectoryTestCase):

  def testAKilledTrainerIsFoundByItsLock(self):
    with trainer_files.exclusive(self.directory):
      trainer_files.write_status(self.directory, 'training')
      self.assertFalse(trainer_files.is_abandoned(self.directory))
    self.assertTrue(trainer_files.is_abandoned(self.directory))
    trainer_files.write_status(self.directory, 'stopped')  # it may be started again
    self.assertFalse(trainer_files.is_abandoned(self.directory))

  def testEvaluationEndsAfterAKilledTrainer(self):
    for name in 'model.ckpt-3.index', 'model.ckpt-3.data-00000-of-00001':
      with open(self.path(name), 'w'):
        pass
    with trainer_files.exclusive(self.directory):
      trainer_files.write_status(self.directory, 'training')
    with mock.patch.object(trainer_files, 'ABANDONED_SECONDS', 0.2), \
         mock.patch.object(trainer_files, 'POLL_SECONDS', 0.05), \
         contextlib.redirect_stdout(io.StringIO()) as out:
      found = list(trainer_files.new_checkpoints(self.directory, 1000))
    self.assertEqual(found, [self.path('model.ckpt-3')])
    self.assertIn('has ended without saying so', out.getvalue())


if __name__ == '__main__':
  tf.test.main()
