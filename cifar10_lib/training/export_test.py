"""Tests of the exported SavedModel, with a network of one variable and three classes."""
import os
import shutil
import tempfile
from unittest import mock

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import export

NAMES = ['red', 'green', 'blue']


def _log_probabilities(pictures):
  """Returns the log of each channel's share, times a variable that is 1 in the checkpoint only."""
  scale = tf.get_variable('scale', initializer=0.0)
  channels = tf.reduce_sum(tf.cast(pictures, tf.float32), [1, 2])  # [N, 3]
  return tf.log(scale * channels / tf.reduce_sum(channels, axis=1, keepdims=True))


class ExportTest(tf.test.TestCase):

  def _save(self, name='scale'):
    with tf.Graph().as_default(), tf.Session() as session:
      tf.get_variable(name, initializer=1.0)
      tf.get_variable('global_step', initializer=np.int64(3))
      session.run(tf.global_variables_initializer())
      directory = tempfile.mkdtemp(dir=self.get_temp_dir())
      return tf.train.Saver().save(session, os.path.join(directory, 'model.ckpt'), 3)

  def _export(self, path):
    directory = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), 'model')
    export.export(path, directory, _log_probabilities, NAMES, weights='raw')
    return directory

  def testBothSignaturesGiveSortedPredictions(self):
    directory = self._export(self._save())
    pictures = np.zeros([2, 32, 32, 3], np.uint8) + np.uint8([[[[10, 30, 60]]], [[[70, 10, 20]]]])
    with tf.Graph().as_default(), tf.Session() as session:
      files = session.run([tf.io.encode_png(picture) for picture in pictures])
      model = tf.saved_model.load(session, ['serve'], directory)
      for name, key, fed in (('serving_default', 'images', pictures),
                             ('encoded', 'encoded', files)):
        signature = model.signature_def[name]
        found = session.run({key: tensor.name for key, tensor in signature.outputs.items()},
                            {signature.inputs[key].name: fed})
        self.assertAllEqual(found['names'], [[b'blue', b'green', b'red'],
                                             [b'red', b'blue', b'green']])
        self.assertAllClose(found['probabilities'], [[.6, .3, .1], [.7, .2, .1]])

  def testExportThatWasKilledIsDoneAgain(self):
    path, rename = self._save(), os.rename
    directory = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), 'model')
    aside = directory + '-aside'

    def killed(source, target):
      """Keeps what a kill would leave at this moment."""
      shutil.copytree(directory, aside, dirs_exist_ok=True)
      rename(source, target)
    with mock.patch.object(export.os, 'rename', killed):
      export.export(path, directory, _log_probabilities, NAMES, weights='raw')
    self.assertCountEqual(os.listdir(aside), [export.UNFINISHED, 'variables'])
    export.export(path, aside, _log_probabilities, NAMES, weights='raw')
    for each in directory, aside:
      self.assertCountEqual(os.listdir(each), ['saved_model.pb', 'variables'])
    with self.assertRaisesRegex(Failure, 'is there already'):
      export.export(path, aside, _log_probabilities, NAMES, weights='raw')

  def testFullDiskLeavesNothing(self):
    directory = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), 'model')
    full = tf.errors.ResourceExhaustedError(None, None, 'model/x; No space left on device')
    with mock.patch.object(tf.saved_model.Builder, 'save', side_effect=full), \
         self.assertRaisesRegex(Failure, 'no space left on device. Free about'):
      export.export(self._save(), directory, _log_probabilities, NAMES, weights='raw')
    self.assertFalse(os.path.exists(directory))

  def testCheckpointOfAnotherNetworkIsRefused(self):
    with self.assertRaisesRegex(Failure, 'scale is missing.*The network was changed since'):
      self._export(self._save('other'))


if __name__ == '__main__':
  tf.test.main()
