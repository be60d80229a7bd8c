"""Tests of the trainer: short runs on a small drawn data set."""
import contextlib
import glob
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import types
from unittest import mock

import numpy as np
from absl import flags

import cifar10
import cifar10_app
import cifar10_checkpoint
import cifar10_input
import cifar10_sample
import cifar10_train
from cifar10_app import Failure
from cifar10_tf import tf

TRAIN_EXAMPLES = 90
BATCH_SIZE = 16


def _tensors(path):
  reader = tf.train.NewCheckpointReader(path)
  return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def _events(directory):
  """All (step, tag) of a directory's event files, in the order of writing."""
  pairs = []
  for path in sorted(glob.glob(os.path.join(directory, 'events.*'))):
    for event in tf.train.summary_iterator(path):
      pairs += [(event.step, value.tag) for value in event.summary.value]
  return pairs


class TrainTest(tf.test.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.data_dir = tempfile.mkdtemp()
    cifar10_sample.make_sample(cls.data_dir, TRAIN_EXAMPLES, 20)

  @classmethod
  def tearDownClass(cls):
    shutil.rmtree(cls.data_dir)
    super().tearDownClass()

  def setUp(self):
    super().setUp()
    self.train_dir = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), 'train')

  def _options(self, **changes):
    """The flags' defaults, but small."""
    names = {flag.name for module in (cifar10, cifar10_train)
             for flag in flags.FLAGS.flags_by_module_dict()[module.__name__]}
    options = {name: flags.FLAGS[name].default for name in names}
    options.update(data_dir=self.data_dir, train_dir=self.train_dir, batch_size=BATCH_SIZE)
    return types.SimpleNamespace(**dict(options, **changes))

  def _train(self, **changes):
    """Trains; returns the exit code and what was printed."""
    with contextlib.redirect_stdout(io.StringIO()) as out, \
         contextlib.redirect_stderr(io.StringIO()) as err:
      code = cifar10_train.train(self._options(**changes))
    return code, out.getvalue() + err.getvalue()

  def _path(self, step):
    return os.path.join(self.train_dir, 'model.ckpt-%d' % step)

  def _steps(self):
    return [cifar10_checkpoint.step_of(path)
            for path in cifar10_checkpoint.find_all(self.train_dir)]

  def _times(self):
    """When each file but the lock, which taking may touch, was written."""
    return {name: os.stat(os.path.join(self.train_dir, name)).st_mtime_ns
            for name in os.listdir(self.train_dir) if name != 'trainer.lock'}

  def testTrainsAndResumes(self):
    code, out = self._train(max_steps=3, log_frequency=2, summary_steps=1)
    self.assertEqual(code, 0)
    self.assertIn('Starting in %s' % self.train_dir, out)
    self.assertRegex(out, r'\n\d{4}-.*: step 2, loss = \d\.\d\d '
                          r'\(\d+\.\d examples/sec; \d+\.\d{3} sec/batch\), \d:\d\d:\d\d left\n')
    tensors = _tensors(self._path(3))
    self.assertEqual(tensors['global_step'], 3)
    for layer in 'conv1', 'conv2', 'local3', 'local4', 'softmax_linear':
      for kind in 'weights', 'biases':
        name = '%s/%s' % (layer, kind)
        self.assertIn(name, tensors)
        self.assertEqual(tensors[name + '/ExponentialMovingAverage'].shape, tensors[name].shape)
    before = set(os.listdir(self.train_dir))

    code, out = self._train(max_steps=5, log_frequency=1, summary_steps=1)
    self.assertEqual(code, 0)
    self.assertIn('Continuing from %s' % self._path(3), out)
    self.assertEqual(re.findall(r'step (\d+), loss', out), ['4', '5'])
    self.assertEqual(_tensors(self._path(5))['global_step'], 5)
    self.assertLessEqual(before, set(os.listdir(self.train_dir)))
    self.assertEqual([step for step, tag in _events(self.train_dir) if tag == 'total_loss_1'],
                     [1, 2, 3, 4, 5])

    files = self._times()
    for max_steps in 5, 4:
      code, out = self._train(max_steps=max_steps)
      self.assertEqual(code, 0)
      self.assertIn('Nothing to do', out)
      self.assertEqual(self._times(), files)

  def testSummaries(self):
    self._train(max_steps=5, summary_steps=2)
    tags = {tag: [] for _, tag in _events(self.train_dir)}
    for step, tag in _events(self.train_dir):
      tags[tag].append(step)
    for tag in ('total_loss_1', 'total_loss__raw_', 'cross_entropy_1', 'learning_rate',
                'images/image/0', 'conv1/activations', 'conv1/sparsity',
                'conv1/weights/gradients', 'input/record_queue/fullness'):
      self.assertEqual(tags[tag], [1, 3, 5], tag)
    self.assertIn('global_step/sec', tags)

  def testEpochsCountStepsWhateverIsSummarised(self):
    for summary_steps in 1, 100:
      train_dir = os.path.join(self.train_dir, str(summary_steps))
      code, out = self._train(num_epochs=2, summary_steps=summary_steps, train_dir=train_dir)
      self.assertEqual(code, 0)
      self.assertIn('the input ended', out)
      latest = cifar10_checkpoint.find_latest(train_dir)
      self.assertEqual(cifar10_checkpoint.step_of(latest), -(-2 * TRAIN_EXAMPLES // BATCH_SIZE))
      self.assertEqual(cifar10_checkpoint.read_status(train_dir)['state'], 'finished')

  def testInputThatEndsEarlyIsAFailure(self):
    inputs = cifar10_input.distorted_inputs
    def ending(data_dir, batch_size, num_epochs, **options):
      return inputs(data_dir, batch_size, 1, **options)
    with mock.patch.object(cifar10_input, 'distorted_inputs', ending):
      code, out = self._train(max_steps=100)
    self.assertEqual(code, 1)
    self.assertIn('the input ended at step 6, before --max_steps=100', out)
    self.assertEqual(self._steps(), [0, 6])
    self.assertEqual(cifar10_checkpoint.read_status(self.train_dir)['state'], 'failed')

  def testBadRecordIsTheErrorThatIsSeen(self):
    data_dir = tempfile.mkdtemp(dir=self.get_temp_dir())
    shutil.copytree(self.data_dir, data_dir, dirs_exist_ok=True)
    path = cifar10_input.data_files(data_dir)[2]
    with open(path, 'r+b') as file:
      file.seek(3073 * 4)
      file.write(bytes([200]))
    with self.assertRaisesRegex(Failure, 'data_batch_3.bin:4'):
      self._train(data_dir=data_dir, max_steps=50)

  def testOtherNetworkIsRefused(self):
    with tf.Graph().as_default(), tf.Session() as session:
      tf.get_variable('conv1/weights', [7, 7, 3, 64])
      session.run(tf.global_variables_initializer())
      os.mkdir(self.train_dir)
      tf.train.Saver().save(session, os.path.join(self.train_dir, 'model.ckpt'), 9)
    with self.assertRaisesRegex(Failure, 'model.ckpt-9 does not fit .*conv1/biases'):
      self._train(max_steps=20)

  def testDamagedCheckpointIsNamed(self):
    self._train(max_steps=1)
    with open(self._path(1) + '.data-00000-of-00001', 'r+b') as file:
      file.truncate(1000)
    with self.assertRaisesRegex(Failure, 'model.ckpt-1'):
      self._train(max_steps=2)

  def testCheckpointWithoutSmoothedLosses(self):
    self._train(max_steps=1)
    with tf.Graph().as_default(), tf.Session() as session:
      for name, value in _tensors(self._path(1)).items():
        if not name.endswith('/avg'):
          tf.get_variable(name, initializer=value)
      session.run(tf.global_variables_initializer())
      shutil.rmtree(self.train_dir)
      os.mkdir(self.train_dir)
      tf.train.Saver().save(session, os.path.join(self.train_dir, 'model.ckpt'), 1)
    code, out = self._train(max_steps=2)
    self.assertEqual(code, 0)
    self.assertIn('Continuing from', out)

  def testKeepsTheLatestCheckpointsOverStarts(self):
    self._train(max_steps=3, save_checkpoint_steps=1, keep_checkpoints=2)
    self.assertEqual(self._steps(), [2, 3])
    self._train(max_steps=4, save_checkpoint_steps=1, keep_checkpoints=2)
    self.assertEqual(self._steps(), [3, 4])
    self.assertFalse(os.path.exists(self._path(2) + '.index'))

  def testMovedDirectoryResumes(self):
    self._train(max_steps=2)
    moved = self.train_dir + '-moved'
    os.rename(self.train_dir, moved)
    code, out = self._train(train_dir=moved, max_steps=3)
    self.assertEqual(code, 0)
    self.assertIn('Continuing from %s' % os.path.join(moved, 'model.ckpt-2'), out)

  def testSecondTrainerIsRefused(self):
    with cifar10_checkpoint.exclusive(self.train_dir):
      with self.assertRaisesRegex(Failure, 'in use by another trainer'):
        self._train(max_steps=2)

  def testSeedRepeatsBitForBit(self):
    runs = []
    for i, seed in enumerate((7, 7, 8)):
      train_dir = os.path.join(self.train_dir, str(i))
      self._train(seed=seed, max_steps=8, train_dir=train_dir)
      runs.append(_tensors(os.path.join(train_dir, 'model.ckpt-8')))
    for name in runs[0]:
      self.assertAllEqual(runs[0][name], runs[1][name])
    self.assertNotAllClose(runs[0]['conv1/weights'], runs[2]['conv1/weights'])

  def testDivergenceKeepsTheLastGoodCheckpoint(self):
    recipe = cifar10.TUTORIAL._replace(learning_rate=1e30)
    self._train(max_steps=2)
    with mock.patch.dict(cifar10.RECIPES, tutorial=recipe):
      with self.assertRaisesRegex(Failure, 'step [34]'):
        self._train(max_steps=50, save_checkpoint_steps=1)
    latest = cifar10_checkpoint.find_latest(self.train_dir)
    for name, value in _tensors(latest).items():
      self.assertTrue(np.isfinite(value).all(), name)
    self.assertEqual(cifar10_checkpoint.read_status(self.train_dir)['state'], 'failed')

  def testLossThatIsNoNumberIsNamedWithItsStep(self):
    recipe = cifar10.TUTORIAL._replace(learning_rate=1e30)
    with mock.patch.dict(cifar10.RECIPES, tutorial=recipe):
      with self.assertRaisesRegex(Failure, 'The loss became (nan|inf) at step 2;'):
        self._train(max_steps=50, summary_steps=1)
    self.assertEqual(self._steps(), [0])

  def testFailureIsExitCode1(self):
    def fail(argv):
      del argv
      raise Failure('what, where, what next')
    with mock.patch.object(sys, 'argv', ['program']), self.assertRaises(SystemExit) as caught, \
         contextlib.redirect_stderr(io.StringIO()) as err:
      cifar10_app.run(fail)
    self.assertEqual(caught.exception.code, 1)
    self.assertEqual(err.getvalue(), 'Error: what, where, what next\n')

  def testSignalSavesAndASecondEndsAtOnce(self):
    command = [sys.executable, cifar10_train.__file__, '--data_dir', self.data_dir,
               '--train_dir', self.train_dir, '--batch_size=8', '--log_frequency=1']
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
      if 'step 3,' in line:
        process.send_signal(signal.SIGTERM)
        break
    out, err = process.communicate(timeout=120)
    self.assertEqual(process.returncode, 128 + signal.SIGTERM, err)
    self.assertEqual(err, '')
    self.assertIn('Caught SIGTERM', out)
    stopped = int(re.search(r'Stopped at step (\d+)', out)[1])
    self.assertEqual(_tensors(self._path(stopped))['global_step'], stopped)
    self.assertEqual(cifar10_checkpoint.read_status(self.train_dir)['state'], 'stopped')


if __name__ == '__main__':
  tf.test.main()
