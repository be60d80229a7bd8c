"""Tests of evaluation, on a small drawn data set and checkpoints that the tests write."""
import contextlib
import glob
import io
import os
import re
import shutil
import sys
import tempfile
import threading
import types
from unittest import mock

import numpy as np
from absl import flags

import cifar10
import cifar10_app
import cifar10_checkpoint
import cifar10_eval
import cifar10_input
import cifar10_sample
from cifar10_app import Failure
from cifar10_tf import tf

TEST_EXAMPLES = 60


def _numpy_logits(images, tensors, suffix):
  """The network by its formulas, in float64.

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
  weights, biases = layer('softmax_linear')
  return x @ weights + biases


def _numpy_examples(path):
  """Returns the standardised centres and the labels of a file's records."""
  records = np.fromfile(path, np.uint8).reshape(-1, 3073)
  images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)[:, 4:28, 4:28] / 1.0
  mean, stddev = (f(images, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.std))
  return (images - mean) / np.maximum(stddev, 1728 ** -0.5), records[:, 0]


class EvalTest(tf.test.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.root = tempfile.mkdtemp()
    cls.data_dir = os.path.join(cls.root, 'data')
    cifar10_sample.make_sample(cls.data_dir, 50, TEST_EXAMPLES)
    with tf.Graph().as_default():
      tf.train.get_or_create_global_step()
      cifar10.inference(tf.placeholder(tf.float32, [None, 24, 24, 3]))
      cls.shapes = {v.op.name: v.shape.as_list() for v in tf.trainable_variables()}

  @classmethod
  def tearDownClass(cls):
    shutil.rmtree(cls.root)
    super().tearDownClass()

  def setUp(self):
    super().setUp()
    root = tempfile.mkdtemp(dir=self.root)
    self.train_dir, self.eval_dir = os.path.join(root, 'train'), os.path.join(root, 'eval')
    os.mkdir(self.train_dir)

  def _save(self, step, seed=0, scale=0.05, averages=True, **changes):
    """Writes a checkpoint of random weights; returns its arrays by name."""
    random = np.random.RandomState(seed)
    tensors = {}
    for name, shape in sorted(self.shapes.items()):
      tensors[name] = random.normal(0, scale, shape).astype(np.float32)
      if averages:
        average = random.normal(0, scale, shape).astype(np.float32)
        tensors[name + '/ExponentialMovingAverage'] = average
    tensors.update(changes)
    with tf.Graph().as_default(), tf.Session() as session:
      for name, value in tensors.items():
        tf.get_variable(name, initializer=value)
      tf.get_variable('global_step', initializer=np.int64(step))
      session.run(tf.global_variables_initializer())
      saver = tf.train.Saver(max_to_keep=9)
      saver.recover_last_checkpoints(cifar10_checkpoint.find_all(self.train_dir))
      saver.save(session, os.path.join(self.train_dir, 'model.ckpt'), step)
    return tensors

  def _options(self, **changes):
    names = {flag.name for module in (cifar10, cifar10_eval)
             for flag in flags.FLAGS.flags_by_module_dict()[module.__name__]}
    options = {name: flags.FLAGS[name].default for name in names}
    options.update(data_dir=self.data_dir, checkpoint_dir=self.train_dir, eval_dir=self.eval_dir,
                   run_once=True)
    return types.SimpleNamespace(**dict(options, **changes))

  def _evaluate(self, **changes):
    """Evaluates; returns what was printed."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
      cifar10_eval.evaluate(self._options(**changes))
    return out.getvalue()

  def _scores(self, out):
    """The (hits, total, step) of each line."""
    found = re.findall(r'precision @ 1 = [\d.]+ \((\d+)/(\d+)\) at step (\d+)', out)
    return [tuple(map(int, groups)) for groups in found]

  def testScoresEveryRecordOnceWhateverTheBatch(self):
    tensors = self._save(12)
    images, labels = _numpy_examples(cifar10_input.data_files(self.data_dir, True)[0])
    for weights, suffix in ('ema', '/ExponentialMovingAverage'), ('raw', ''):
      hits = np.sum(_numpy_logits(images, tensors, suffix).argmax(axis=1) == labels)
      for batch_size in 1, 7, 60, 128:
        out = self._evaluate(batch_size=batch_size, weights=weights)
        self.assertEqual(self._scores(out), [(hits, TEST_EXAMPLES, 12)])
    self.assertRegex(out, r'^\d{4}-.*: precision @ 1 = %.3f \(%d/60\) at step 12 '
                          r'\(sample data set\)\n$' % (hits / 60, hits))

  def testFirstRecordsOnly(self):
    tensors = self._save(1)
    images, labels = _numpy_examples(cifar10_input.data_files(self.data_dir, True)[0])
    logits = _numpy_logits(images[:23], tensors, '/ExponentialMovingAverage')
    hits = np.sum(logits.argmax(axis=1) == labels[:23])
    self.assertEqual(self._scores(self._evaluate(num_examples=23, batch_size=8)), [(hits, 23, 1)])

  def testTrainingFiles(self):
    tensors = self._save(1)
    parts = [_numpy_examples(path) for path in cifar10_input.data_files(self.data_dir)]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    logits = _numpy_logits(images, tensors, '/ExponentialMovingAverage')
    hits = np.sum(logits.argmax(axis=1) == labels)
    self.assertEqual(self._scores(self._evaluate(eval_data='train_eval')), [(hits, 50, 1)])

  def testTiesAreNoHits(self):
    self._save(1, scale=0)
    _, labels = _numpy_examples(cifar10_input.data_files(self.data_dir, True)[0])
    self.assertEqual(self._scores(self._evaluate()), [(np.sum(labels == 0), TEST_EXAMPLES, 1)])

  def testLogitsThatAreNoNumbersAreAnError(self):
    broken = np.full([10], np.nan, np.float32)
    self._save(1, **{'softmax_linear/biases/ExponentialMovingAverage': broken})
    with self.assertRaisesRegex(Failure, r'model\.ckpt-1 .*NaN or infinite for 60 of 60'):
      self._evaluate()

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
    with mock.patch.object(sys, 'argv', argv), self.assertRaises(SystemExit) as caught, \
         contextlib.redirect_stderr(io.StringIO()) as err, \
         contextlib.redirect_stdout(io.StringIO()):
      cifar10_app.run(cifar10_eval.main)
    self.assertEqual(caught.exception.code, 1)
    self.assertRegex(err.getvalue(), r'^Error: No checkpoint in .*train first.*\n$')

  def testEachCheckpointOnceThenEnds(self):
    for step in 5, 10, 20:
      self._save(step, seed=step)
    cifar10_checkpoint.write_status(self.train_dir, 'finished')
    out = self._evaluate(run_once=False)
    self.assertEqual([step for _, _, step in self._scores(out)], [5, 10, 20])
    written = {}
    for path in glob.glob(os.path.join(self.eval_dir, 'events.*')):
      for event in tf.train.summary_iterator(path):
        for value in event.summary.value:
          self.assertEqual(value.tag, 'Precision @ 1')
          written[event.step] = value.simple_value
    self.assertAllClose(written, {step: hits / total for hits, total, step in self._scores(out)})

  def testWaitsForATrainer(self):
    def train():
      self._save(7)
      cifar10_checkpoint.write_status(self.train_dir, 'training')
      self._save(8)
      cifar10_checkpoint.write_status(self.train_dir, 'finished')
    trainer = threading.Timer(1.5, train)
    trainer.start()
    with mock.patch.object(cifar10_eval, 'LOOK_SECONDS', 0.05):
      out = self._evaluate(run_once=False, eval_interval_secs=1)
    trainer.join()
    self.assertIn('Waiting for a checkpoint in %s' % self.train_dir, out)
    self.assertEqual([step for _, _, step in self._scores(out)], [7, 8])

  def testTrainingThatFailedBeforeItsFirstCheckpoint(self):
    cifar10_checkpoint.write_status(self.train_dir, 'failed')
    with self.assertRaisesRegex(Failure, 'ended without a checkpoint'):
      self._evaluate(run_once=False)

  def testCheckpointThatVanishesIsSkipped(self):
    for step in 1, 2:
      self._save(step)
    cifar10_checkpoint.write_status(self.train_dir, 'finished')
    found = cifar10_checkpoint.find_all(self.train_dir)
    for path in glob.glob(found[0] + '.*'):
      os.remove(path)
    with mock.patch.object(cifar10_checkpoint, 'find_all', return_value=found):
      out = self._evaluate(run_once=False)
    self.assertIn('model.ckpt-1 vanished', out)
    self.assertEqual([step for _, _, step in self._scores(out)], [2])

  def testDamagedCheckpointIsNamed(self):
    self._save(4)
    with open(os.path.join(self.train_dir, 'model.ckpt-4.data-00000-of-00001'), 'r+b') as file:
      file.truncate(100)
    with self.assertRaisesRegex(Failure, r'model\.ckpt-4 cannot be scored'):
      self._evaluate()

  def testManyRoundsLeaveNothingBehind(self):
    self._save(1)
    evaluation = cifar10_eval.Evaluation(self._options())
    checkpoint = cifar10_checkpoint.find_latest(self.train_dir)
    first = evaluation.precision(checkpoint)
    threads = threading.active_count()
    operations = len(evaluation.graph.get_operations())
    for _ in range(30):
      self.assertEqual(evaluation.precision(checkpoint), first)
    self.assertLessEqual(threading.active_count(), threads)
    self.assertLen(evaluation.graph.get_operations(), operations)


if __name__ == '__main__':
  tf.test.main()
