"""Tests of trainer_files: the lock against a second trainer, and the status for evaluators."""
import contextlib
import io
import os
import subprocess
import sys
from unittest import mock

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
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
