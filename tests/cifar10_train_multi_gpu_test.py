"""Tests of towers, on virtual devices of the CPU."""
import contextlib
import glob
import io
import os
import subprocess
import sys
from unittest import mock

import numpy as np

import cifar10
import cifar10_train
import cifar10_train_multi_gpu as multi
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.network import precision
from cifar10_lib.training import checkpoints, hooks, recipes
from tests import testing

TWO = ['/cpu:0', '/cpu:1']
EXAMPLES = testing.TrainerTestCase.EXAMPLES


def _options(**changes):
  """Returns the default flags with batches of 8 pictures, and `changes` applied.

  Without data there are ten classes.
  """
  return testing.defaults(
      cifar10, cifar10_train, multi, **dict({'batch_size': 8, 'data_dir': '/nowhere'}, **changes))


def _session(cpus=2):
  return tf.Session(config=precision.session_config(cpu_devices=cpus))


def _values(directory):
  """Returns the values of a directory's event files as {tag: {step: scalar}}."""
  found = {}
  for path in glob.glob(os.path.join(directory, 'events.*')):
    for event in tf.train.summary_iterator(path):
      for value in event.summary.value:
        found.setdefault(value.tag, {})[event.step] = value.simple_value
  return found


def _gradients(build, options, batches):
  """Builds a trainer's graph on given batches and evaluates its gradients.

  Args:
    build: function of `options` that returns the step and the loss.
    options: the trainer's options.
    batches: list of (images, labels), one for each tower.

  Returns:
    A dict from variable name to gradient, the loss, and the batch size for the learning rate.
  """
  captured = {}
  def train(total_loss, step, batch_size, examples, recipe, dtype, parallel=recipes.ONE_DEVICE):
    optimizer = tf.train.GradientDescentOptimizer(1.0)
    captured['gradients'] = (parallel.compute_gradients(optimizer) if parallel.compute_gradients
                             else optimizer.compute_gradients(total_loss))
    captured['batch_size'] = batch_size
    return tf.no_op()
  with tf.Graph().as_default(), _session() as session, \
       mock.patch.object(cifar10_train, 'build_input', return_value=(batches, EXAMPLES)), \
       mock.patch.object(cifar10, 'train', train):
    _, loss = build(options)
    random = np.random.RandomState(5)
    for variable in tf.trainable_variables():  # the same values in each graph
      start = random.normal(size=variable.shape) * 0.05
      session.run(variable.initializer, {variable.initializer.inputs[1]: start})
    names = [variable.op.name for _, variable in captured['gradients']]
    values, loss = session.run([[gradient for gradient, _ in captured['gradients']], loss])
  return dict(zip(names, values, strict=True)), loss, captured['batch_size']


class AverageTest(tf.test.TestCase):

  def testAveragesEachGradientOverTowers(self):
    random = np.random.RandomState(0)
    shapes = [2, 3], [4], []
    gradients = [[random.normal(size=shape).astype(np.float32) for shape in shapes]
                 for _ in range(3)]
    devices = ['/cpu:0', '/cpu:1', '/cpu:2']
    with tf.Graph().as_default(), _session(3) as session:
      variables = [tf.get_variable('v%d' % i, shape) for i, shape in enumerate(shapes)]
      towers = [[(tf.constant(value), variable)
                 for value, variable in zip(tower, variables, strict=True)] for tower in gradients]
      averaged = multi.average_gradients(towers, devices)
      self.assertEqual([variable for _, variable in averaged], variables)
      result = session.run([gradient for gradient, _ in averaged])
    for i in range(3):
      self.assertAllClose(result[i], sum(tower[i] for tower in gradients) / 3)

  def testTwoTowersEqualOneWithTwiceTheBatch(self):
    """Compares the gradients, with a tolerance of 1e-6, and the loss."""
    random = np.random.RandomState(1)
    images = random.normal(size=[128, 24, 24, 3]).astype(np.float32)
    labels = random.randint(10, size=128).astype(np.int32)
    def towers(options):
      return multi.build(options, TWO, 'cpu')
    one, loss, size = _gradients(cifar10_train.build, _options(batch_size=128), [(images, labels)])
    two, mean, both = _gradients(towers, _options(batch_size=64), list(zip(
        np.split(images, 2), np.split(labels, 2), strict=True)))
    self.assertEqual((size, both), (128, 128))  # batch size for the learning rate
    self.assertEqual(list(one), list(two))
    for name, gradient in one.items():
      self.assertAllClose(two[name], gradient, rtol=0, atol=1e-6)
      self.assertGreater(abs(gradient).max(), 1e-4)
    self.assertAllClose(mean, loss, rtol=1e-6)


class DevicesTest(tf.test.TestCase):

  def testDevicesFollowTheFlagAndTheGpusPresent(self):
    with mock.patch.object(multi, 'seen_gpus', return_value=[]):
      self.assertEqual(multi.choose_devices(2, 'auto'), TWO)
      with self.assertRaisesRegex(Failure, 'sees 0: none. Take fewer, or --tower_device=cpu'):
        multi.choose_devices(1, 'gpu')
    with mock.patch.object(multi, 'seen_gpus', return_value=['/gpu:0', '/gpu:1']):
      self.assertEqual(multi.choose_devices(2, 'auto'), ['/gpu:0', '/gpu:1'])
      self.assertEqual(multi.choose_devices(1, 'gpu'), ['/gpu:0'])
      self.assertEqual(multi.choose_devices(3, 'cpu'), ['/cpu:0', '/cpu:1', '/cpu:2'])
      for kind in 'auto', 'gpu':
        with self.assertRaisesRegex(Failure, '--num_gpus=3, but TensorFlow sees 2: /gpu:0, /gpu:1'):
          multi.choose_devices(3, kind)

  def testAveragingFollowsTheFlagAndTheDevices(self):
    gpus = ['/gpu:0', '/gpu:1']
    self.assertEqual(multi.choose_average('auto', TWO), 'cpu')
    self.assertEqual(multi.choose_average('auto', gpus), 'nccl')
    self.assertEqual(multi.choose_average('auto', gpus[:1]), 'gpu')
    for wanted in 'cpu', 'gpu', 'nccl':
      self.assertEqual(multi.choose_average(wanted, gpus), wanted)
    for wanted in 'gpu', 'nccl':
      with self.assertRaisesRegex(Failure, '--average_on=%s needs towers on GPUs' % wanted):
        multi.choose_average(wanted, TWO)

  def testEachOpHasItsDevice(self):
    """Checks the device of each op. Building such a graph needs no GPU."""
    def batches(*_):
      return [(tf.zeros([2, 24, 24, 3]), tf.zeros([2], tf.int32)) for _ in range(2)], EXAMPLES
    for average, home in ('cpu', '/cpu:0'), ('gpu', '/gpu:0'), ('nccl', '/gpu:0'):
      with tf.Graph().as_default() as graph, \
           mock.patch.object(cifar10_train, 'build_input', batches):
        multi.build(_options(), ['/gpu:0', '/gpu:1'], average)
        ops = graph.get_operations()
      devices = {op.name: tf.DeviceSpec.from_string(op.device) for op in ops}
      def places(kind, ops=ops):
        return sorted(tf.DeviceSpec.from_string(op.device).to_string()
                      for op in ops if op.type == kind)
      home = tf.DeviceSpec.from_string(home).to_string()
      gpus = [tf.DeviceSpec.from_string('/gpu:%d' % i).to_string() for i in range(2)]
      for name in 'conv1/weights', 'local4/biases', 'conv2/weights/ExponentialMovingAverage':
        self.assertEqual(devices[name].to_string(), home)
      self.assertEqual(places('Unstage'), gpus)
      self.assertEqual(places('MaxPoolGrad'), 2 * gpus[:1] + 2 * gpus[1:])
      self.assertEqual(places('NcclAllReduce'), gpus if average == 'nccl' else [])


class StagedTest(tf.test.TestCase):

  def testPrefetchGivesEachBatchOnceInOrder(self):
    with tf.Graph().as_default(), _session() as session:
      count = tf.get_variable('count', initializer=0)
      label = tf.reshape(count.assign_add(1), [1])
      image = tf.cast(tf.reshape(label, [1, 1]), tf.float32)
      with tf.device('/cpu:1'):
        prefetched = multi._prefetch(image, label)
      session.run(tf.global_variables_initializer())
      session.run(tf.get_collection(hooks.FILL))
      refill = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
      for number in range(1, 5):
        (image, label), _ = session.run([prefetched, refill])
        self.assertEqual((image, label), (number, number))


class TrainTest(testing.TrainerTestCase):

  def _train(self, module=multi, **changes):
    options = _options(**dict(dict(data_dir=self.data_dir, train_dir=self.train_dir,
                                   tower_device='cpu', summary_steps=1), **changes))
    with contextlib.redirect_stdout(io.StringIO()) as out:
      self.assertEqual(module.train(options), 0)
    return out.getvalue()

  def _tensors(self):
    return testing.tensors(checkpoints.find_latest(self.train_dir))

  def testOneDeviceAndTowersResumeEachOther(self):
    """Both programs write checkpoints with the same names and event files with the same tags."""
    self._train(cifar10_train, max_steps=2, recipe='fast')
    names, tags = set(self._tensors()), set(_values(self.train_dir))
    out = self._train(num_gpus=2, max_steps=4, recipe='fast')
    self.assertIn('Towers on /cpu:0, /cpu:1, 8 pictures each, 16 a step; gradients are averaged on '
                  'the CPU.\nContinuing from %s' % self.train_dir, out)
    self.assertEqual(self._tensors()['global_step'], 4)
    self.assertEqual(set(self._tensors()), names)
    values = _values(self.train_dir)
    self.assertEqual(set(values), tags)
    for tag in tags - {'global_step/sec'} - {
        tag for tag in tags if tag.startswith(('images/', '_hparams_/'))}:
      self.assertEqual(set(values[tag]), {1, 2, 3, 4}, tag)
    self._train(cifar10_train, max_steps=5, recipe='fast')
    self.assertEqual(self._tensors()['global_step'], 5)

  def testMixupGivesEachTowerClassProbabilities(self):
    """The labels in each tower are float32 class probabilities, here of three classes."""
    data_dir = os.path.join(self.get_temp_dir(), 'three')
    testing.relabel(self.data_dir, list('abc'), data_dir)
    with mock.patch.dict(cifar10.RECIPES, fast=lambda steps: recipes.fast(40000)._replace(
        max_steps=steps)), \
         mock.patch.object(cifar10, 'loss', wraps=cifar10.loss) as loss:
      self._train(num_gpus=2, max_steps=2, recipe='fast', data_dir=data_dir)
    self.assertEqual([call.args[0].shape.as_list() for call in loss.call_args_list], 2 * [[8, 3]])
    self.assertEqual([call.args[1].shape.as_list() for call in loss.call_args_list], 2 * [[8, 3]])
    self.assertEqual([call.args[1].dtype for call in loss.call_args_list], 2 * [tf.float32])
    self.assertEqual(self._tensors()['local3/weights/Updates'], 2)
    self.assertEqual(set(_values(self.train_dir)['cross_entropy__raw_']), {1, 2})

  def testRateCountsExamples(self):
    """After the same number of pictures, 1, 2 and 4 towers have the same learning rate."""
    def recipe(steps):  # the rate drops every 12 batches of 8
      return cifar10.tutorial(steps)._replace(epochs_per_decay=1.0)
    rates_at = {}
    with mock.patch.dict(cifar10.RECIPES, tutorial=recipe):
      for towers in 1, 2, 4:
        self.train_dir += str(towers)
        if towers == 2:
          self._train(num_gpus=towers, max_steps=8 // towers)
        self._train(num_gpus=towers, max_steps=16 // towers)  # two towers resume
        rates = _values(self.train_dir)['learning_rate']
        rates_at[towers] = {8 * towers * (step - 1): rate for step, rate in rates.items()}
    self.assertAllClose(rates_at[1], {8 * i: 0.1 if i < 12 else 0.01 for i in range(16)})
    for towers in 2, 4:
      self.assertLen(rates_at[towers], 16 // towers)
      self.assertAllClose(
          rates_at[towers], {pictures: rates_at[1][pictures] for pictures in rates_at[towers]})

  def testEndOfInputEndsTraining(self):
    out = self._train(num_gpus=2, batch_size=16, max_steps=50, num_epochs=1)
    self.assertIn('the input ended after --num_epochs=1, at step 3', out)

  def testPrefetchedInputTrains(self):
    """Trains on prefetched batches, as on GPUs."""
    build = multi.build
    with mock.patch.object(multi, 'build', lambda *args, **more: build(*args, **more, staged=True)):
      self._train(num_gpus=2, max_steps=3)
    self.assertEqual(self._tensors()['global_step'], 3)

  def testMissingGpusAreRefused(self):
    done = subprocess.run(
        [sys.executable, multi.__file__, '--num_gpus=9', '--tower_device=gpu',
         '--data_dir=' + self.data_dir, '--train_dir=' + self.train_dir],
        capture_output=True, text=True, timeout=120, check=False)
    self.assertEqual(done.returncode, 1)
    self.assertRegex(done.stderr, r'^Error: --num_gpus=9, but TensorFlow sees \d: .*\n$')
    self.assertFalse(os.path.exists(self.train_dir))


if __name__ == '__main__':
  tf.test.main()
