"""Tests of checkpoints: finding them after a move, and refusing those that do not fit."""
import os
import shutil

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import checkpoints
from tests import testing


class CheckpointTestCase(testing.DirectoryTestCase):

  def write_list(self, *paths):
    """Writes the file `checkpoint` as TensorFlow does. The last path is the latest checkpoint."""
    with open(self.path('checkpoint'), 'w') as file:
      file.write('model_checkpoint_path: "%s"\n' % paths[-1])
      for path in paths:
        file.write('all_model_checkpoint_paths: "%s"\n' % path)


class FindTest(CheckpointTestCase):

  def testStepOfAPath(self):
    self.assertEqual(checkpoints.step_of('/tmp/train-7/model.ckpt-1200'), 1200)
    self.assertEqual(checkpoints.step_of('model.ckpt-0'), 0)
    self.assertEqual(checkpoints.step_of('/tmp/train-7/model.ckpt'), -1)
    self.assertEqual(checkpoints.step_of('/tmp/model.ckpt-12.index'), -1)

  def testDirectoryWithoutCheckpoints(self):
    for directory in [self.directory, self.path('nowhere')]:
      self.assertEqual(checkpoints.find_all(directory), [])
      self.assertIsNone(checkpoints.find_latest(directory))
    self.write_list('model.ckpt-7')  # listed, but it does not exist
    self.assertEqual(checkpoints.find_all(self.directory), [])

  def testListedCheckpointsThatExistAreFound(self):
    self.touch('model.ckpt-9.index', 'model.ckpt-100.index', 'model.ckpt-20.index')
    self.write_list('model.ckpt-9', 'model.ckpt-20', 'model.ckpt-100', 'model.ckpt-300')
    self.assertEqual(checkpoints.find_all(self.directory), [
        self.path('model.ckpt-9'), self.path('model.ckpt-20'), self.path('model.ckpt-100')])
    self.assertEqual(checkpoints.find_latest(self.directory), self.path('model.ckpt-100'))

  def testCheckpointsAreFoundWithoutAList(self):
    self.directory = self.path('train[1]*')  # special characters of glob patterns
    os.mkdir(self.directory)
    self.touch('model.ckpt-9.index', 'model.ckpt-100.index', 'model.ckpt-20.index',
               'model.ckpt-500.data-00000-of-00001', 'model.ckpt-600.meta', 'other-700.index')
    expected = [self.path('model.ckpt-%d' % step) for step in [9, 20, 100]]
    self.assertEqual(checkpoints.find_all(self.directory), expected)
    self.assertEqual(checkpoints.find_latest(self.directory), expected[-1])

  def testListOfAnotherDirectoryIsIgnored(self):
    self.touch('model.ckpt-9.index')
    self.write_list('/elsewhere/model.ckpt-30', '/elsewhere/model.ckpt-40')
    self.assertEqual(checkpoints.find_all(self.directory), [self.path('model.ckpt-9')])

  def testUnreadableListIsIgnored(self):
    self.touch('model.ckpt-9.index')
    for text in ['', 'not a list', '\x00\x01']:
      with open(self.path('checkpoint'), 'w') as file:
        file.write(text)
      self.assertEqual(checkpoints.find_all(self.directory), [self.path('model.ckpt-9')])

  def testMovedDirectoryIsRestored(self):
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
        self.assertIn(before, file.read())  # else the move is not tested
      shutil.move(before, after)
      os.mkdir(before)  # the list now points to something else
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
    with tf.Graph().as_default(), checkpoints.readable(checkpoint):
      checkpoints.require_fit(checkpoint, {
          name: tf.get_variable(name, shape) for name, shape in shapes.items()})

  def assertRefused(self, text, checkpoint, **shapes):
    with self.assertRaises(Failure) as caught:
      self.check(checkpoint, **shapes)
    message = str(caught.exception)
    self.assertStartsWith(message, checkpoint)
    self.assertIn(text, message)
    self.assertNotIn('\n', message)

  def testFittingCheckpointIsAccepted(self):
    checkpoint = self.save(a=[2, 3], b=[], c=[4])
    self.check(checkpoint, a=[2, 3], b=[], c=[4])
    self.check(checkpoint, a=[2, 3])  # further variables do not matter

  def testMissingVariableIsNamed(self):
    self.assertRefused('b is missing', self.save(a=[2]), a=[2], b=[3])

  def testNameInTheCheckpointCounts(self):
    checkpoint = self.save(average=[2])
    with tf.Graph().as_default():
      variable = tf.get_variable('plain', [2])
      checkpoints.require_fit(checkpoint, {'average': variable})
      with self.assertRaisesRegex(Failure, 'plain is missing'):
        checkpoints.require_fit(checkpoint, {'plain': variable})

  def testWrongShapeIsNamed(self):
    self.assertRefused('a has shape [2, 3], not [3, 2]', self.save(a=[2, 3]), a=[3, 2])

  def testManyProblemsAreInOneLine(self):
    checkpoint = self.save(a=[2])
    self.assertRefused('a has shape [2], not [3]; b is missing; c is missing. ',
                       checkpoint, a=[3], b=[1], c=[1])
    self.assertRefused('a has shape [2], not [3]; b is missing; c is missing and 2 more. ',
                       checkpoint, a=[3], b=[1], c=[1], d=[1], e=[1])

  def testUnreadableCheckpointIsRefused(self):
    checkpoint = self.save(a=[2])
    index = checkpoint + '.index'
    with open(index, 'rb') as file:
      original = file.read()
    for damaged in [b'', b'garbage' * 50, original[:-1], original[:len(original) // 2]]:
      with open(index, 'wb') as file:
        file.write(damaged)
      self.assertRefused('cannot be read', checkpoint, a=[2])
    os.remove(index)
    self.assertRefused('cannot be read', checkpoint, a=[2])


if __name__ == '__main__':
  tf.test.main()
