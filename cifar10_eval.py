"""Scores checkpoints on the test file, each once, as training writes them.

  python cifar10_eval.py --data_dir cifar10_data/ --eval_dir cifar10_eval/ \
      --checkpoint_dir cifar10_train/

Run it beside cifar10_train.py, in a second terminal; it ends when training has. Watch it with

  tensorboard --logdir cifar10_eval/ --port 6007
"""
import datetime
import os
import time

import numpy as np
from absl import flags

import cifar10
import cifar10_app
import cifar10_augment
import cifar10_checkpoint
import cifar10_input
import cifar10_sample
from cifar10_app import Failure
from cifar10_tf import reason, tf

FLAGS = flags.FLAGS
flags.DEFINE_string('eval_dir', '/tmp/cifar10_eval', 'Directory of events.')
flags.DEFINE_enum('eval_data', 'test', ['test', 'train_eval', 'validation'],
                  'Score on the test file, on the training files, or on the part of these that '
                  '--validation_examples holds out.')
flags.DEFINE_enum('views', '1', [str(count) for count in cifar10_augment.VIEWS],
                  'Views of each picture whose probabilities are averaged: 1, the centre; 2, and '
                  'its mirror image; 10, four corners and the centre, mirrored too; 18, a grid of '
                  '3x3, mirrored too.')
flags.DEFINE_string('checkpoint_dir', '/tmp/cifar10_train', 'Directory of checkpoints to score.')
flags.DEFINE_integer('eval_interval_secs', 300, 'Seconds from one look for checkpoints to the '
                     'next.', lower_bound=1)
flags.DEFINE_integer('num_examples', 10000, 'Records to score: the first of the file, at most all.',
                     lower_bound=1)
flags.DEFINE_boolean('run_once', False, 'Score the latest checkpoint and end.')
flags.DEFINE_enum('weights', 'ema', ['ema', 'raw'],
                  'Score the moving averages of the variables, or their values at the step.')
flags.adopt_module_key_flags(cifar10)

LOOK_SECONDS = 1  # how often to see whether training has finished, while waiting


class Evaluation:
  """The graph that scores, built once for all checkpoints."""

  def __init__(self, options):
    """Builds input, network and the count of hits; takes the parsed flags."""
    test, self._views = options.eval_data == 'test', int(options.views)
    paths = cifar10_input.data_files(options.data_dir, test)
    training, validation = cifar10_input.hold_out(paths, 0 if test else options.validation_examples)
    skip = validation if options.eval_data == 'validation' else training
    self.num_examples = min(options.num_examples, cifar10_input.total_records(paths, skip))
    with tf.Graph().as_default() as self.graph:
      self._step = tf.train.get_or_create_global_step()
      images, labels = cifar10_input.inputs(
          test, options.data_dir, options.batch_size, num_epochs=1, skip=skip, views=self._views)
      scores = cifar10.inference(images)  # logits [V * B, NUM_CLASSES]
      if self._views > 1:
        scores = tf.nn.softmax(scores)
      scores = tf.reshape(scores, [self._views, -1, cifar10.NUM_CLASSES])
      scores = tf.reduce_mean(scores, axis=0)  # [B, NUM_CLASSES]
      # argmax names one class; tf.nn.in_top_k would count every tie as a hit.
      self._hits = tf.equal(tf.argmax(scores, 1, output_type=tf.int32), labels)  # [B]
      self._finite = tf.reduce_all(tf.is_finite(scores), axis=1)  # [B]
      if options.weights == 'ema':
        self.variables = cifar10.averaged_variables()
        self._hint = '--weights=raw does without averages.'
      else:
        self._hint = 'Choose another --checkpoint_dir.'
        self.variables = {variable.op.name: variable for variable in tf.global_variables()}
      self._scaffold = tf.train.Scaffold(saver=tf.train.Saver(self.variables))
      self._scaffold.finalize()  # all ops that a session needs, so that the graph never grows

  @property
  def label(self):
    """What a figure of more than one view is marked with, as in ' (18 views)'."""
    return ' (%d views)' % self._views if self._views > 1 else ''

  def precision(self, checkpoint):
    """Scores one checkpoint on exactly `num_examples` records, each once.

    Args:
      checkpoint: path without '.index'.

    Returns:
      hits, step: how many records it named right, and its global step.

    Raises:
      Failure: it does not fit the network, or gives logits that are no numbers.
      tf.errors.OpError: it cannot be read.
    """
    cifar10_checkpoint.require_fit(checkpoint, self.variables, self._hint)
    hits, finite = [], []
    with self.graph.as_default():
      creator = tf.train.ChiefSessionCreator(
          self._scaffold, config=cifar10.session_config(), checkpoint_filename_with_path=checkpoint)
      with tf.train.MonitoredSession(creator) as session:
        step = session.run(self._step)
        while sum(map(len, hits)) < self.num_examples:
          batch = session.run([self._hits, self._finite])
          hits.append(batch[0])
          finite.append(batch[1])
    hits, finite = (np.concatenate(parts)[:self.num_examples] for parts in (hits, finite))
    if not finite.all():
      raise Failure('%s gives logits that are NaN or infinite for %d of %d records; training '
                    'diverged before it. Score an earlier one.'
                    % (checkpoint, np.sum(~finite), len(finite)))
    return int(hits.sum()), int(step)


def score(evaluation, checkpoint, writer, note=''):
  """Scores one checkpoint, prints the line and writes it for TensorBoard.

  Args:
    evaluation: an Evaluation.
    checkpoint: path without '.index'.
    writer: a tf.summary.FileWriter.
    note: text for the end of the line.

  Returns:
    Whether it was scored; not, if it vanished meanwhile (a trainer keeps the latest few only).
  """
  try:
    hits, step = evaluation.precision(checkpoint)
  except (tf.errors.OpError, ValueError) as error:  # ValueError: gone when the saver looks for it
    if cifar10_checkpoint.exists(checkpoint):
      if isinstance(error, ValueError):
        raise
      raise Failure('%s cannot be scored: %s' % (checkpoint, reason(error))) from error
    print('%s: %s vanished while it was read; going on.' % (datetime.datetime.now(), checkpoint))
    return False
  total = evaluation.num_examples
  label = evaluation.label
  print('%s: precision @ 1%s = %.3f (%d/%d) at step %d%s'
        % (datetime.datetime.now(), label, hits / total, hits, total, step, note), flush=True)
  tag = 'Precision @ 1' + label
  summary = tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=hits / total)])
  writer.add_summary(summary, step)
  writer.flush()
  return True


def _training_ended(directory):
  return cifar10_checkpoint.read_status(directory).get('state') in ('finished', 'failed')


def _wait(directory, seconds):
  """Sleeps until the next look is due, or until training has ended."""
  due = time.monotonic() + seconds
  while time.monotonic() < due and not _training_ended(directory):
    time.sleep(LOOK_SECONDS)


def _score_all(evaluation, options, writer, note):
  """Scores every checkpoint as it appears, until training has ended."""
  directory, scored = options.checkpoint_dir, set()
  while True:
    ended = _training_ended(directory)  # asked first: whatever is saved later is found below
    found = cifar10_checkpoint.find_all(directory)
    for checkpoint in found:
      if checkpoint not in scored:
        score(evaluation, checkpoint, writer, note)
        scored.add(checkpoint)
    if ended:
      break
    if not found:
      print('Waiting for a checkpoint in %s.' % directory, flush=True)
    _wait(directory, options.eval_interval_secs)
  if not scored:
    raise Failure('Training in %s has ended without a checkpoint.' % directory)
  print('Training has ended, and its last checkpoint is scored.')


def evaluate(options):
  """Scores the latest checkpoint, or all as they appear.

  Args:
    options: the parsed flags, or anything with their names as attributes.

  Raises:
    Failure: as said in its text.
  """
  latest = cifar10_checkpoint.find_latest(options.checkpoint_dir)
  if options.run_once and not latest:
    raise Failure('No checkpoint in %s; train first: python cifar10_train.py --train_dir %s'
                  % (options.checkpoint_dir, options.checkpoint_dir))
  directory = os.path.join(options.data_dir, cifar10_input.DIRECTORY)
  if options.eval_data == 'validation' and not options.validation_examples:
    raise Failure('--eval_data=validation scores what --validation_examples holds out of the '
                  'training files. Give the number that training was given.')
  note = ' (sample data set)' if cifar10_sample.is_sample(directory) else ''
  evaluation = Evaluation(options)
  with tf.summary.FileWriter(options.eval_dir, evaluation.graph) as writer:
    if options.run_once:
      if not score(evaluation, latest, writer, note):
        raise Failure('%s vanished before it was scored. Run again for the latest one.' % latest)
    else:
      _score_all(evaluation, options, writer, note)


def main(argv):
  del argv
  cifar10.maybe_download_and_extract()
  evaluate(FLAGS)


if __name__ == '__main__':
  cifar10_app.run(main)
