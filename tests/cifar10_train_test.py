"""Tests of the trainer: short runs on a sample data set."""
import contextlib
import glob
import io
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from unittest import mock

import numpy as np
from absl import flags
from absl.testing import flagsaver

import cifar10
import cifar10_input
import cifar10_train
from cifar10_lib.common import programs
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records, sample
from cifar10_lib.training import checkpoints, hooks, recipes, trainer_files
from tests import testing

ROOT = os.path.dirname(os.path.abspath(cifar10_train.__file__))
TRAIN_EXAMPLES = 90
BATCH_SIZE = 16
EMA = '/ExponentialMovingAverage'
# With this recipe, a step leaves the weights unchanged.
RATE_OF_ZERO = mock.patch.dict(
    cifar10.RECIPES, tutorial=lambda steps: cifar10.tutorial(steps)._replace(learning_rate=0.0))


def _events_of(directory):
  """Yields the events of a directory's event files, in the order written."""
  for path in sorted(glob.glob(os.path.join(directory, 'events.*'))):
    yield from tf.train.summary_iterator(path)


def _events(directory):
  """Returns (step, tag) of each value in a directory's event files, in the order written."""
  return [(event.step, value.tag) for event in _events_of(directory)
          for value in event.summary.value]


def _values(directory, tag):
  """Returns a dict from step to the value of a scalar."""
  return {event.step: value.simple_value for event in _events_of(directory)
          for value in event.summary.value if value.tag == tag}


def _losses(out):
  """Returns a dict from step to the loss in its log line, as text."""
  return {int(step): loss for step, loss in re.findall(r': step (\d+), loss = (\S+) ', out)}


def _nan_at(step):
  """Returns a float32 scalar tensor: NaN in the run that makes this step, otherwise 1."""
  before = tf.train.get_global_step()  # read before the update increments it
  return tf.where(tf.equal(before, step - 1), np.float32(np.nan), np.float32(1))


def _loss_breaks_at(step):
  """Patches cifar10.loss so that it returns NaN in one step."""
  loss = cifar10.loss
  return mock.patch.object(
      cifar10, 'loss', lambda *args, **options: loss(*args, **options) * _nan_at(step))


def _update_breaks_at(step):
  """Patches cifar10.loss so that its gradients, but not its value, are NaN in one step."""
  loss = cifar10.loss
  def broken(*args, **options):
    factor = _nan_at(step)
    same = tf.custom_gradient(lambda x: (tf.identity(x), lambda gradient: gradient * factor))
    return same(loss(*args, **options))
  return mock.patch.object(cifar10, 'loss', broken)


# A trainer whose input gives three batches and then stalls, like a disk that went away.
STALLING_TRAINER = '''
from cifar10_lib.common import programs
import cifar10_input
import cifar10_train
from cifar10_lib.common.tf1 import tf

def three_batches(data_dir, batch_size, *args, **options):
  nothing = tf.FIFOQueue(1, [tf.int32], [[]], name='nobody_fills').dequeue
  batches = tf.FIFOQueue(4, [tf.float32, tf.int32], [[batch_size, 24, 24, 3], [batch_size]])
  number = tf.get_local_variable('number', initializer=0).assign_add(1)
  wait = tf.cond(number > 3, nothing, lambda: 0)
  with tf.control_dependencies([wait]):
    batch = tf.zeros([batch_size, 24, 24, 3]), tf.zeros([batch_size], tf.int32)
    tf.train.add_queue_runner(tf.train.QueueRunner(batches, [batches.enqueue(batch)]))
  return [batches.dequeue()]

cifar10_input.distorted_inputs = three_batches
programs.run(cifar10_train.main)
'''


class TrainTest(testing.TrainerTestCase):
  EXAMPLES = TRAIN_EXAMPLES

  def _options(self, **changes):
    """Returns the default flags for a short run, with `changes` applied."""
    return testing.defaults(cifar10, cifar10_train, **dict(
        dict(data_dir=self.data_dir, train_dir=self.train_dir, batch_size=BATCH_SIZE), **changes))

  def _train(self, build=cifar10_train.build, **changes):
    """Trains; returns the exit code and the output."""
    with contextlib.redirect_stdout(io.StringIO()) as out, \
         contextlib.redirect_stderr(io.StringIO()) as err:
      code = cifar10_train.train(self._options(**changes), build)
    return code, out.getvalue() + err.getvalue()

  def _path(self, step):
    return os.path.join(self.train_dir, 'model.ckpt-%d' % step)

  def _steps(self):
    return [checkpoints.step_of(path)
            for path in checkpoints.find_all(self.train_dir)]

  def _times(self):
    """Returns the modification time of each file, except the lock, which a start may touch."""
    return {name: os.stat(os.path.join(self.train_dir, name)).st_mtime_ns
            for name in os.listdir(self.train_dir) if name != 'trainer.lock'}

  def testClassNamesAndStatusLieBesideCheckpoints(self):
    """The status also holds the run's name and hyper-parameters, and TensorBoard shows them."""
    self._train(max_steps=1, recipe='fast')
    before = trainer_files.read_status(self.train_dir)
    self.assertEqual(records.class_names(self.train_dir), list(sample.KINDS))
    self._train(max_steps=2, recipe='fast')
    status = trainer_files.read_status(self.train_dir)
    self.assertEqual(status['run'], before['run'])  # a resumed run keeps its name
    self.assertStartsWith(status['run'], '/'.join(self.train_dir.split(os.sep)[-2:]) + ', ')
    expected = {**recipes.fast(2)._asdict(), 'recipe': 'fast', 'max_steps': 2,
                'batch_size': BATCH_SIZE, 'use_fp16': False,
                'validation_examples': 0, 'seed': None, 'num_gpus': None, 'sync': None,
                'replicas_to_aggregate': None, 'init_from': None}
    self.assertEqual(status['hparams'], expected)
    steps = [step for step, tag in _events(self.train_dir)
             if tag == '_hparams_/session_start_info']
    self.assertEqual(steps, [0, 1])  # the second is not before the first start's values

  def testAccuracyOfTheBatchIsLoggedAndShown(self):
    _, out = self._train(max_steps=3, log_frequency=1, summary_steps=1)
    shown = _values(self.train_dir, 'accuracy')
    logged = {int(step): share for step, share in re.findall(
        r': step (\d+), .* accuracy (\S+),', out)}
    self.assertEqual(logged, {step: '%.2f' % shown[step] for step in (2, 3)})
    for share in shown.values():  # a multiple of 1 / BATCH_SIZE
      self.assertAllClose(share * BATCH_SIZE, round(share * BATCH_SIZE))

  def testTrainsAndResumes(self):
    code, out = self._train(max_steps=3, log_frequency=2, summary_steps=1)
    self.assertEqual(code, 0)
    self.assertIn('Starting in %s' % self.train_dir, out)
    self.assertRegex(out, r'\n\d{4}-.*: step 2, loss = \d\.\d\d '
                          r'\(\d+\.\d examples/sec; \d+\.\d{3} sec/batch\), '
                          r'accuracy \d\.\d\d, \d:\d\d:\d\d left\n')
    tensors = testing.tensors(self._path(3))
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
    raw = _values(self.train_dir, 'total_loss__raw_')
    self.assertEqual(_losses(out), {4: '%.2f' % raw[4], 5: '%.2f' % raw[5]})
    self.assertEqual(testing.tensors(self._path(5))['global_step'], 5)
    self.assertLessEqual(before, set(os.listdir(self.train_dir)))
    self.assertEqual([step for step, tag in _events(self.train_dir) if tag == 'total_loss_1'],
                     [1, 2, 3, 4, 5])
    self.assertAllClose(_values(self.train_dir, 'learning_rate'), dict.fromkeys(range(1, 6), 0.1))
    starts = [event.step for event in _events_of(self.train_dir)
              if event.session_log.status == tf.SessionLog.START]
    self.assertEqual(starts, [1, 4])  # TensorBoard drops earlier values from these steps on

    files = self._times()
    for max_steps in 5, 4:
      code, out = self._train(max_steps=max_steps)
      self.assertEqual(code, 0)
      self.assertIn('Nothing to do', out)
      self.assertEqual(self._times(), files)

    # The smoothed loss continues too. A summary may show it before or after the step's update.
    smoothed = [0.0]
    for step in range(1, 6):
      smoothed.append(0.9 * smoothed[-1] + 0.1 * raw[step])
      shown = _values(self.train_dir, 'total_loss_1')[step]
      self.assertLess(min(abs(shown - smoothed[step - 1]), abs(shown - smoothed[step])), 1e-4)
    self.assertAllClose(testing.tensors(self._path(5))['loss/total_loss/avg'], smoothed[5])

  def testFastRecipeContinuesFromTheTutorials(self):
    self._train(max_steps=2)
    code, out = self._train(max_steps=6, recipe='fast', summary_steps=1, augment='crop:4..1')
    self.assertEqual(code, 0)
    self.assertIn('Continuing from %s' % self._path(2), out)
    tensors = testing.tensors(self._path(6))
    self.assertEqual(tensors['conv1/weights/Momentum'].shape, (5, 5, 3, 64))
    rates = _values(self.train_dir, 'learning_rate')
    self.assertAllClose([rates[step] for step in (3, 4, 5, 6)],
                        [0.05 * (6 - done) / 5 for done in (2, 3, 4, 5)])
    crops = _values(self.train_dir, 'input/batch_queue/crop')  # of the newest batch in the queue
    self.assertContainsSubset(crops.values(), [3, 2, 1])
    self.assertEqual(crops[6], 1)
    # The tutorial's recipe continues in turn, and needs no momentum.
    self.assertEqual(self._train(max_steps=7)[0], 0)
    self.assertNotIn('conv1/weights/Momentum', testing.tensors(self._path(7)))

  def testMuonUpdatesLocal3InEveryFourthStep(self):
    """Each step changes the momentum. The checkpoint has the count, so a resume changes nothing."""
    def earlier(steps):  # the recipe of checkpoints without a count
      return recipes.fast(steps)._replace(muon_every=1)
    with mock.patch.dict(cifar10.RECIPES, fast=earlier):
      self._train(max_steps=1, recipe='fast', train_dir=os.path.join(self.train_dir, 'earlier'))
    self.assertEqual(
        self._train(max_steps=2, recipe='fast',
                    train_dir=os.path.join(self.train_dir, 'earlier'))[0], 0)
    for max_steps in 3, 6:  # two starts
      self._train(max_steps=max_steps, recipe='fast', save_checkpoint_steps=1, keep_checkpoints=7)
    local3 = []
    for step in range(1, 7):
      tensors = testing.tensors(self._path(step))
      self.assertEqual(tensors['local3/weights/Updates'], step)
      local3.append((tensors['local3/weights'], tensors['local3/weights/Momentum']))
    moved = [bool(np.any(one[0] != other[0])) for one, other in itertools.pairwise(local3)]
    self.assertEqual(moved, [False, False, False, True, False])
    for one, other in itertools.pairwise(local3):
      self.assertTrue(np.any(one[1] != other[1]))

  def testMixupGivesClassProbabilities(self):
    def recipe(steps):
      return recipes.fast(steps)._replace(mixup=0.2 if steps >= 3 else 0.0)
    with mock.patch.dict(cifar10.RECIPES, fast=recipe):
      for max_steps, dtype in (2, tf.int32), (3, tf.float32):
        with tf.Graph().as_default() as graph:
          input_batches, _ = cifar10_train.build_input(
              self._options(data_dir=self.data_dir, recipe='fast', max_steps=max_steps),
              batches=2)
          for images, labels in input_batches:
            self.assertEqual((images.dtype, labels.dtype), (tf.float32, dtype))
          gamma_ops = [op for op in graph.get_operations() if op.type == 'RandomGamma']
          self.assertLen(gamma_ops, 2 if dtype == tf.float32 else 0)  # one share for each batch
      with mock.patch.object(cifar10, 'loss', wraps=cifar10.loss) as loss:
        code, out = self._train(max_steps=100, num_epochs=1, recipe='fast', log_frequency=1)
    self.assertEqual(code, 0)
    self.assertEqual(loss.call_args.args[1].dtype, tf.float32)
    last = -(-self.EXAMPLES // BATCH_SIZE)  # the last batch is smaller
    self.assertRegex(out, r': step %d, loss = \d\.\d\d ' % last)

  def testRecipeDecidesFlagsThatAreNotGiven(self):
    fast, tutorial = recipes.fast(), cifar10.tutorial()
    for arguments, max_steps, augment in [
        (['--recipe=fast', '--augment=none'], fast.max_steps, 'none'),
        (['--recipe=fast', '--max_steps=7'], 7, 'crop:4..1,flip'),
        (['--recipe=fast', '--max_steps=50000'], 50000, 'crop:4,flip'),
        ([], tutorial.max_steps, tutorial.augment),
        (['--recipe=fast', '--max_steps=50000', '--augment='], 50000, '')]:
      parsed = flags.FlagValues()
      flags.DEFINE_string('recipe', 'tutorial', '', flag_values=parsed)
      flags.DEFINE_string('augment', None, '', flag_values=parsed)
      flags.DEFINE_integer('max_steps', 1000000, '', flag_values=parsed)
      parsed(['program', *arguments])
      cifar10_train.follow_recipe(parsed)
      recipe = cifar10_train.recipe_of(parsed)
      self.assertEqual((recipe.max_steps, recipe.augment), (max_steps, augment))
      self.assertEqual(parsed.max_steps, max_steps)

  def testFlagsOverrideNumbersOfTheRecipe(self):
    """The log says what differs, the hyper-parameters hold it, and the rate follows it."""
    code, out = self._train(max_steps=1, summary_steps=1, learning_rate=0.01, momentum=0.5,
                            augment='none')
    self.assertEqual(code, 0)
    self.assertStartsWith(
        out, 'Starting in %s.\nDiffers from --recipe=tutorial: learning_rate 0.01 (0.1), augment '
        'none (crop,flip,colour), momentum 0.5 (0).\n' % self.train_dir)
    hparams = trainer_files.read_status(self.train_dir)['hparams']
    self.assertEqual((hparams['learning_rate'], hparams['momentum'], hparams['weight_decay']),
                     (0.01, 0.5, 0.004))
    self.assertAllClose(_values(self.train_dir, 'learning_rate'), {1: 0.01})
    self.assertIn('conv1/weights/Momentum', testing.tensors(self._path(1)))
    _, out = self._train(max_steps=2, recipe='fast', learning_rate=0.025)
    self.assertIn('Continuing from %s.\nDiffers from --recipe=fast: learning_rate 0.025 (0.05), '
                  'muon_rate 0.01 (0.02).\n' % self._path(1), out)
    _, out = self._train(max_steps=3, learning_rate=0.1)  # the recipe's own
    self.assertNotIn('Differs', out)

  def testOtherNumbersReachTheGraph(self):
    with mock.patch.object(cifar10, 'loss', wraps=cifar10.loss) as loss, \
         mock.patch.object(recipes, 'VariableAverages', wraps=recipes.VariableAverages) as averages:
      self._train(max_steps=1, label_smoothing=0.2, moving_average_decay=0.5, weight_decay=0.0,
                  summary_steps=1)
    self.assertEqual(loss.call_args.kwargs['label_smoothing'], 0.2)
    self.assertEqual(averages.call_args.args[0], 0.5)
    self.assertEqual(_values(self.train_dir, 'local3/weight_loss__raw_'), {1: 0.0})

  def testFlagsOfNumbersHaveRanges(self):
    for flag in ('learning_rate=0', 'learning_rate=-0.1', 'learning_rate=nan', 'learning_rate=inf',
                 'momentum=1', 'momentum=-0.1', 'momentum=nan', 'weight_decay=-1',
                 'weight_decay=nan', 'label_smoothing=1', 'label_smoothing=nan',
                 'moving_average_decay=1.1', 'moving_average_decay=-nan', 'momentum=much'):
      with self.subTest(flag), flagsaver.flagsaver(), self.assertRaises(SystemExit) as caught, \
           contextlib.redirect_stderr(io.StringIO()) as err:
        programs.parse_flags(['program', '--' + flag])
      self.assertEqual(caught.exception.code, 2)
      self.assertIn(flag.partition('=')[0], err.getvalue())
      self.assertEqual(err.getvalue().count('\n'), 1)
    with flagsaver.flagsaver():
      programs.parse_flags(['program', '--learning_rate=0.5', '--momentum=0', '--weight_decay=0',
                            '--moving_average_decay=1', '--label_smoothing=0.9'])
      recipe = cifar10_train.recipe_of(cifar10_train.FLAGS)
    self.assertEqual((recipe.learning_rate, recipe.moving_average_decay), (0.5, 1.0))

  def testHeldOutPicturesAreNotTrainedOn(self):
    """An epoch has 90 - 45 pictures in batches of 16, so 3 steps."""
    code, out = self._train(num_epochs=1, validation_examples=45)
    self.assertEqual(code, 0)
    self.assertIn('at step 3;', out)

  def testSummariesHaveTheirTagsAndSteps(self):
    self._train(max_steps=5, summary_steps=2)
    tags = {tag: [] for _, tag in _events(self.train_dir)}
    for step, tag in _events(self.train_dir):
      tags[tag].append(step)
    for tag in ('total_loss_1', 'total_loss__raw_', 'cross_entropy_1', 'learning_rate',
                'At a glance/total_loss_1', 'At a glance/learning_rate', 'At a glance/accuracy',
                'images/image/0', 'conv1/activations', 'conv1/sparsity',
                'conv1/weights/gradients', 'input/record_queue/fullness'):
      self.assertEqual(tags[tag], [1, 3, 5], tag)
    self.assertEqual(tags['global_step/sec'], [3, 5])
    self.assertLen([tag for tag in tags if tag.startswith('At a glance/')], 3)
    for tag in 'total_loss_1', 'learning_rate', 'accuracy':
      self.assertEqual(_values(self.train_dir, 'At a glance/' + tag), _values(self.train_dir, tag))
    self.assertLen([tag for tag in tags if tag.startswith('images/')], 10)
    graphs = [tf.GraphDef.FromString(event.graph_def) for event in _events_of(self.train_dir)
              if event.HasField('graph_def')]
    self.assertTrue(graphs)
    for graph in graphs:
      self.assertIn('conv1/weights', [node.name for node in graph.node])

  def testEpochsDoNotDependOnSummaries(self):
    for summary_steps in 1, 100:
      train_dir = os.path.join(self.train_dir, str(summary_steps))
      code, out = self._train(num_epochs=2, summary_steps=summary_steps, train_dir=train_dir)
      self.assertEqual(code, 0)
      self.assertIn('the input ended', out)
      latest = checkpoints.find_latest(train_dir)
      self.assertEqual(checkpoints.step_of(latest), -(-2 * TRAIN_EXAMPLES // BATCH_SIZE))
      self.assertEqual(trainer_files.read_status(train_dir)['state'], 'finished')
    self.assertEqual(self._train(num_epochs=1, train_dir=train_dir)[0], 0)
    self.assertEqual(checkpoints.step_of(checkpoints.find_latest(train_dir)),
                     12 + 6)  # epochs count from each start

  def testInputThatEndsEarlyFails(self):
    inputs = cifar10_input.distorted_inputs
    def ending(data_dir, batch_size, num_epochs, **options):
      return inputs(data_dir, batch_size, 1, **options)
    with mock.patch.object(cifar10_input, 'distorted_inputs', ending):
      code, out = self._train(max_steps=100)
    self.assertEqual(code, 1)
    self.assertIn('the input ended at step 6, before --max_steps=100', out)
    self.assertEqual(self._steps(), [0, 6])
    self.assertEqual(trainer_files.read_status(self.train_dir)['state'], 'failed')

  def testBadRecordIsNamed(self):
    data_dir = tempfile.mkdtemp(dir=self.get_temp_dir())
    shutil.copytree(self.data_dir, data_dir, dirs_exist_ok=True)
    path = records.data_files(data_dir)[2]
    with open(path, 'r+b') as file:
      file.seek(3073 * 4)
      file.write(bytes([200]))
    with self.assertRaisesRegex(Failure, 'data_batch_3.bin:4'):
      self._train(data_dir=data_dir, max_steps=50)

  def testCheckpointOfAnotherNetworkIsRefused(self):
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
    _, out = self._train(max_steps=2)
    self.assertIn('Continuing from %s.' % self._path(0), out)
    self.assertIn('damaged-model.ckpt-1.index', os.listdir(self.train_dir))

  def testCheckpointWithoutSmoothedLossesResumes(self):
    self._train(max_steps=1)
    with tf.Graph().as_default(), tf.Session() as session:
      for name, value in testing.tensors(self._path(1)).items():
        if not name.endswith('/avg'):
          tf.get_variable(name, initializer=value)
      session.run(tf.global_variables_initializer())
      shutil.rmtree(self.train_dir)
      os.mkdir(self.train_dir)
      tf.train.Saver().save(session, os.path.join(self.train_dir, 'model.ckpt'), 1)
      expected = testing.tensors(self._path(1))
    with RATE_OF_ZERO:
      code, out = self._train(max_steps=2)
    self.assertEqual(code, 0)
    self.assertIn('Continuing from %s' % self._path(1), out)
    tensors = testing.tensors(self._path(2))
    self.assertEqual(tensors['global_step'], 2)
    self.assertAllEqual(tensors['conv1/weights'], expected['conv1/weights'])

  def testKeepsTheLatestCheckpointsAcrossStarts(self):
    self._train(max_steps=3, save_checkpoint_steps=1, keep_checkpoints=2)
    self.assertEqual(self._steps(), [2, 3])
    self._train(max_steps=4, save_checkpoint_steps=1, keep_checkpoints=2)
    self.assertEqual(self._steps(), [3, 4])
    self.assertFalse(os.path.exists(self._path(2) + '.index'))

  def testMovedDirectoryResumes(self):
    self._train(max_steps=2)
    moved = self.train_dir + '-moved'
    os.rename(self.train_dir, moved)
    # Read it now, because the next start saves it again.
    before = testing.tensors(os.path.join(moved, 'model.ckpt-2'))
    with RATE_OF_ZERO:
      code, out = self._train(train_dir=moved, max_steps=3)
    self.assertEqual(code, 0)
    self.assertIn('Continuing from %s' % os.path.join(moved, 'model.ckpt-2'), out)
    self.assertFalse(os.path.exists(self.train_dir))
    after = testing.tensors(os.path.join(moved, 'model.ckpt-3'))
    self.assertEqual(set(before), set(after))
    for name, value in after.items():
      if name + EMA in after:
        self.assertAllEqual(value, before[name])
        average = before[name + EMA]
        decay = (1 + 3) / (10 + 3)  # at step 3
        self.assertAllClose(after[name + EMA], decay * average + (1 - decay) * value,
                            rtol=1e-6, atol=1e-7)

  def testDeletedDirectoryStartsAnewInTheSameProcess(self):
    for _ in range(2):
      code, out = self._train(max_steps=2, summary_steps=1)
      self.assertEqual(code, 0)
      self.assertIn('Starting in %s' % self.train_dir, out)
      self.assertEqual(set(_values(self.train_dir, 'total_loss__raw_')), {1, 2})
      shutil.rmtree(self.train_dir)

  def testSecondTrainerIsRefused(self):
    with trainer_files.exclusive(self.train_dir):
      trainer_files.write_status(self.train_dir, 'training')
      files = self._times()
      with self.assertRaisesRegex(Failure, 'in use by another trainer .*%d' % os.getpid()):
        self._train(max_steps=2)
      self.assertEqual(self._times(), files)

  def testSeedRepeatsBitForBit(self):
    self._check_seeds()

  def testSeedRepeatsMixupToo(self):
    def recipe(steps):
      return cifar10.tutorial(steps)._replace(mixup=0.2)
    with mock.patch.dict(cifar10.RECIPES, tutorial=recipe):
      self._check_seeds()

  def _check_seeds(self):
    """Checks that runs with one seed agree bit for bit, and that a run with another differs."""
    runs, losses = [], []
    for i, seed in enumerate((7, 7, 8)):
      train_dir = os.path.join(self.train_dir, str(i))
      _, out = self._train(seed=seed, max_steps=6, train_dir=train_dir, log_frequency=1,
                           augment='crop:4..1,flip,colour')
      losses.append(_losses(out))
      runs.append(testing.tensors(os.path.join(train_dir, 'model.ckpt-6')))
    for name in runs[0]:
      self.assertAllEqual(runs[0][name], runs[1][name])
    self.assertNotAllClose(runs[0]['conv1/weights'], runs[2]['conv1/weights'])
    self.assertLen(losses[0], 6)
    self.assertEqual(losses[0], losses[1])
    self.assertNotEqual(losses[0], losses[2])

  def testDivergenceKeepsTheLastGoodCheckpoint(self):
    def recipe(steps):
      return cifar10.tutorial(steps)._replace(learning_rate=1e30)
    self._train(max_steps=2)
    with mock.patch.dict(cifar10.RECIPES, tutorial=recipe):
      with self.assertRaisesRegex(Failure, 'step [34]'):
        self._train(max_steps=50, save_checkpoint_steps=1)
    latest = checkpoints.find_latest(self.train_dir)
    for name, value in testing.tensors(latest).items():
      self.assertTrue(np.isfinite(value).all(), name)
    self.assertEqual(trainer_files.read_status(self.train_dir)['state'], 'failed')

  def testNonFiniteLossIsNamedWithItsStep(self):
    def recipe(steps):
      return cifar10.tutorial(steps)._replace(learning_rate=1e30)
    with mock.patch.dict(cifar10.RECIPES, tutorial=recipe):
      with self.assertRaisesRegex(Failure, 'The loss became (nan|inf) at step 2;'):
        self._train(max_steps=50, summary_steps=1)
    self.assertEqual(self._steps(), [0])

  def testNonFiniteLossIsExitCode1(self):
    argv = ['program', '--data_dir', self.data_dir, '--train_dir', self.train_dir,
            '--batch_size=8', '--max_steps=9', '--save_checkpoint_steps=1']
    with flagsaver.flagsaver(), mock.patch.object(sys, 'argv', argv), _loss_breaks_at(3), \
         self.assertRaises(SystemExit) as caught, \
         contextlib.redirect_stdout(io.StringIO()), \
         contextlib.redirect_stderr(io.StringIO()) as err:
      programs.run(cifar10_train.main)
    self.assertEqual(caught.exception.code, 1)
    self.assertRegex(err.getvalue(), r'^Error: The loss became nan at step 3;.*\n$')
    self.assertEqual(self._steps(), [0, 1, 2])
    for name, value in testing.tensors(self._path(2)).items():
      self.assertTrue(np.isfinite(value).all(), name)
    self.assertEqual(trainer_files.read_status(self.train_dir)['state'], 'failed')

  def testNonFiniteWeightsAreNotSaved(self):
    # The last step makes the update, so no loss shows it.
    with _update_breaks_at(3), self.assertRaisesRegex(Failure, 'weights .*NaN.* by step 3'):
      self._train(max_steps=3, save_checkpoint_steps=2)
    self.assertEqual(self._steps(), [0, 2])
    for name, value in testing.tensors(self._path(2)).items():
      self.assertTrue(np.isfinite(value).all(), name)
    self.assertEqual(trainer_files.read_status(self.train_dir)['state'], 'failed')

  def testSignalBeforeTheFirstStepStops(self):
    def interrupted(options):
      os.kill(os.getpid(), signal.SIGTERM)
      return cifar10_train.build(options)
    code, out = self._train(interrupted, max_steps=5)
    self.assertEqual(code, 128 + signal.SIGTERM)
    self.assertIn('Stopped at step 0 of 5', out)
    self.assertEqual(self._steps(), [0])

  def testInterruptFinishesTheStep(self):
    # A background job of a script ignores SIGINT, and the trainer keeps it ignored.
    def handler(*_):
      pass
    self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, handler))
    after_step = hooks.LoggerHook.after_step
    def interrupted(hook, step, loss, accuracy):
      after_step(hook, step, loss, accuracy)
      if step == 2:
        os.kill(os.getpid(), signal.SIGINT)
    with mock.patch.object(hooks.LoggerHook, 'after_step', interrupted):
      code, out = self._train(max_steps=20)
    self.assertEqual(code, 128 + signal.SIGINT)
    self.assertIn('Stopped at step 2 of 20', out)
    self.assertEqual(self._steps(), [0, 2])
    self.assertIs(signal.getsignal(signal.SIGINT), handler)

  def testSecondSignalEndsAtOnce(self):
    # The batch of step 4 never comes, so only the signals can end the program.
    process = subprocess.Popen(
        [sys.executable, '-c', STALLING_TRAINER, '--data_dir', self.data_dir,
         '--train_dir', self.train_dir, '--batch_size=8', '--log_frequency=1'],
        stdout=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONPATH=ROOT))
    self.addCleanup(process.communicate)
    self.addCleanup(process.kill)
    for line in process.stdout:
      if 'step 3,' in line:
        break
    time.sleep(1)  # so that step 4 has begun
    for _ in range(2):
      process.send_signal(signal.SIGTERM)
      time.sleep(0.5)  # two signals at once may count as one
    try:
      code = process.wait(timeout=15)
    except subprocess.TimeoutExpired:
      self.fail('the second signal did not end the program')
    self.assertIn(code, (-signal.SIGTERM, 128 + signal.SIGTERM))

  def testSignalSavesACheckpointAndTrainingResumes(self):
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
    self.assertEqual(testing.tensors(self._path(stopped))['global_step'], stopped)
    self.assertEqual(trainer_files.read_status(self.train_dir)['state'], 'stopped')
    code, out = self._train(max_steps=stopped + 1)
    self.assertEqual(code, 0)
    self.assertIn('Continuing from %s' % self._path(stopped), out)
    self.assertEqual(list(_losses(out)), [stopped + 1])


if __name__ == '__main__':
  tf.test.main()
