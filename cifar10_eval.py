"""Scores checkpoints on the test file, each once, as training writes them.

  python cifar10_eval.py --data_dir cifar10_data/ --eval_dir cifar10_eval/ \
      --checkpoint_dir cifar10_train/

Run it beside cifar10_train.py, in a second terminal. It ends when training ends. Watch it with

  tensorboard --logdir cifar10_eval/ --port 6007
"""
import datetime
import functools
import os

import numpy as np
from absl import flags

import cifar10
import cifar10_input
from cifar10_lib.common import programs
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import reason, tf
from cifar10_lib.dataset import augmentation, records, sample
from cifar10_lib.network import precision, predictions
from cifar10_lib.reporting import report
from cifar10_lib.training import checkpoints, restoring, watching

FLAGS = flags.FLAGS
flags.DEFINE_string('eval_dir', '/tmp/cifar10_eval', 'Directory of events.')
flags.DEFINE_enum('eval_data', 'test', ['test', 'train_eval', 'validation'],
                  'Score on the test file, on the training files, or on the part of these that '
                  '--validation_examples holds out.')
flags.DEFINE_enum('views', '1', [str(count) for count in augmentation.VIEWS],
                  'Views of each picture whose probabilities are averaged: 1, the centre; 2, and '
                  'its mirror image; 10, four corners and the centre, mirrored too; 18, a grid of '
                  '3x3, mirrored too.')
flags.DEFINE_string('checkpoint_dir', '/tmp/cifar10_train', 'Directory of checkpoints.')
flags.DEFINE_integer('eval_interval_secs', 300, 'Seconds between two searches for new checkpoints.',
                     lower_bound=1)
flags.DEFINE_integer('num_examples', 10000, 'Records to score: the first of the file, at most all.',
                     lower_bound=1)
flags.DEFINE_boolean('run_once', False, 'Score the latest checkpoint and end.')
flags.DEFINE_enum('weights', 'ema', checkpoints.WEIGHTS,
                  'Take the moving averages of the variables, or their values at the step.')
flags.DEFINE_string('confusion_csv', None, 'File for the confusion matrix of the latest scored '
                    'checkpoint.')
flags.DEFINE_string('predictions_csv', None, 'File for the predictions of the latest scored '
                    'checkpoint: index, label, prediction, probability.')
flags.adopt_module_key_flags(cifar10)


class Evaluation:
  """The graph that scores, built once for all checkpoints."""

  def __init__(self, options):
    """Builds the input, the network and its probabilities; takes the parsed flags."""
    test, self._views = options.eval_data == 'test', int(options.views)
    paths = records.data_files(options.data_dir, test)
    training, validation = records.hold_out(paths, 0 if test else options.validation_examples)
    part = validation if options.eval_data == 'validation' else training
    self.num_examples = min(options.num_examples, records.total_records(paths, part))
    self.names = cifar10_input.class_names(options.data_dir)
    self.pictures = functools.partial(records.read_pictures, paths, part)
    with tf.Graph().as_default() as self.graph:
      self._step = tf.train.get_or_create_global_step()
      images, self._labels = cifar10_input.inputs(
          test, options.data_dir, options.batch_size, num_epochs=1, part=part, views=self._views)
      logits = cifar10.inference(images)  # [views * B, NUM_CLASSES]
      self._log_probabilities = predictions.log_probabilities(logits, self._views)
      self._variables = checkpoints.saved_variables(options.weights)
      self._scaffold = tf.train.Scaffold(saver=tf.train.Saver(self._variables))
      self._scaffold.finalize()  # adds all ops that a session needs, so the graph never grows

  @property
  def label(self):
    """What marks a figure of several views, such as ' (18 views)'; '' for one view."""
    return ' (%d views)' % self._views if self._views > 1 else ''

  def scores(self, checkpoint):
    """Scores one checkpoint on exactly `num_examples` records, each once.

    Args:
      checkpoint: path without '.index'.

    Returns:
      report.Scores, in the order of the records.

    Raises:
      Failure: the checkpoint does not fit the network, or gives logits that are NaN or infinite.
      tf.errors.OpError: it cannot be read.
    """
    restoring.require_fit(checkpoint, self._variables)
    labels, found = [], []
    with self.graph.as_default():
      creator = tf.train.ChiefSessionCreator(
          self._scaffold, config=precision.session_config(),
          checkpoint_filename_with_path=checkpoint)
      with tf.train.MonitoredSession(creator) as session:
        step = session.run(self._step)
        while sum(map(len, labels)) < self.num_examples:
          batch = session.run([self._labels, self._log_probabilities])
          labels.append(batch[0])
          found.append(batch[1])
    labels, found = (np.concatenate(parts)[:self.num_examples] for parts in (labels, found))
    restoring.require_finite(checkpoint, found)
    return report.Scores(int(step), labels, found)


def score(evaluation, checkpoint, writer, options, note=''):
  """Scores one checkpoint, prints a line, and writes events and CSV files.

  Args:
    evaluation: an Evaluation.
    checkpoint: path without '.index'.
    writer: a tf.summary.FileWriter.
    options: the parsed flags, or anything with their names as attributes.
    note: text for the end of the line.

  Returns:
    report.Scores; None if the checkpoint has vanished: a trainer keeps only the latest few.
  """
  try:
    scores = evaluation.scores(checkpoint)
  except (tf.errors.OpError, ValueError) as error:  # ValueError: the saver found no files
    if checkpoints.exists(checkpoint):
      if isinstance(error, ValueError):
        raise
      raise Failure('%s cannot be scored: %s' % (checkpoint, reason(error))) from error
    print('%s: %s vanished while it was read; going on.' % (datetime.datetime.now(), checkpoint))
    return None
  hits, total, label = scores.right.sum(), evaluation.num_examples, evaluation.label
  print('%s: precision @ 1%s = %.3f (%d/%d) at step %d, mean loss = %.3f%s'
        % (datetime.datetime.now(), label, hits / total, hits, total, scores.step, scores.loss,
           note), flush=True)
  names = evaluation.names
  writer.add_summary(report.summary(scores, names, evaluation.pictures, label), scores.step)
  status = checkpoints.read_status(os.path.dirname(checkpoint))
  report.add_hyper_parameters(writer, status, scores.step, label)  # one row with the precision
  writer.flush()
  if options.confusion_csv:
    report.write_confusion(options.confusion_csv, scores, names)
  if options.predictions_csv:
    report.write_predictions(options.predictions_csv, scores, names)
  return scores


def evaluate(options=FLAGS):
  """Scores the latest checkpoint, or all as they appear.

  Args:
    options: the parsed flags, or anything with their names as attributes.

  Raises:
    Failure: a checkpoint, the data set or a CSV file cannot be used; the text says why.
  """
  options = programs.parsed(options)
  checkpoint = restoring.latest(options.checkpoint_dir) if options.run_once else None
  if options.eval_data == 'validation' and not options.validation_examples:
    raise Failure('--eval_data=validation scores what --validation_examples holds out of the '
                  'training files. Give the number that training was given.')
  is_sample = sample.is_sample(records.find_directory(options.data_dir))
  note = ' (sample data set)' if is_sample else ''
  report.require_writable(options.confusion_csv, options.predictions_csv)
  evaluation = Evaluation(options)
  with tf.summary.FileWriter(options.eval_dir, evaluation.graph) as writer:
    if options.run_once:
      scores = score(evaluation, checkpoint, writer, options, note)
      if not scores:
        raise Failure('%s vanished before it was scored. Run again for the latest one.'
                      % checkpoint)
    else:
      scores = None
      for path in watching.new_checkpoints(options.checkpoint_dir, options.eval_interval_secs):
        scores = score(evaluation, path, writer, options, note) or scores
      print('Training has ended, and its last checkpoint is scored.')
  if scores:
    print(report.table(scores, evaluation.names))


def main(argv):
  del argv
  cifar10.maybe_download_and_extract()
  evaluate(FLAGS)


if __name__ == '__main__':
  programs.run(main)
