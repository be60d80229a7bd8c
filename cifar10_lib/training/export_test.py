"""Tests of the exported SavedModels, with two small networks of three classes."""
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from unittest import mock

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import augmentation
from cifar10_lib.network import layers, probabilities
from cifar10_lib.training import export

NAMES = ['red', 'green', 'blue']
PICTURES = np.random.RandomState(1).randint(0, 256, [7, 32, 32, 3], np.uint8)

# Loads the SavedModel at argv[1] with what TensorFlow brings, in a process as its users have it.
# Each tool predicts the pictures of argv[2] and a batch of none; argv[3] gets the results.
TOOLS = textwrap.dedent('''
    import sys
    import keras
    import numpy as np
    import tensorflow as tf
    directory, pictures, out = sys.argv[1], np.load(sys.argv[2]), sys.argv[3]
    assert tf.executing_eagerly()

    loaded = tf.saved_model.load(directory).signatures['serving_default']
    layer = keras.layers.TFSMLayer(directory, call_endpoint='serving_default')
    content = tf.lite.TFLiteConverter.from_saved_model(directory).convert()
    interpreter = tf.lite.Interpreter(model_content=content)

    def resized(batch):
      index = interpreter.get_input_details()[0]['index']
      interpreter.resize_tensor_input(index, batch.shape)
      interpreter.allocate_tensors()
      interpreter.set_tensor(index, batch)
      interpreter.invoke()
      found = [interpreter.get_tensor(each['index']) for each in interpreter.get_output_details()]
      return dict(zip(('names', 'probabilities'), sorted(found, key=lambda x: x.dtype == 'f')))

    tools = {'load': lambda batch: loaded(images=tf.constant(batch)), 'TFSMLayer': layer,
             'resize_tensor_input': resized,
             'get_signature_runner': lambda batch: interpreter.get_signature_runner()(images=batch)}
    results = {}
    for name, tool in tools.items():
      for batch in pictures, pictures[:0]:
        found = {key: np.asarray(value) for key, value in tool(batch).items()}
        shape = found['probabilities'].shape
        results['%s %d names' % (name, len(batch))] = found['names'].astype(str).reshape(shape)
        results['%s %d probabilities' % (name, len(batch))] = found['probabilities']
    np.savez(out, **results)
    assert not [name for name in sys.modules if name.startswith('cifar10')]
''')


def _log_probabilities(pictures):
  """Returns the log of each channel's share, times a variable that is 1 in the checkpoint only."""
  scale = tf.get_variable('scale', initializer=0.0)
  channels = tf.reduce_sum(tf.cast(pictures, tf.float32), [1, 2])  # [N, 3]
  return tf.log(scale * channels / tf.reduce_sum(channels, axis=1, keepdims=True))


def _convolutional(pictures):
  """Returns the log probabilities of a network with the kinds of layers that cifar10.py has.

  Its pictures are uint8 [N, 32, 32, 3], each in two views; the result is float32 [N, 3].
  """
  def variable(name, shape):
    return tf.get_variable(name, shape, initializer=tf.random_normal_initializer(stddev=0.3))

  x = augmentation.evaluate(pictures, 24, 2)
  for number, channels in enumerate((3, 4)):
    x = layers.conv2d(x, variable('weights%d' % number, [3, 3, channels, 4]))
    x = tf.nn.relu(tf.nn.bias_add(x, variable('biases%d' % number, [4])))
    x = layers.lrn(layers.max_pool(x, 'pool%d' % number), 2, 1.0, 0.1, 0.75, 'norm%d' % number)
  x = tf.reshape(x, [-1, 6 * 6 * 4])  # [2 * N, 144]
  return probabilities.log_probabilities(tf.matmul(x, variable('dense', [6 * 6 * 4, 3])), 2)


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

  def _export_convolutional(self):
    """Returns the directory of its model and the probabilities of PICTURES by label, [7, 3]."""
    directory = tempfile.mkdtemp(dir=self.get_temp_dir())
    with tf.Graph().as_default(), tf.Session() as session:
      tf.set_random_seed(1)
      tf.train.get_or_create_global_step()
      log_probabilities = _convolutional(tf.constant(PICTURES))
      session.run(tf.global_variables_initializer())
      path = tf.train.Saver().save(session, os.path.join(directory, 'model.ckpt'), 3)
      expected = np.exp(session.run(log_probabilities))
    self.assertBetween(expected.max(axis=1).mean(), 0.5, 0.99)  # neither level nor saturated
    export.export(path, os.path.join(directory, 'model'), _convolutional, NAMES, weights='raw')
    return os.path.join(directory, 'model'), expected

  def _check(self, names, found, expected):
    """Checks names [N, K] and probabilities [N, K], the likeliest first."""
    order = np.argsort(-expected, axis=1)
    self.assertEqual(found.shape, expected.shape)
    self.assertAllEqual(names, np.array(NAMES)[order])
    self.assertAllClose(found, np.take_along_axis(expected, order, 1), atol=1e-4)

  def _run(self, *argv):
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, timeout=120,
                          cwd=self.get_temp_dir(), check=False)
    self.assertEqual(done.returncode, 0, done.stderr[-3000:])

  def testTensorFlowKerasAndLiteTakeTheDirectory(self):
    directory, expected = self._export_convolutional()
    pictures, out = os.path.join(directory, '..', 'pictures.npy'), directory + '.npz'
    np.save(pictures, PICTURES)
    self._run('-c', TOOLS, directory, pictures, out)
    with np.load(out) as results:
      self.assertLen(results.files, 16)  # four tools, two batches, two outputs
      for name in results.files:
        if name.endswith('names'):
          with self.subTest(name):
            tool, count, _ = name.split()
            self._check(results[name], results['%s %s probabilities' % (tool, count)],
                        expected[:int(count)])

  def testOnnxRuntimeTakesTheDirectory(self):
    if not all(map(importlib.util.find_spec, ('tf2onnx', 'onnxruntime'))):
      self.skipTest('tf2onnx and onnxruntime are not installed')
    import onnxruntime
    directory, expected = self._export_convolutional()
    self._run('-m', 'tf2onnx.convert', '--saved-model', directory, '--output', directory + '.onnx')
    session = onnxruntime.InferenceSession(directory + '.onnx')
    for batch in PICTURES, PICTURES[:0]:
      self._check(*session.run(['names', 'probabilities'], {'images': batch}),
                  expected[:len(batch)])

  def testFilesAndPicturesGiveSortedPredictions(self):
    directory = self._export(self._save())
    pictures = np.zeros([2, 32, 32, 3], np.uint8) + np.uint8([[[[10, 30, 60]]], [[[70, 10, 20]]]])
    with tf.Session() as session:
      files = session.run([tf.io.encode_png(picture) for picture in pictures])
    for place, key, fed in (('', 'images', pictures), (export.ENCODED, 'encoded', files)):
      with tf.Graph().as_default(), tf.Session() as session:
        model = tf.saved_model.load(session, ['serve'], os.path.join(directory, place))
        self.assertEqual(list(model.signature_def), ['serving_default'])
        signature = model.signature_def['serving_default']
        fetched = {key: tensor.name for key, tensor in signature.outputs.items()}
        found = session.run(fetched, {signature.inputs[key].name: fed})
        self.assertAllEqual(found['names'], [[b'blue', b'green', b'red'],
                                             [b'red', b'blue', b'green']])
        self.assertAllClose(found['probabilities'], [[.6, .3, .1], [.7, .2, .1]])
        found = session.run(fetched, {signature.inputs[key].name: fed[:0]})
        self.assertEqual((found['names'].shape, found['probabilities'].shape), ((0, 3), (0, 3)))

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
    self.assertCountEqual(os.listdir(aside), [export.UNFINISHED, 'encoded', 'variables'])
    export.export(path, aside, _log_probabilities, NAMES, weights='raw')
    for each in directory, aside:
      self.assertCountEqual(os.listdir(each), ['encoded', 'saved_model.pb', 'variables'])
      self.assertCountEqual(os.listdir(os.path.join(each, 'encoded')),
                            ['saved_model.pb', 'variables'])
    with self.assertRaisesRegex(Failure, 'is there already'):
      export.export(path, aside, _log_probabilities, NAMES, weights='raw')

  def testFullDiskLeavesNothing(self):
    directory = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), 'model')
    full = tf.errors.ResourceExhaustedError(None, None, 'model/x; No space left on device')
    with mock.patch.object(tf.saved_model.Builder, 'save', side_effect=full), \
         self.assertRaisesRegex(Failure, 'no space left on device. Free about'):
      export.export(self._save(), directory, _log_probabilities, NAMES, weights='raw')
    self.assertFalse(os.path.exists(directory))

  def testDirectoryThatVanishesIsNamed(self):
    directory = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), 'model')
    path, save = self._save(), tf.train.Saver.save
    def vanish(*arguments, **more):
      shutil.rmtree(directory)
      gone = tf.errors.NotFoundError(None, None, 'gone')
      with mock.patch.object(tf.Session, 'run', side_effect=gone):
        return save(*arguments, **more)
    with mock.patch.object(tf.train.Saver, 'save', vanish), \
         self.assertRaisesRegex(Failure, 'model cannot be written: No such file or directory'):
      export.export(path, directory, _log_probabilities, NAMES, weights='raw')

  def testCheckpointOfAnotherNetworkIsRefused(self):
    with self.assertRaisesRegex(Failure, 'scale is missing.*The network was changed since'):
      self._export(self._save('other'))


if __name__ == '__main__':
  tf.test.main()
