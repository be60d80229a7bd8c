r"""Scores checkpoints on the test file, each once, as training writes them.

  python cifar10_eval.py --data_dir cifar10_data/ --eval_dir cifar10_eval/ \
      --checkpoint_dir cifar10_train/

Run it beside cifar10_train.py, in a second terminal. It ends when training ends. Watch it with

  tensorboard --logdir cifar10_eval/ --port 6007
"""
import datetime
import functools
import os
import sys

from cifar10_lib.common import programs  # first: it handles signals while the rest loads

import numpy as np
from absl import flags

import cifar10
import cifar10_input
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import reason, tf
from cifar10_lib.dataset import augmentation, records, sample
from cifar10_lib.network import precision, probabilities
from cifar10_lib.reporting import report
from cifar10_lib.training import checkpoints, run, trainer_files

FLAGS = flags.FLAGS
flags.DEFINE_string('eval_dir', '/tmp/cifar10_eval', 'Directory of events, and of confusion.png '
                    'and mistakes.png, which show the latest scored checkpoint.')
flags.DEFINE_enum('eval_data', 'test', ['test', 'train_eval', 'validation'],
                  'Score on the test file, on the training files, or on the part of these that '
                  '--validation_examples holds out.')
flags.DEFINE_enum('views', '1', [str(count) for count in augmentation.VIEWS],
                  'Views of each picture whose probabilities are averaged: 1, the centre; 2, and '
                  'its mirror image; 10, four corners and the centre, mirrored too; 18, a grid of '
                  '3x3, mirrored too.')
flags.DEFINE_string('checkpoint_dir', '/tmp/cifar10_train', 'Directory of checkpoints.')
flags.DEFINE_integer('eval_interval_secs', 300, 'Seconds between two searches for new checkpoints.',
                     lower_bound=1, upper_bound=10**6)
flags.DEFINE_integer('num_examples', 10000,
                     'Records to score, from the start of the files; at most all.', lower_bound=1,
                     upper_bound=10**9)
flags.DEFINE_boolean('run_once', False, 'Score the latest checkpoint and end.')
flags.DEFINE_enum('weights', 'ema', checkpoints.WEIGHTS,
                  'Take the moving averages of the variables, or their values at the step.')
flags.DEFINE_string('confusion_csv', None, 'File for the confusion matrix of the latest scored '
                    'checkpoint.')
flags.DEFINE_string('predictions_csv', None, 'File for the predictions of the latest scored '
                    'checkpoint: index, label, prediction, probability.')
flags.DEFINE_string('mistakes_png', None, 'Another file for the drawing of mistakes that '
                    '--eval_dir holds.')
flags.adopt_module_key_flags(cifar10)
# `options` below are the parsed flags, or anything with their names as attributes.


class Evaluation:
  """The graph that scores, built once for all checkpoints."""

  def __init__(self, options):
    """Builds the input, the network and its probabilities."""
    test, views = options.eval_data == 'test', int(options.views)
    self.label = ' (%d views)' % views if views > 1 else ''  # marks a figure of several views
    paths = records.data_files(options.data_dir, test)
    training, validation = records.hold_out(paths, 0 if test else options.validation_examples)
    part = validation if options.eval_data == 'validation' else training
    self.num_examples = min(options.num_examples, records.total_records(paths, part))
    self.names, self._data_dir = cifar10_input.class_names(options.data_dir), options.data_dir
    self.pictures = functools.partial(records.read_pictures, paths, part)
    with tf.Graph().as_default() as self.graph:
      self._step = tf.train.get_or_create_global_step()
      images, self._labels = cifar10_input.inputs(
          test, options.data_dir, options.batch_size, num_epochs=1, part=part, views=views)
      logits = cifar10.inference(images, num_classes=len(self.names))  # [views * B, K]
      self._log_probabilities = probabilities.log_probabilities(logits, views)
      self._variables = checkpoints.saved_variables(options.weights)
      self._scaffold = tf.train.Scaffold(saver=tf.train.Saver(self._variables))
      self._scaffold.finalize()  # adds all ops that a session needs, so the graph never grows

  def scores(self, checkpoint):
    """Scores a checkpoint, a path without '.index', on `num_examples` records, each once.

    Returns:
      report.Scores, in the order of the records.

    Raises:
      Failure: the checkpoint has learned other classes than those of the data, does not fit the
        network, or gives logits that are NaN or infinite.
      tf.errors.OpError: it cannot be read.
    """
    trainer_files.require_same_classes(
        checkpoint, self.names, self._data_dir, '--checkpoint_dir')
    checkpoints.require_fit(checkpoint, self._variables)
    batches = []
    with self.graph.as_default():
      creator = tf.train.ChiefSessionCreator(
          self._scaffold, config=precision.session_config(),
          checkpoint_filename_with_path=checkpoint)
      with tf.train.MonitoredSession(creator) as session:
        step = session.run(self._step)
        while sum(len(labels) for labels, _ in batches) < self.num_examples:
          batches.append(session.run([self._labels, self._log_probabilities]))
    labels, log_probabilities = (
        np.concatenate(parts)[:self.num_examples] for parts in zip(*batches, strict=True))
    checkpoints.require_finite(checkpoint, log_probabilities)
    return report.Scores(int(step), labels, log_probabilities)


def score(evaluation, checkpoint, writer, options, note=''):
  """Scores one checkpoint, prints a line that ends with `note`, and writes what it has found.

  `checkpoint` is a path without '.index', `writer` a tf.summary.FileWriter. Returns report.Scores;
  None if the checkpoint is damaged, or has vanished: a trainer keeps only the latest few.
  """
  problem = checkpoints.damage(checkpoint)
  if problem and checkpoints.exists(checkpoint):
    print('%s cannot be scored: it is damaged (%s).' % (checkpoint, problem), file=sys.stderr)
    return None
  try:
    scores = evaluation.scores(checkpoint)
  except (tf.errors.OpError, ValueError) as error:  # ValueError: the saver found no files
    if checkpoints.exists(checkpoint):
      if isinstance(error, ValueError):
        raise
      raise Failure('%s cannot be scored: %s' % (checkpoint, reason(error))) from error
    print('%s: %s vanished while it was read; going on.' % (datetime.datetime.now(), checkpoint))
    return None
  correct, total = scores.right.sum(), evaluation.num_examples
  names, label = evaluation.names, evaluation.label
  print('%s: precision @ 1%s = %.3f (%d/%d) at step %d, mean loss = %.3f%s'
        % (datetime.datetime.now(), label, correct / total, correct, total, scores.step,
           scores.loss, note), flush=True)
  drawn = report.draw(scores, names, evaluation.pictures)
  writer.add_summary(report.summary(scores, names, drawn, label), scores.step)
  status = trainer_files.read_status(os.path.dirname(checkpoint))
  report.add_hyper_parameters(writer, status, scores.step, label)  # one row with the precision
  writer.flush()
  report.write_drawings(options.eval_dir, drawn)
  if options.confusion_csv:
    report.write_confusion(options.confusion_csv, scores, names)
  if options.predictions_csv:
    report.write_predictions(options.predictions_csv, scores, names)
  if options.mistakes_png:
    report.write_mistakes(options.mistakes_png, drawn)
  return scores


def evaluate(options=FLAGS):
  """Scores the latest checkpoint, or all as they appear.

  Raises Failure if a checkpoint, the data set or a CSV file cannot be used.
  """
  options = programs.parsed(options)
  run_once = options.run_once or checkpoints.exists(options.checkpoint_dir)  # it names one
  checkpoint = checkpoints.latest(options.checkpoint_dir) if run_once else None
  if options.eval_data == 'validation' and not options.validation_examples:
    raise Failure('--eval_data=validation scores what --validation_examples holds out of the '
                  'training files. Give the number that training was given.')
  directory = records.find_directory(options.data_dir)
  note = ' (sample data set)' if sample.is_sample(directory) else ''
  report.require_writable(options.confusion_csv, options.predictions_csv, options.mistakes_png)
  evaluation = Evaluation(options)
  with run.failures('Evaluation in %s' % options.eval_dir), \
       tf.summary.FileWriter(options.eval_dir, evaluation.graph) as writer:
    if run_once:
      scores = score(evaluation, checkpoint, writer, options, note)
      if not scores:
        raise Failure('%s vanished before it was scored. Run again for the latest one.'
                      % checkpoint)
    else:
      scores = None
      for path in trainer_files.new_checkpoints(options.checkpoint_dir, options.eval_interval_secs):
        scores = score(evaluation, path, writer, options, note) or scores
      if not scores:
        raise Failure('No checkpoint in %s could be scored.' % options.checkpoint_dir)
      print('Training has ended, and its last checkpoint is scored.')
  print(report.table(scores, evaluation.names))


def main(argv):
  del argv
  cifar10.maybe_download_and_extract()
  evaluate(FLAGS)


if __name__ == '__main__':
  programs.run(main)
