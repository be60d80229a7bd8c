"""Scores checkpoints on the test file, each once, as training writes them.

  python cifar10_eval.py --data_dir cifar10_data/ --eval_dir cifar10_eval/ \
      --checkpoint_dir cifar10_train/

Run it beside cifar10_train.py, in a second terminal; it ends when training has. Watch it with

  tensorboard --logdir cifar10_eval/ --port 6007
"""
import datetime
import functools
import os
import time

import numpy as np
from absl import flags

import cifar10
from cifar10_lib.common import programs
from cifar10_lib.dataset import augmentation
from cifar10_lib.training import checkpoints
import cifar10_input
from cifar10_lib.reporting import report
from cifar10_lib.dataset import sample
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import reason, tf

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
flags.DEFINE_integer('eval_interval_secs', 300, 'Seconds from one look for checkpoints to the '
                     'next.', lower_bound=1)
flags.DEFINE_integer('num_examples', 10000, 'Records to score: the first of the file, at most all.',
                     lower_bound=1)
flags.DEFINE_boolean('run_once', False, 'Score the latest checkpoint and end.')
flags.DEFINE_enum('weights', 'ema', cifar10.WEIGHTS,
                  'Take the moving averages of the variables, or their values at the step.')
flags.DEFINE_string('confusion_csv', None, 'Write here which classes were taken for which: a table '
                    'for the latest checkpoint that is scored.')
flags.DEFINE_string('predictions_csv', None, 'Write here what each record was taken for by it: '
                    'index, label, prediction, probability.')
flags.adopt_module_key_flags(cifar10)

# What to do where a checkpoint does not fit, by --weights.
HINTS = {'ema': '--weights=raw does without averages.', 'raw': 'Choose another --checkpoint_dir.'}
LOOK_SECONDS = 1  # how often to see whether training has finished, while waiting


def require_finite(checkpoint, log_probabilities):
  """Raises Failure if what a checkpoint says of records, float32 [N, NUM_CLASSES], is no number."""
  finite = np.isfinite(log_probabilities).all(axis=1)
  if not finite.all():
    raise Failure('%s gives logits that are NaN or infinite for %d of %d records; training '
                  'diverged before it. Score an earlier one.'
                  % (checkpoint, np.sum(~finite), len(finite)))


class Evaluation:
  """The graph that scores, built once for all checkpoints."""

  def __init__(self, options):
    """Builds input, network and what it says of a batch; takes the parsed flags."""
    test, self._views = options.eval_data == 'test', int(options.views)
    paths = cifar10_input.data_files(options.data_dir, test)
    training, validation = cifar10_input.hold_out(paths, 0 if test else options.validation_examples)
    skip = validation if options.eval_data == 'validation' else training
    self.num_examples = min(options.num_examples, cifar10_input.total_records(paths, skip))
    self.names = cifar10_input.class_names(options.data_dir)
    self.pictures = functools.partial(cifar10_input.read_pictures, paths, skip)
    with tf.Graph().as_default() as self.graph:
      self._step = tf.train.get_or_create_global_step()
      images, self._labels = cifar10_input.inputs(
          test, options.data_dir, options.batch_size, num_epochs=1, skip=skip, views=self._views)
      self._log_probabilities = cifar10.log_probabilities(images, self._views)  # [B, NUM_CLASSES]
      self.variables = cifar10.saved_variables(options.weights)
      self._hint = HINTS[options.weights]
      self._scaffold = tf.train.Scaffold(saver=tf.train.Saver(self.variables))
      self._scaffold.finalize()  # all ops that a session needs, so that the graph never grows

  @property
  def label(self):
    """What a figure of more than one view is marked with, as in ' (18 views)'."""
    return ' (%d views)' % self._views if self._views > 1 else ''

  def scores(self, checkpoint):
    """Scores one checkpoint on exactly `num_examples` records, each once.

    Args:
      checkpoint: path without '.index'.

    Returns:
      report.Scores, in the order of the records.

    Raises:
      Failure: it does not fit the network, or gives logits that are no numbers.
      tf.errors.OpError: it cannot be read.
    """
    checkpoints.require_fit(checkpoint, self.variables, self._hint)
    labels, told = [], []
    with self.graph.as_default():
      creator = tf.train.ChiefSessionCreator(
          self._scaffold, config=cifar10.session_config(), checkpoint_filename_with_path=checkpoint)
      with tf.train.MonitoredSession(creator) as session:
        step = session.run(self._step)
        while sum(map(len, labels)) < self.num_examples:
          batch = session.run([self._labels, self._log_probabilities])
          labels.append(batch[0])
          told.append(batch[1])
    labels, told = (np.concatenate(parts)[:self.num_examples] for parts in (labels, told))
    require_finite(checkpoint, told)
    return report.Scores(int(step), labels, told)


def latest(directory):
  """Returns the path of the latest checkpoint in a directory; raises Failure if there is none."""
  found = checkpoints.find_latest(directory)
  if not found:
    raise Failure('No checkpoint in %s; train first: python cifar10_train.py --train_dir %s'
                  % (directory, directory))
  return found


def score(evaluation, checkpoint, writer, options, note=''):
  """Scores one checkpoint, prints the line, and writes it for TensorBoard and as CSV.

  Args:
    evaluation: an Evaluation.
    checkpoint: path without '.index'.
    writer: a tf.summary.FileWriter.
    options: the parsed flags, or anything with their names as attributes.
    note: text for the end of the line.

  Returns:
    report.Scores; None if it vanished meanwhile (a trainer keeps the latest few only).
  """
  try:
    scores = evaluation.scores(checkpoint)
  except (tf.errors.OpError, ValueError) as error:  # ValueError: gone when the saver looks for it
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
  # With precision, for TensorBoard to show them in one row.
  report.add_hyper_parameters(writer, os.path.dirname(checkpoint), scores.step, label)
  writer.flush()
  if options.confusion_csv:
    report.write_confusion(options.confusion_csv, scores, names)
  if options.predictions_csv:
    report.write_predictions(options.predictions_csv, scores, names)
  return scores


def _training_ended(directory):
  return checkpoints.read_status(directory).get('state') in ('finished', 'failed')


def _wait(directory, seconds):
  """Sleeps until the next look is due, or until training has ended."""
  due = time.monotonic() + seconds
  while time.monotonic() < due and not _training_ended(directory):
    time.sleep(LOOK_SECONDS)


def _score_all(evaluation, options, writer, note):
  """Scores every checkpoint as it appears, until training has ended; returns the last one's."""
  directory, scored, last = options.checkpoint_dir, set(), None
  while True:
    ended = _training_ended(directory)  # asked first: whatever is saved later is found below
    found = checkpoints.find_all(directory)
    for checkpoint in found:
      if checkpoint not in scored:
        last = score(evaluation, checkpoint, writer, options, note) or last
        scored.add(checkpoint)
    if ended:
      break
    if not found:
      print('Waiting for a checkpoint in %s.' % directory, flush=True)
    _wait(directory, options.eval_interval_secs)
  if not scored:
    raise Failure('Training in %s has ended without a checkpoint.' % directory)
  print('Training has ended, and its last checkpoint is scored.')
  return last


def evaluate(options):
  """Scores the latest checkpoint, or all as they appear.

  Args:
    options: the parsed flags, or anything with their names as attributes.

  Raises:
    Failure: as said in its text.
  """
  checkpoint = latest(options.checkpoint_dir) if options.run_once else None
  directory = os.path.join(options.data_dir, cifar10_input.DIRECTORY)
  if options.eval_data == 'validation' and not options.validation_examples:
    raise Failure('--eval_data=validation scores what --validation_examples holds out of the '
                  'training files. Give the number that training was given.')
  note = ' (sample data set)' if sample.is_sample(directory) else ''
  for path in (options.confusion_csv, options.predictions_csv):
    if path and not os.path.isdir(os.path.dirname(path) or '.'):
      raise Failure('%s cannot be written: its directory is not there. Make it first.' % path)
    if path and os.path.isdir(path):
      raise Failure('%s cannot be written: it is a directory. Name a file in it.' % path)
  evaluation = Evaluation(options)
  with tf.summary.FileWriter(options.eval_dir, evaluation.graph) as writer:
    if options.run_once:
      scores = score(evaluation, checkpoint, writer, options, note)
      if not scores:
        raise Failure('%s vanished before it was scored. Run again for the latest one.'
                      % checkpoint)
    else:
      scores = _score_all(evaluation, options, writer, note)
  if scores:
    print(report.table(scores, evaluation.names))


def main(argv):
  del argv
  cifar10.maybe_download_and_extract()
  evaluate(FLAGS)


if __name__ == '__main__':
  programs.run(main)
