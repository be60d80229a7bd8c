"""Tests of evaluation, on a small drawn data set and checkpoints that the tests write."""
import contextlib
import csv
import glob
import io
import os
import re
import sys
import tempfile
import threading
from unittest import mock

import numpy as np
from absl.testing import flagsaver
from tensorboard.plugins.hparams import metadata

import cifar10
from cifar10_lib.common import programs
from cifar10_lib.training import checkpoints
import cifar10_eval
import cifar10_input
from cifar10_lib.dataset import sample
from tests import testing
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf

TEST_EXAMPLES = 60
EMA = '/ExponentialMovingAverage'


def _numpy_features(images, tensors, suffix):
  """What the last layer sees, float64 [N, 192]: the network by its formulas.

  Args:
    images: float [N, 24, 24, 3], standardised.
    tensors: dict of a checkpoint's arrays.
    suffix: of the names to take, '' or '/ExponentialMovingAverage'.
  """
  def layer(name):
    return [tensors[name + kind + suffix].astype(np.float64) for kind in ('/weights', '/biases')]

  def conv(x, name):
    weights, biases = layer(name)
    padded = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)])
    size = x.shape[1]
    total = sum(padded[:, i:i + size, j:j + size] @ weights[i, j]
                for i in range(5) for j in range(5))
    return np.maximum(total + biases, 0)

  def pool(x):  # even sizes: one row and column of padding, below and to the right
    padded = np.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)], constant_values=-np.inf)
    size = x.shape[1]
    return np.max([padded[:, i:i + size:2, j:j + size:2] for i in range(3) for j in range(3)], 0)

  def norm(x):
    squares = np.pad(x * x, [(0, 0)] * 3 + [(4, 4)])
    total = sum(squares[..., i:i + x.shape[-1]] for i in range(9))
    return x / (1 + 0.001 / 9 * total) ** 0.75

  x = norm(pool(conv(images, 'conv1')))
  x = pool(norm(conv(x, 'conv2'))).reshape(len(images), -1)
  for name in 'local3', 'local4':
    weights, biases = layer(name)
    x = np.maximum(x @ weights + biases, 0)
  return x


def _numpy_logits(images, tensors, suffix):
  """The network's logits, float64 [N, 10]; arguments as `_numpy_features`."""
  features = _numpy_features(images, tensors, suffix)
  weights, biases = (tensors['softmax_linear/' + kind + suffix].astype(np.float64)
                     for kind in ('weights', 'biases'))
  return features @ weights + biases


def _numpy_examples(path):
  """Returns the standardised centres and the labels of a file's records."""
  records = np.fromfile(path, np.uint8).reshape(-1, 3073)
  images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)[:, 4:28, 4:28] / 1.0
  mean, stddev = (f(images, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.std))
  return (images - mean) / np.maximum(stddev, 1728 ** -0.5), records[:, 0]


@contextlib.contextmanager
def _stderr():
  """Collects what the whole process writes to file descriptor 2, TensorFlow's C++ side included."""
  sys.stderr.flush()
  before, lines = os.dup(2), []
  with tempfile.TemporaryFile() as held:
    os.dup2(held.fileno(), 2)
    try:
      yield lines
    finally:
      sys.stderr.flush()
      os.dup2(before, 2)
      os.close(before)
      held.seek(0)
      lines += held.readlines()


class EvalTest(testing.SampleTestCase):
  TEST_EXAMPLES = TEST_EXAMPLES

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    with tf.Graph().as_default():
      tf.train.get_or_create_global_step()
      cifar10.inference(tf.placeholder(tf.float32, [None, 24, 24, 3]))
      cls.shapes = {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}

  def setUp(self):
    super().setUp()
    root = tempfile.mkdtemp(dir=self.root)
    self.train_dir, self.eval_dir = os.path.join(root, 'train'), os.path.join(root, 'eval')
    os.mkdir(self.train_dir)

  def _random_tensors(self, seed=0, scale=0.05, averages=True):
    random = np.random.RandomState(seed)
    tensors = {}
    for name, shape in sorted(self.shapes.items()):
      tensors[name] = random.normal(0, scale, shape).astype(np.float32)
      if averages:
        average = random.normal(0, scale, shape).astype(np.float32)
        tensors[name + '/ExponentialMovingAverage'] = average
    return tensors

  def _save(self, step, changes=None, **options):
    """Writes a checkpoint of random weights, but for `changes`; returns its arrays by name."""
    tensors = dict(self._random_tensors(**options), **(changes or {}))
    with tf.Graph().as_default(), tf.Session() as session:
      for name, value in tensors.items():
        tf.get_variable(name, initializer=value)
      tf.get_variable('global_step', initializer=np.int64(step))
      session.run(tf.global_variables_initializer())
      saver = tf.train.Saver(max_to_keep=9)
      saver.recover_last_checkpoints(checkpoints.find_all(self.train_dir))
      saver.save(session, os.path.join(self.train_dir, 'model.ckpt'), step)
    return tensors

  def _save_telling(self, step, images, kinds):
    """As `_save`, with a last layer that tells each of `images` to be a given kind.

    Args:
      step: of the checkpoint.
      images: float [N, 24, 24, 3], fewer than the last layer has inputs.
      kinds: dict of suffixes of variables' names to int [N].
    """
    changes = {}
    for suffix, told in kinds.items():
      features = _numpy_features(images, self._random_tensors(), suffix)
      weights = np.linalg.lstsq(features, np.eye(10)[told], rcond=None)[0]
      changes['softmax_linear/weights' + suffix] = weights.astype(np.float32)
      changes['softmax_linear/biases' + suffix] = np.zeros(10, np.float32)
    return self._save(step, changes)

  def _options(self, **changes):
    return testing.defaults(cifar10, cifar10_eval, **dict(
        dict(data_dir=self.data_dir, checkpoint_dir=self.train_dir, eval_dir=self.eval_dir,
             run_once=True), **changes))

  def _evaluate(self, **changes):
    """Evaluates; returns what was printed."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
      cifar10_eval.evaluate(self._options(**changes))
    return out.getvalue()

  def _scores(self, out):
    """The (hits, total, step) of each line."""
    found = re.findall(r'precision @ 1 = [\d.]+ \((\d+)/(\d+)\) at step (\d+)', out)
    return [tuple(map(int, groups)) for groups in found]

  def _values(self):
    """All values of summaries in --eval_dir."""
    return [value for path in glob.glob(os.path.join(self.eval_dir, 'events.*'))
            for event in tf.train.summary_iterator(path) for value in event.summary.value]

  def _written(self):
    """The value by (step, tag) of all scalars of the network as a whole in --eval_dir."""
    return {(event.step, value.tag): value.simple_value
            for path in glob.glob(os.path.join(self.eval_dir, 'events.*'))
            for event in tf.train.summary_iterator(path) for value in event.summary.value
            if value.HasField('simple_value') and '/' not in value.tag}

  def testScoresEveryRecordOnceWhateverTheBatch(self):
    images, labels = _numpy_examples(cifar10_input.data_files(self.data_dir, True)[0])
    number = np.arange(TEST_EXAMPLES)
    # Which records are named right, so that the sum tells one left out or counted twice.
    right = {EMA: (number < 20) | (number >= 43), '': number % 3 == 0}
    tensors = self._save_telling(12, images, {
        suffix: np.where(mask, labels, (labels + 1 + number % 9) % 10)
        for suffix, mask in right.items()})
    for suffix, mask in right.items():
      told = _numpy_logits(images, tensors, suffix).argmax(axis=1)
      self.assertAllEqual(told == labels, mask)  # else what is expected below is wrong
    for batch_size in 1, 7, TEST_EXAMPLES, 128:
      out = self._evaluate(batch_size=batch_size)
      self.assertEqual(self._scores(out), [(37, TEST_EXAMPLES, 12)])
    self.assertRegex(out, r'^\d{4}-.*: precision @ 1 = 0\.617 \(37/60\) at step 12, '
                          r'mean loss = \d\.\d{3} \(sample data set\)\nwhat it is +accuracy ')
    out = self._evaluate(batch_size=7, weights='raw')
    self.assertEqual(self._scores(out), [(20, TEST_EXAMPLES, 12)])
    out = self._evaluate(batch_size=8, num_examples=23)
    self.assertEqual(self._scores(out), [(20, 23, 12)])

  def testRandomWeights(self):
    tensors = self._save(1)
    images, labels = _numpy_examples(cifar10_input.data_files(self.data_dir, True)[0])
    hits = {}
    for weights, suffix in ('ema', EMA), ('raw', ''):
      hits[weights] = np.sum(_numpy_logits(images, tensors, suffix).argmax(axis=1) == labels)
      self.assertEqual(self._scores(self._evaluate(weights=weights)),
                       [(hits[weights], TEST_EXAMPLES, 1)])
    self.assertNotEqual(hits['ema'], hits['raw'])  # else the choice of weights is not tested

  def testTrainingFiles(self):
    parts = [_numpy_examples(path) for path in cifar10_input.data_files(self.data_dir)]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    number = np.arange(50)
    right = (number < 20) | (number >= 43)
    self._save_telling(1, images, {EMA: np.where(right, labels, (labels + 1) % 10)})
    self.assertEqual(self._scores(self._evaluate(eval_data='train_eval')), [(27, 50, 1)])

  def testValidationIsWhatTrainingLeavesOut(self):
    parts = [_numpy_examples(path) for path in cifar10_input.data_files(self.data_dir)]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    number = np.arange(50) % 10  # in its file of 10
    right = (number == 1) | (number == 8)  # one in each part, so 5 of 40 and 5 of 10
    self._save_telling(1, images, {EMA: np.where(right, labels, (labels + 1) % 10)})
    for eval_data, expected in ('train_eval', (5, 40, 1)), ('validation', (5, 10, 1)):
      out = self._evaluate(eval_data=eval_data, validation_examples=10)
      self.assertEqual(self._scores(out), [expected])
    with self.assertRaisesRegex(Failure, 'Give the number that training was given'):
      self._evaluate(eval_data='validation')

  def testViewsAreAveragedAndLabelled(self):
    tensors = self._save(3, scale=0.05)
    path, = cifar10_input.data_files(self.data_dir, True)
    centres, labels = _numpy_examples(path)

    def hits(*views):
      logits = [_numpy_logits(view, tensors, EMA) for view in views]
      odds = [np.exp(each - each.max(axis=1, keepdims=True)) for each in logits]
      mean = sum(each / each.sum(axis=1, keepdims=True) for each in odds)
      return np.sum(mean.argmax(axis=1) == labels)

    one, two = hits(centres), hits(centres, centres[:, :, ::-1])
    self.assertNotEqual(one, two)  # else the views are not tested
    eval_dir = self.eval_dir
    for views, label, right in ('1', '', one), ('2', ' (2 views)', two):
      self.eval_dir = os.path.join(eval_dir, views)
      out = self._evaluate(batch_size=7, views=views)
      self.assertIn('precision @ 1%s = %.3f (%d/60)' % (label, right / 60, right), out)
      self.assertEqual(set(self._written()),
                       {(3, 'Precision @ 1' + label), (3, 'Mean loss' + label)})
      self.assertAllClose(self._written()[3, 'Precision @ 1' + label], right / 60)

  def testTellsMoreThanOneNumber(self):
    tensors = self._save(3, scale=0.05)
    images, labels = _numpy_examples(cifar10_input.data_files(self.data_dir, True)[0])
    logits = _numpy_logits(images, tensors, EMA)
    told = logits.argmax(axis=1)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    root = self.get_temp_dir()
    tables = {name: os.path.join(root, name + '.csv') for name in ('confusion', 'predictions')}
    out = self._evaluate(batch_size=7, **{name + '_csv': path for name, path in tables.items()})
    rows = {}
    for name, path in tables.items():
      with open(path, newline='') as file:
        rows[name] = list(csv.reader(file))[1:]
    names = list(sample.KINDS)
    self.assertEqual(rows['predictions'], [
        [str(i), names[labels[i]], names[told[i]], mock.ANY] for i in range(TEST_EXAMPLES)])
    self.assertAllClose([float(row[3]) for row in rows['predictions']], odds.max(axis=1), atol=1e-5)
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (labels, told), 1)
    self.assertAllEqual([[int(count) for count in row[1:]] for row in rows['confusion']], confusion)
    loss = -np.mean(np.log(odds[np.arange(TEST_EXAMPLES), labels]))
    self.assertIn('mean loss = %.3f' % loss, out)
    self.assertAllClose(self._written()[3, 'Mean loss'], loss)
    accuracy = confusion[9, 9] / confusion[9].sum()
    self.assertRegex(out, r'\nchecker +%.3f ' % accuracy)
    accuracies = {value.tag: value.simple_value for value in self._values()
                  if value.tag.startswith('Accuracy/')}
    self.assertAllClose(accuracies['Accuracy/checker'], accuracy)

  def testShowsTheHyperParametersOfTheRunItScores(self):
    self._save(3)
    checkpoints.write_status(self.train_dir, 'finished', run='my run', hparams={'rate': 0.5})
    self._evaluate()
    told, = [metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)
             for value in self._values() if value.tag == '_hparams_/session_start_info']
    self.assertEqual((told.group_name, told.hparams['rate'].number_value), ('my run', 0.5))

  def testTablesThatCannotBeWrittenAreAFailureBeforeAnyWork(self):
    self._save(3)
    with self.assertRaisesRegex(Failure, 'none/a.csv cannot be written: its directory'):
      self._evaluate(confusion_csv=os.path.join(self.get_temp_dir(), 'none/a.csv'))
    self.assertFalse(os.path.exists(self.eval_dir))

  def testTiesAreNoHits(self):
    self._save(1, scale=0)
    _, labels = _numpy_examples(cifar10_input.data_files(self.data_dir, True)[0])
    self.assertEqual(self._scores(self._evaluate()), [(np.sum(labels == 0), TEST_EXAMPLES, 1)])

  def testLogitsThatAreNoNumbersAreAnError(self):
    broken = np.full([10], np.nan, np.float32)
    self._save(1, {'softmax_linear/biases' + EMA: broken})
    with self.assertRaisesRegex(Failure, r'model\.ckpt-1 .*NaN or infinite for 60 of 60'):
      self._evaluate()
    self.assertEqual(self._written(), {})

  def testCheckpointWithoutAverages(self):
    self._save(3, averages=False)
    with self.assertRaisesRegex(Failure, 'conv1/biases/ExponentialMovingAverage.*--weights=raw'):
      self._evaluate()
    self.assertLen(self._scores(self._evaluate(weights='raw')), 1)

  def testNoCheckpoint(self):
    with self.assertRaisesRegex(Failure, 'No checkpoint in %s' % re.escape(self.train_dir)):
      self._evaluate()
    argv = ['program', '--run_once', '--data_dir', self.data_dir,
            '--checkpoint_dir', self.train_dir, '--eval_dir', self.eval_dir]
    with flagsaver.flagsaver(), mock.patch.object(sys, 'argv', argv), \
         self.assertRaises(SystemExit) as caught, \
         contextlib.redirect_stderr(io.StringIO()) as err, \
         contextlib.redirect_stdout(io.StringIO()):
      programs.run(cifar10_eval.main)
    self.assertEqual(caught.exception.code, 1)
    self.assertRegex(err.getvalue(), r'^Error: No checkpoint in .*train first.*\n$')

  def testEachCheckpointOnceThenEnds(self):
    for step in 5, 10, 20:
      self._save(step, seed=step)
    checkpoints.write_status(self.train_dir, 'finished')
    out = self._evaluate(run_once=False)
    self.assertEqual([step for _, _, step in self._scores(out)], [5, 10, 20])
    written = self._written()
    self.assertEqual(sorted(written), [(step, tag) for step in (5, 10, 20)
                                       for tag in ('Mean loss', 'Precision @ 1')])
    for hits, total, step in self._scores(out):
      self.assertAllClose(written[step, 'Precision @ 1'], hits / total)
    events, = glob.glob(os.path.join(self.eval_dir, 'events.*'))
    self.assertTrue(any(event.HasField('graph_def') for event in tf.train.summary_iterator(events)))

  def testLooksAgainForNewCheckpointsOnly(self):
    def end():
      self._save(12)  # as a trainer does: its last checkpoint just before it says so
      checkpoints.write_status(self.train_dir, 'finished')
    self._save(5)
    checkpoints.write_status(self.train_dir, 'training')
    waits = iter([lambda: None, lambda: self._save(9), lambda: None, end])
    with mock.patch.object(cifar10_eval, '_wait', lambda *_: next(waits)()):
      out = self._evaluate(run_once=False)
    self.assertEqual([step for _, _, step in self._scores(out)], [5, 9, 12])
    self.assertNotIn('Waiting', out)

  def testWaitsForATrainer(self):
    os.rmdir(self.train_dir)  # the trainer has not even begun
    def train():
      os.mkdir(self.train_dir)
      self._save(7)
      checkpoints.write_status(self.train_dir, 'training')
      self._save(8)
      checkpoints.write_status(self.train_dir, 'finished')
    trainer = threading.Timer(1.5, train)
    trainer.start()
    with mock.patch.object(cifar10_eval, 'LOOK_SECONDS', 0.05):
      out = self._evaluate(run_once=False, eval_interval_secs=1)
    trainer.join()
    self.assertIn('Waiting for a checkpoint in %s' % self.train_dir, out)
    self.assertEqual([step for _, _, step in self._scores(out)], [7, 8])

  def testTrainingThatFailedBeforeItsFirstCheckpoint(self):
    checkpoints.write_status(self.train_dir, 'failed')
    with self.assertRaisesRegex(Failure, 'ended without a checkpoint'):
      self._evaluate(run_once=False)

  def testTrainingThatFailedAfterACheckpoint(self):
    self._save(6)
    checkpoints.write_status(self.train_dir, 'failed')
    self.assertEqual([step for _, _, step in self._scores(self._evaluate(run_once=False))], [6])

  def testCheckpointThatVanishesIsSkipped(self):
    for step in 1, 2:
      self._save(step)
    checkpoints.write_status(self.train_dir, 'finished')
    found = checkpoints.find_all(self.train_dir)
    for path in glob.glob(found[0] + '.*'):
      os.remove(path)
    with mock.patch.object(checkpoints, 'find_all', return_value=found):
      out = self._evaluate(run_once=False)
    self.assertIn('model.ckpt-1 vanished', out)
    self.assertEqual([step for _, _, step in self._scores(out)], [2])

  def testTheOnlyLookAtACheckpointThatVanishesIsAFailure(self):
    self._save(1)
    found = checkpoints.find_latest(self.train_dir)
    for path in glob.glob(found + '.*'):
      os.remove(path)
    with mock.patch.object(checkpoints, 'find_latest', return_value=found):
      with self.assertRaisesRegex(Failure, r'model\.ckpt-1 vanished before it was scored'):
        self._evaluate()

  def testCheckpointThatVanishesAfterTheFirstLookIntoItIsSkipped(self):
    for step in 1, 2, 3:
      self._save(step)
    checkpoints.write_status(self.train_dir, 'finished')
    missing = checkpoints.missing
    def vanishing(path, variables):
      problems = missing(path, variables)
      doomed = {'-1': glob.glob(path + '.*'), '-2': glob.glob(path + '.data-*')}
      for name in doomed.get(path[-2:], []):
        os.remove(name)
      return problems
    with mock.patch.object(checkpoints, 'missing', vanishing):
      out = self._evaluate(run_once=False)
    self.assertIn('model.ckpt-1 vanished', out)
    self.assertIn('model.ckpt-2 vanished', out)
    self.assertEqual([step for _, _, step in self._scores(out)], [3])

  def testDamagedCheckpointIsNamed(self):
    self._save(4)
    with open(os.path.join(self.train_dir, 'model.ckpt-4.data-00000-of-00001'), 'r+b') as file:
      file.truncate(100)
    with self.assertRaisesRegex(Failure, r'model\.ckpt-4 cannot be scored'):
      self._evaluate()

  def testManyRoundsLeaveNothingBehind(self):
    self._save(1)
    evaluation = cifar10_eval.Evaluation(self._options())
    checkpoint = checkpoints.find_latest(self.train_dir)
    first = evaluation.scores(checkpoint)
    threads = threading.active_count()
    operations = len(evaluation.graph.get_operations())
    with _stderr() as lines:
      for _ in range(20):
        self.assertAllEqual(evaluation.scores(checkpoint).log_probabilities,
                            first.log_probabilities)
    self.assertEqual(lines, [])
    self.assertLessEqual(threading.active_count(), threads)
    self.assertLen(evaluation.graph.get_operations(), operations)


if __name__ == '__main__':
  tf.test.main()
