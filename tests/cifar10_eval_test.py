"""Tests of evaluation, on a sample data set and checkpoints that the tests write."""
import contextlib
import csv
import errno
import glob
import io
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import threading
from unittest import mock

import numpy as np
from absl.testing import flagsaver
from tensorboard.plugins.hparams import metadata

import cifar10_eval
from cifar10_lib.common import programs
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records, sample
from cifar10_lib.reporting import report
from cifar10_lib.training import checkpoints, trainer_files
from tests import evaluating
from tests.evaluating import EMA, TEST_EXAMPLES, numpy_examples, numpy_logits


@contextlib.contextmanager
def _stderr():
  """Yields a list; at the end it holds the lines written to file descriptor 2, also by C++ code."""
  sys.stderr.flush()
  original, lines = os.dup(2), []
  with tempfile.TemporaryFile() as captured:
    os.dup2(captured.fileno(), 2)
    try:
      yield lines
    finally:
      sys.stderr.flush()
      os.dup2(original, 2)
      os.close(original)
      captured.seek(0)
      lines += captured.readlines()


class EvalTest(evaluating.EvalTestCase):

  def testEveryBatchSizeScoresEachRecordOnce(self):
    images, labels = numpy_examples(records.data_files(self.data_dir, True)[0])
    number = np.arange(TEST_EXAMPLES)
    # Records to predict correctly. A skipped or repeated record changes the number of hits.
    right = {EMA: (number < 20) | (number >= 43), '': number % 3 == 0}
    tensors = self.save_predicting(12, images, {
        suffix: np.where(mask, labels, (labels + 1 + number % 9) % 10)
        for suffix, mask in right.items()})
    for suffix, mask in right.items():
      predicted = numpy_logits(images, tensors, suffix).argmax(axis=1)
      self.assertAllEqual(predicted == labels, mask)  # else the expected hits are wrong
    for batch_size in 1, 7, TEST_EXAMPLES, 128:
      out = self.evaluate(batch_size=batch_size)
      self.assertEqual(self.scores(out), [(37, TEST_EXAMPLES, 12)])
    self.assertRegex(out, r'^\d{4}-.*: precision @ 1 = 0\.617 \(37/60\) at step 12, '
                          r'mean loss = \d\.\d{3} \(sample data set\)\ntrue class +accuracy ')
    out = self.evaluate(batch_size=7, weights='raw')
    self.assertEqual(self.scores(out), [(20, TEST_EXAMPLES, 12)])
    out = self.evaluate(batch_size=8, num_examples=23)
    self.assertEqual(self.scores(out), [(20, 23, 12)])

  def testRandomWeightsScoreAsInNumpy(self):
    tensors = self.save(1)
    images, labels = numpy_examples(records.data_files(self.data_dir, True)[0])
    hits = {}
    for weights, suffix in ('ema', EMA), ('raw', ''):
      hits[weights] = np.sum(numpy_logits(images, tensors, suffix).argmax(axis=1) == labels)
      self.assertEqual(self.scores(self.evaluate(weights=weights)),
                       [(hits[weights], TEST_EXAMPLES, 1)])
    self.assertNotEqual(hits['ema'], hits['raw'])  # else the choice of weights is not tested

  def testTrainEvalScoresTheTrainingFiles(self):
    parts = [numpy_examples(path) for path in records.data_files(self.data_dir)]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    number = np.arange(50)
    right = (number < 20) | (number >= 43)
    self.save_predicting(1, images, {EMA: np.where(right, labels, (labels + 1) % 10)})
    self.assertEqual(self.scores(self.evaluate(eval_data='train_eval')), [(27, 50, 1)])

  def testValidationScoresTheHeldOutPictures(self):
    parts = [numpy_examples(path) for path in records.data_files(self.data_dir)]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    number = np.arange(50) % 10  # within a file of 10 records
    right = (number == 1) | (number == 8)  # one in each part of a file, so 5 of 40 and 5 of 10
    self.save_predicting(1, images, {EMA: np.where(right, labels, (labels + 1) % 10)})
    for eval_data, expected in ('train_eval', (5, 40, 1)), ('validation', (5, 10, 1)):
      out = self.evaluate(eval_data=eval_data, validation_examples=10)
      self.assertEqual(self.scores(out), [expected])
    with self.assertRaisesRegex(Failure, 'Give the number that training was given'):
      self.evaluate(eval_data='validation')

  def testViewsAreAveragedAndLabelled(self):
    tensors = self.save(3, scale=0.05)
    path, = records.data_files(self.data_dir, True)
    centres, labels = numpy_examples(path)

    def hits(*views):
      logits = [numpy_logits(view, tensors, EMA) for view in views]
      powers = [np.exp(x - x.max(axis=1, keepdims=True)) for x in logits]
      mean = sum(x / x.sum(axis=1, keepdims=True) for x in powers)
      return np.sum(mean.argmax(axis=1) == labels)

    one, two = hits(centres), hits(centres, centres[:, :, ::-1])
    self.assertNotEqual(one, two)  # else the views are not tested
    eval_dir = self.eval_dir
    for views, label, right in ('1', '', one), ('2', ' (2 views)', two):
      self.eval_dir = os.path.join(eval_dir, views)
      out = self.evaluate(batch_size=7, views=views)
      self.assertIn('precision @ 1%s = %.3f (%d/60)' % (label, right / 60, right), out)
      self.assertEqual(set(self.written()),
                       {(3, 'Precision @ 1' + label), (3, 'Mean loss' + label)})
      self.assertAllClose(self.written()[3, 'Precision @ 1' + label], right / 60)

  def testTablesLossAndClassAccuraciesMatchNumpy(self):
    tensors = self.save(3, scale=0.05)
    images, labels = numpy_examples(records.data_files(self.data_dir, True)[0])
    logits = numpy_logits(images, tensors, EMA)
    predicted = logits.argmax(axis=1)
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    root = self.get_temp_dir()
    tables = {name: os.path.join(root, name + '.csv') for name in ('confusion', 'predictions')}
    out = self.evaluate(batch_size=7, **{name + '_csv': path for name, path in tables.items()})
    rows = {}
    for name, path in tables.items():
      with open(path, newline='') as file:
        rows[name] = list(csv.reader(file))[1:]
    names = list(sample.KINDS)
    self.assertEqual(rows['predictions'], [
        [str(i), names[labels[i]], names[predicted[i]], mock.ANY] for i in range(TEST_EXAMPLES)])
    self.assertAllClose([float(row[3]) for row in rows['predictions']], probabilities.max(axis=1),
                        atol=1e-5)
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (labels, predicted), 1)
    self.assertAllEqual([[int(count) for count in row[1:]] for row in rows['confusion']], confusion)
    loss = -np.mean(np.log(probabilities[np.arange(TEST_EXAMPLES), labels]))
    self.assertIn('mean loss = %.3f' % loss, out)
    self.assertAllClose(self.written()[3, 'Mean loss'], loss)
    accuracy = confusion[9, 9] / confusion[9].sum()
    self.assertRegex(out, r'\nchecker +%.3f ' % accuracy)
    accuracies = {value.tag: value.simple_value for value in self.values()
                  if value.tag.startswith('accuracy of one class/')}
    self.assertAllClose(accuracies['accuracy of one class/checker'], accuracy)

  def testDrawingsOfTheLatestCheckpointAreFiles(self):
    for step in 3, 4:
      self.save(step, seed=step)
      self.evaluate()
      self.assertCountEqual([name for name in os.listdir(self.eval_dir) if 'events' not in name],
                            ['confusion.png', 'mistakes.png'])
      shown = {value.tag: value.image.encoded_image_string
               for path in glob.glob(os.path.join(self.eval_dir, 'events.*'))
               for event in tf.train.summary_iterator(path) if event.step == step
               for value in event.summary.value}
      for tag, name in ('Confusion matrix', 'confusion.png'), ('Worst mistakes', 'mistakes.png'):
        with open(os.path.join(self.eval_dir, name), 'rb') as file:
          self.assertEqual(file.read(), shown[tag])
    with mock.patch.object(report, 'write_drawings', side_effect=OSError(errno.ENOSPC, 'full')), \
         self.assertRaisesRegex(Failure, 'Evaluation in .* failed: no space left on device. Free'):
      self.evaluate()

  def testHyperParametersOfTheRunAreShown(self):
    self.save(3)
    trainer_files.write_status(self.train_dir, 'finished', run='my run', hparams={'rate': 0.5})
    self.evaluate()
    start, = [metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)
              for value in self.values() if value.tag == '_hparams_/session_start_info']
    self.assertEqual((start.group_name, start.hparams['rate'].number_value), ('my run', 0.5))

  def testUnwritableTableFailsBeforeAnyWork(self):
    self.save(3)
    with self.assertRaisesRegex(Failure, 'none/a.csv cannot be written: its directory'):
      self.evaluate(confusion_csv=os.path.join(self.get_temp_dir(), 'none/a.csv'))
    self.assertFalse(os.path.exists(self.eval_dir))

  def testTiesGoToTheFirstClass(self):
    self.save(1, scale=0)
    _, labels = numpy_examples(records.data_files(self.data_dir, True)[0])
    self.assertEqual(self.scores(self.evaluate()), [(np.sum(labels == 0), TEST_EXAMPLES, 1)])

  def testNonFiniteLogitsFail(self):
    broken = np.full([192, 10], 3e38, np.float32)  # finite, but the logits are not
    self.save(1, {'softmax_linear/weights' + EMA: broken})
    with self.assertRaisesRegex(Failure, r'model\.ckpt-1 .*NaN or infinite for 60 of 60'):
      self.evaluate()
    self.assertEqual(self.written(), {})

  def testCheckpointWithoutAveragesNeedsRawWeights(self):
    self.save(3, averages=False)
    with self.assertRaisesRegex(Failure, 'conv1/biases/ExponentialMovingAverage.*--weights=raw'):
      self.evaluate()
    self.assertLen(self.scores(self.evaluate(weights='raw')), 1)

  def testCheckpointOfAnotherNetworkIsRefused(self):
    for weights in 'ema', 'raw':
      for averages in True, False:
        changes = {'local4/biases' + suffix: np.zeros(100, np.float32)
                   for suffix in (['', EMA] if averages else [''])}
        self.save(3, changes, averages=averages)
        with self.subTest(weights=weights, averages=averages), \
             self.assertRaisesRegex(Failure, 'does not fit this network: .*network was changed '
                                    r'since.*image size, classes or layers\)\. Choose another '
                                    '--checkpoint_dir, or undo') as caught:
          self.evaluate(weights=weights)
        self.assertNotIn('--weights=raw', str(caught.exception))

  def testEvaluateRunsFirstInANotebook(self):
    self.save(3)
    script = textwrap.dedent('''
        import sys
        data_dir, checkpoint_dir, eval_dir = sys.argv[1:]
        sys.argv = ['ipykernel_launcher.py', '-f', 'kernel.json']
        import cifar10_eval
        FLAGS = cifar10_eval.FLAGS
        FLAGS.data_dir, FLAGS.checkpoint_dir, FLAGS.eval_dir = data_dir, checkpoint_dir, eval_dir
        FLAGS.run_once = True
        cifar10_eval.evaluate()
    ''')
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run(
        [sys.executable, '-c', script, self.data_dir, self.train_dir, self.eval_dir],
        capture_output=True, text=True, timeout=100, cwd=root, check=False)
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertEqual(self.scores(done.stdout), self.scores(self.evaluate()))

  def testMissingCheckpointFails(self):
    with self.assertRaisesRegex(Failure, 'No checkpoint in %s' % re.escape(self.train_dir)):
      self.evaluate()
    argv = ['program', '--run_once', '--data_dir', self.data_dir,
            '--checkpoint_dir', self.train_dir, '--eval_dir', self.eval_dir]
    with flagsaver.flagsaver(), mock.patch.object(sys, 'argv', argv), \
         self.assertRaises(SystemExit) as caught, \
         contextlib.redirect_stderr(io.StringIO()) as err, \
         contextlib.redirect_stdout(io.StringIO()):
      programs.run(cifar10_eval.main)
    self.assertEqual(caught.exception.code, 1)
    self.assertRegex(err.getvalue(), r'^Error: No checkpoint in .*train first.*\n$')

  def testDamagedCheckpointIsNamed(self):
    self.save(4)
    with open(os.path.join(self.train_dir, 'model.ckpt-4.data-00000-of-00001'), 'r+b') as file:
      file.truncate(100)
    with self.assertRaisesRegex(Failure, r'is sound: .*model\.ckpt-4 is damaged \(.+\)\. Choose'):
      self.evaluate()

  def testRepeatedEvaluationsAddNoThreadsOrOps(self):
    self.save(1)
    evaluation = cifar10_eval.Evaluation(self.options())
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
