"""Tests for checkpoints: found wherever they were moved, refused if they do not fit."""
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np

from cifar10_lib.training import checkpoints
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(checkpoints.__file__))))

# Holds a directory until its standard input ends, or until it is killed.
HOLDER = '''
import sys
from cifar10_lib.training import checkpoints
directory = sys.argv[1]
with checkpoints.exclusive(directory):
  checkpoints.write_status(directory, 'training', step=5)
  print('held', flush=True)
  sys.stdin.read()
'''


class CheckpointTestCase(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.directory = tempfile.mkdtemp(dir=self.get_temp_dir())

  def path(self, *names):
    return os.path.join(self.directory, *names)

  def touch(self, *names):
    """Makes empty files in the directory."""
    for name in names:
      with open(self.path(name), 'w'):
        pass

  def write_list(self, *paths):
    """Writes the file `checkpoint`, as TensorFlow does, the last path being the latest."""
    with open(self.path('checkpoint'), 'w') as file:
      file.write('model_checkpoint_path: "%s"\n' % paths[-1])
      for path in paths:
        file.write('all_model_checkpoint_paths: "%s"\n' % path)


class FindTest(CheckpointTestCase):

  def testStepOf(self):
    self.assertEqual(checkpoints.step_of('/tmp/train-7/model.ckpt-1200'), 1200)
    self.assertEqual(checkpoints.step_of('model.ckpt-0'), 0)
    self.assertEqual(checkpoints.step_of('/tmp/train-7/model.ckpt'), -1)
    self.assertEqual(checkpoints.step_of('/tmp/model.ckpt-12.index'), -1)

  def testNothing(self):
    for directory in [self.directory, self.path('nowhere')]:
      self.assertEqual(checkpoints.find_all(directory), [])
      self.assertIsNone(checkpoints.find_latest(directory))
    self.write_list('model.ckpt-7')  # listed, but gone
    self.assertEqual(checkpoints.find_all(self.directory), [])

  def testListed(self):
    self.touch('model.ckpt-9.index', 'model.ckpt-100.index', 'model.ckpt-20.index')
    self.write_list('model.ckpt-9', 'model.ckpt-20', 'model.ckpt-100', 'model.ckpt-300')
    self.assertEqual(checkpoints.find_all(self.directory), [
        self.path('model.ckpt-9'), self.path('model.ckpt-20'), self.path('model.ckpt-100')])
    self.assertEqual(checkpoints.find_latest(self.directory), self.path('model.ckpt-100'))

  def testWithoutList(self):
    self.directory = self.path('train[1]*')  # characters that a pattern would read otherwise
    os.mkdir(self.directory)
    self.touch('model.ckpt-9.index', 'model.ckpt-100.index', 'model.ckpt-20.index',
               'model.ckpt-500.data-00000-of-00001', 'model.ckpt-600.meta', 'other-700.index')
    expected = [self.path('model.ckpt-%d' % step) for step in [9, 20, 100]]
    self.assertEqual(checkpoints.find_all(self.directory), expected)
    self.assertEqual(checkpoints.find_latest(self.directory), expected[-1])

  def testListOfAnotherDirectory(self):
    self.touch('model.ckpt-9.index')
    self.write_list('/elsewhere/model.ckpt-30', '/elsewhere/model.ckpt-40')
    self.assertEqual(checkpoints.find_all(self.directory), [self.path('model.ckpt-9')])

  def testUnreadableList(self):
    self.touch('model.ckpt-9.index')
    for text in ['', 'not a list', '\x00\x01']:
      with open(self.path('checkpoint'), 'w') as file:
        file.write(text)
      self.assertEqual(checkpoints.find_all(self.directory), [self.path('model.ckpt-9')])

  def testMovedDirectory(self):
    before, after = self.path('before'), self.path('after')
    os.mkdir(before)
    with tf.Graph().as_default(), tf.Session() as session:
      value = tf.get_variable('value', initializer=3.0)
      saver = tf.train.Saver()
      session.run(value.initializer)
      for step in [5, 10]:
        saver.save(session, os.path.join(before, 'model.ckpt'), step)
        session.run(value.assign_add(1.0))
      with open(os.path.join(before, 'checkpoint')) as file:
        self.assertIn(before, file.read())  # else this test shows nothing
      shutil.move(before, after)
      os.mkdir(before)  # where the list points there is something else now
      with open(os.path.join(before, 'model.ckpt-10.index'), 'w'):
        pass
      found = checkpoints.find_all(after)
      self.assertEqual(found, [os.path.join(after, 'model.ckpt-%d' % step) for step in [5, 10]])
      saver.restore(session, checkpoints.find_latest(after))
      self.assertEqual(session.run(value), 4.0)


class FitTest(CheckpointTestCase):

  def save(self, **shapes):
    """Saves variables of zeros; returns the checkpoint's path."""
    with tf.Graph().as_default(), tf.Session() as session:
      variables = [tf.get_variable(name, initializer=np.zeros(shape, np.float32))
                   for name, shape in shapes.items()]
      session.run(tf.global_variables_initializer())
      return tf.train.Saver(variables).save(session, self.path('model.ckpt'), 7)

  def check(self, checkpoint, **shapes):
    """Checks the checkpoint against variables of these names and shapes."""
    with tf.Graph().as_default():
      checkpoints.check_fits(checkpoint, {
          name: tf.get_variable(name, shape) for name, shape in shapes.items()})

  def assertRefused(self, text, checkpoint, **shapes):
    with self.assertRaises(Failure) as caught:
      self.check(checkpoint, **shapes)
    message = str(caught.exception)
    self.assertStartsWith(message, checkpoint)
    self.assertIn(text, message)
    self.assertNotIn('\n', message)

  def testFits(self):
    checkpoint = self.save(a=[2, 3], b=[], c=[4])
    self.check(checkpoint, a=[2, 3], b=[], c=[4])
    self.check(checkpoint, a=[2, 3])  # what it holds beyond does not matter

  def testMissing(self):
    self.assertRefused('b is missing', self.save(a=[2]), a=[2], b=[3])

  def testNameInTheCheckpointCounts(self):
    checkpoint = self.save(average=[2])
    with tf.Graph().as_default():
      variable = tf.get_variable('plain', [2])
      checkpoints.check_fits(checkpoint, {'average': variable})
      with self.assertRaisesRegex(Failure, 'plain is missing'):
        checkpoints.check_fits(checkpoint, {'plain': variable})

  def testShape(self):
    self.assertRefused('a has shape [2, 3], not [3, 2]', self.save(a=[2, 3]), a=[3, 2])

  def testManyProblems(self):
    checkpoint = self.save(a=[2])
    self.assertRefused('a has shape [2], not [3]; b is missing; c is missing. ',
                       checkpoint, a=[3], b=[1], c=[1])
    self.assertRefused('a has shape [2], not [3]; b is missing; c is missing and 2 more. ',
                       checkpoint, a=[3], b=[1], c=[1], d=[1], e=[1])

  def testUnreadable(self):
    checkpoint = self.save(a=[2])
    index = checkpoint + '.index'
    with open(index, 'rb') as file:
      sound = file.read()
    for damaged in [b'', b'garbage' * 50, sound[:-1], sound[:len(sound) // 2]]:
      with open(index, 'wb') as file:
        file.write(damaged)
      self.assertRefused('cannot be read', checkpoint, a=[2])
    os.remove(index)
    self.assertRefused('cannot be read', checkpoint, a=[2])


class ExclusiveTest(CheckpointTestCase):

  def assertFree(self):
    with checkpoints.exclusive(self.directory):
      pass

  def testSecondIsRefusedUntilTheFirstEnds(self):
    checkpoints.write_status(self.directory, 'training')
    with checkpoints.exclusive(self.directory):
      for _ in range(2):
        with self.assertRaises(Failure) as caught:
          self.assertFree()
        self.assertIn(self.directory, str(caught.exception))
        self.assertIn('process %d' % os.getpid(), str(caught.exception))
    self.assertFree()
    with self.assertRaises(ZeroDivisionError), checkpoints.exclusive(self.directory):
      raise ZeroDivisionError
    self.assertFree()

  def testHolderWithoutStatus(self):
    with checkpoints.exclusive(self.directory):
      with self.assertRaisesRegex(Failure, 'process unknown'):
        self.assertFree()

  def testTwoDirectories(self):
    with checkpoints.exclusive(self.path('one')):
      with checkpoints.exclusive(self.path('deep', 'two')):
        self.assertTrue(os.path.isdir(self.path('one')))
        self.assertTrue(os.path.isdir(self.path('deep', 'two')))

  def testAnotherProcessEvenIfItIsKilled(self):
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
    self.assertEqual(checkpoints.read_status(self.directory)['step'], 5)
    self.assertFree()

  def testDirectoryThatCannotBe(self):
    self.touch('file')
    with self.assertRaisesRegex(Failure, 'Cannot write to %s' % self.path('file', 'train')):
      with checkpoints.exclusive(self.path('file', 'train')):
        pass
    with self.assertRaisesRegex(Failure, 'Cannot write to %s' % self.path('file')):
      with checkpoints.exclusive(self.path('file')):
        pass


class StatusTest(CheckpointTestCase):

  def testRoundTrip(self):
    self.assertEqual(checkpoints.read_status(self.directory), {})
    self.assertEqual(checkpoints.read_status(self.path('nowhere')), {})
    checkpoints.write_status(self.directory, 'training', step=3)
    self.assertEqual(checkpoints.read_status(self.directory),
                     {'state': 'training', 'pid': os.getpid(), 'step': 3})
    checkpoints.write_status(self.directory, 'finished')
    self.assertEqual(checkpoints.read_status(self.directory),
                     {'state': 'finished', 'pid': os.getpid()})
    self.assertLen(os.listdir(self.directory), 1)

  def testBroken(self):
    checkpoints.write_status(self.directory, 'training')
    name, = os.listdir(self.directory)
    for broken in [b'', b'{"state": "trai', b'\xff\xfe{}']:
      with open(self.path(name), 'wb') as file:
        file.write(broken)
      self.assertEqual(checkpoints.read_status(self.directory), {})


if __name__ == '__main__':
  tf.test.main()
