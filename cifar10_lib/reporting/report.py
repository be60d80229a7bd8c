"""Reports what a pass over pictures finds: tables, CSV files, and summaries for TensorBoard.

  Scores                predictions, accuracies, the confusion matrix
  table                 the accuracy of each class and what it is confused with, as text
  write_confusion, write_predictions    CSV files
  draw                  the confusion matrix and the pictures of the most confident mistakes
  write_drawings        PNG files of these
  summary               the same for TensorBoard, with a precision-recall curve of each class
  hyper_parameters      what TensorBoard compares runs by

`scores` is a Scores, `names` a list of str [K], the classes by label, and `label` a text for the
end of each tag.
"""
import contextlib
import csv
import os
import struct
from typing import NamedTuple

import numpy as np

from cifar10_lib.common import writing
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.reporting import drawings, summaries, texts

MAX_MISTAKES = 25  # pictures in the drawing of the worst mistakes
MAX_COLUMNS = 16  # classes; the confusion matrix of more is wider than a terminal
MAX_PAIRS = 20  # confused pairs of classes to list in its place
LINE = 100  # columns of a line of that list
NAME = 11  # columns for a name in a table, at least; a longer name takes up to MAX_NAME
MAX_NAME = 30
# Points of a precision-recall curve; TensorBoard's default. All curves together have at most
# PR_POINTS, of 24 bytes each: 190 kB in the events of a checkpoint. 256 classes get 31 points each.
PR_THRESHOLDS = 201
PR_POINTS = 8000
PRECISION, LOSS = METRICS = ('Precision @ 1', 'Mean loss')  # tags
ONE_CLASS = 'accuracy of one class'  # group of tags; capitals, as in 'Precision @ 1', come before
CONFUSION_FILE, MISTAKES_FILE = 'confusion.png', 'mistakes.png'  # in the directory of the events
# Hyper-parameters that TensorBoard shows first, in the order of their names, as it does with those
# that differ between runs. Its table opens with five columns.
FIRST_COLUMNS = ('recipe', 'learning_rate', 'batch_size', 'max_steps')


class Scores(NamedTuple):
  """What a network predicts for N pictures of K classes."""
  step: int  # of the checkpoint
  labels: np.ndarray  # int32 [N], true classes
  log_probabilities: np.ndarray  # float32 [N, K]

  @property
  def predictions(self):
    """The likeliest class of each picture, int64 [N]; of several that tie, the first."""
    return self.log_probabilities.argmax(axis=1)

  @property
  def right(self):
    """Whether each prediction is right, bool [N]."""
    return self.predictions == self.labels

  @property
  def loss(self):
    """Mean cross entropy, nats."""
    return -self.log_probabilities[np.arange(len(self.labels)), self.labels].mean(dtype=np.float64)

  def confusion(self):
    """Returns the confusion matrix, int64 [K, K]: rows are true classes, columns predicted ones."""
    count = self.log_probabilities.shape[1]
    pairs = self.labels * count + self.predictions
    return np.bincount(pairs, minlength=count * count).reshape(count, count)

  def confused(self):
    """Returns the pairs (true, predicted) of classes that were confused, the most frequent first.

    int64 [P, 2]. Pairs of the same frequency come in the order of their labels.
    """
    wrong = self.confusion()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind='stable')[:np.count_nonzero(wrong)]
    return np.stack(np.unravel_index(order, wrong.shape), axis=1)

  def accuracies(self):
    """Returns the accuracy of each class, float64 [K]; NaN for a class without pictures."""
    confusion = self.confusion()
    with np.errstate(invalid='ignore'):
      return confusion.diagonal() / confusion.sum(axis=1)

  def worst(self, count):
    """Returns the numbers of the `count` most confident wrong predictions, or all: int64."""
    wrong = np.flatnonzero(~self.right)
    confidence = self.log_probabilities[wrong].max(axis=1)
    return wrong[np.argsort(-confidence, kind='stable')][:count]


def table(scores, names):
  """Returns each class's accuracy and what it is confused with, as text.

  These are the confusion matrix or, where that would be wider than a terminal, two lists.
  """
  name_width = min(MAX_NAME, max(NAME, 1 + max(map(texts.width, names))))
  lines = _matrix if len(names) <= MAX_COLUMNS else _lists
  return '\n'.join(lines(scores, names, name_width))


def _matrix(scores, names, name_width):
  """Returns the lines of the confusion matrix, with the accuracy of each class."""
  confusion = scores.confusion()
  width = max(5, len(str(confusion.max())))

  def line(name, accuracy, cells):
    return '%s%8s   %s' % (texts.padded(name, name_width), accuracy, ' '.join(cells))

  heads = [name[:width] for name in names]
  while max(map(texts.width, heads)) > width:  # characters of two columns
    heads = [head if texts.width(head) <= width else head[:-1] for head in heads]
  rows = zip(names, scores.accuracies(), confusion, strict=True)
  return [
      line('true class', 'accuracy', [' ' * (width - texts.width(head)) + head for head in heads]),
      *[line(name, '%.3f' % accuracy, ['%*d' % (width, count) for count in counts])
        for name, accuracy, counts in rows],
      '(rows: true class; columns: predicted class)']


def _lists(scores, names, name_width):
  """Returns the lines of two lists: accuracies, and the most frequent confusions."""
  accuracies = scores.accuracies()
  cells = ['%s%6.3f' % (texts.padded(names[label], name_width), accuracies[label])
           for label in np.argsort(accuracies, kind='stable')]  # NaN comes last
  columns = max(1, LINE // (name_width + 9))
  confusion, pairs = scores.confusion(), scores.confused()
  totals = confusion.sum(axis=1)
  return [
      'accuracy of each class, the lowest first',
      *['   '.join(cells[first:first + columns]) for first in range(0, len(cells), columns)],
      'confused classes: pictures, true class -> predicted class, share of the true class',
      *['%6d   %s -> %s%6.3f' % (
          confusion[true, predicted], texts.padded(names[true], name_width),
          texts.padded(names[predicted], name_width), confusion[true, predicted] / totals[true])
        for true, predicted in pairs[:MAX_PAIRS]],
      'and %d more pairs' % (len(pairs) - MAX_PAIRS) if len(pairs) > MAX_PAIRS else
      '(%d pairs in all)' % len(pairs)]


def require_writable(*paths):
  """Raises Failure if a path, where not None, is a directory or its directory is missing."""
  for path in filter(None, paths):
    if not os.path.isdir(os.path.dirname(path) or '.'):
      raise Failure('%s cannot be written: its directory is not there. Make it first.' % path)
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
      raise Failure('%s cannot be written: it is no regular file. Choose another path.' % path)
    if os.path.isdir(path):
      raise Failure('%s cannot be written: it is a directory. Name a file in it.' % path)


@contextlib.contextmanager
def _replacing(path, mode='w', **how):
  """Yields a file as `writing.replacing` does; raises Failure if it cannot be written."""
  path = os.path.realpath(path)  # a link is followed, not replaced
  try:
    with writing.replacing(path, mode, **how) as file:
      yield file
  except OSError as error:
    raise Failure('%s cannot be written: %s. Choose another path.' % (path, error.strerror)
                  ) from error


@contextlib.contextmanager
def _csv(path):
  """Yields a csv.writer for `_replacing`."""
  with _replacing(path, newline='', encoding='utf-8') as file:
    yield csv.writer(file)


def write_confusion(path, scores, names):
  """Writes the confusion matrix as CSV: rows are true classes, columns predicted ones."""
  with _csv(path) as out:
    out.writerow(['label', *names])
    out.writerows([name, *row] for name, row in zip(names, scores.confusion(), strict=True))


def write_predictions(path, scores, names):
  """Writes index, label, prediction and its probability of each picture as CSV."""
  with _csv(path) as out:
    out.writerow(['index', 'label', 'prediction', 'probability'])
    probabilities = np.exp(scores.log_probabilities.max(axis=1))
    out.writerows(
        [index, names[label], names[prediction], '%.6f' % probability]
        for index, (label, prediction, probability)
        in enumerate(zip(scores.labels, scores.predictions, probabilities, strict=True)))


class Drawings(NamedTuple):
  """What `draw` returns: PNG files as bytes."""
  confusion: bytes
  mistakes: bytes


def draw(scores, names, pictures):
  """Draws the confusion matrix and the most confident mistakes; returns Drawings.

  `pictures` is a function from the numbers of pictures, int [M], to uint8 [M, H, W, 3].
  """
  worst = scores.worst(MAX_MISTAKES)
  return Drawings(drawings.confusion_matrix(scores, names),
                  drawings.mistakes(scores, names, pictures(worst), worst))


def write_drawings(directory, drawn):
  """Writes Drawings as confusion.png and mistakes.png; raises OSError if it cannot.

  Several evaluators may write there: each file is replaced at once.
  """
  for name, png in (CONFUSION_FILE, drawn.confusion), (MISTAKES_FILE, drawn.mistakes):
    with writing.replacing(os.path.join(directory, name), shared=True) as file:
      file.write(png)


def write_mistakes(path, drawn):
  """Writes the mistakes of Drawings as a PNG file."""
  with _replacing(path, 'wb') as file:
    file.write(drawn.mistakes)


# For TensorBoard.

def _image(tag, png):
  width, height = struct.unpack('>II', png[16:24])  # the start of a PNG file's first chunk
  image = tf.Summary.Image(encoded_image_string=png, colorspace=3, height=height, width=width)
  return tf.Summary.Value(tag=tag, image=image)


def _tags(names):
  """Returns names as the last part of a tag: without '/', which starts a group, and each once."""
  plain = [name.replace('/', '_') for name in names]
  return [name if plain.count(name) == 1 else '%s (class %d)' % (name, number)
          for number, name in enumerate(plain)]


def summary(scores, names, drawn, label=''):
  """Returns a tf.Summary of the scores: scalars, Drawings and precision-recall curves."""
  from tensorboard.plugins.pr_curve import summary as pr_curve
  precision = scores.right.mean()
  values = [tf.Summary.Value(tag=summaries.FIRST + PRECISION + label, simple_value=precision),
            tf.Summary.Value(tag=PRECISION + label, simple_value=precision),
            tf.Summary.Value(tag=LOSS + label, simple_value=scores.loss)]
  tags = _tags(names)
  for tag, accuracy in zip(tags, scores.accuracies(), strict=True):
    if np.isfinite(accuracy):
      values.append(tf.Summary.Value(tag='%s%s/%s' % (ONE_CLASS, label, tag),
                                     simple_value=accuracy))
  values += [_image('Confusion matrix' + label, drawn.confusion),
             _image('Worst mistakes' + label, drawn.mistakes)]
  merged = tf.Summary(value=values)
  probabilities = np.minimum(1, np.exp(scores.log_probabilities))  # rounding gives 1.0000001
  thresholds = min(PR_THRESHOLDS, PR_POINTS // len(names))
  for number, tag in enumerate(tags):
    curve = pr_curve.pb('Precision-recall%s/%s' % (label, tag), scores.labels == number,
                        probabilities[:, number], num_thresholds=thresholds)
    merged.MergeFromString(curve.SerializeToString())  # TensorBoard's Summary is another class
  return merged


def hyper_parameters(values, run, label=''):
  """Returns a tf.Summary that adds a run to TensorBoard's HParams tab.

  Args:
    values: dict of str to bool, int, float or str; None is left out.
    run: name of the run. Training and its evaluation share a name and become one row.
    label: as for `summary`: it selects the metrics of the row.
  """
  from tensorboard.plugins.hparams import api_pb2
  from tensorboard.plugins.hparams import summary as hparams
  known = {name: value if isinstance(value, (bool, str)) else float(value)
           for name, value in values.items() if value is not None}
  types = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING,
           float: api_pb2.DATA_TYPE_FLOAT64}
  experiment = hparams.experiment_pb(
      [api_pb2.HParamInfo(name=name, type=types[type(value)], differs=name in FIRST_COLUMNS)
       for name, value in known.items()],
      [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag + label)) for tag in METRICS])
  start = hparams.session_start_pb(known, group_name=run)
  # Bytes, because TensorBoard's Summary is another class. Joined, they parse as one Summary.
  return tf.Summary.FromString(experiment.SerializeToString() + start.SerializeToString())


def add_hyper_parameters(writer, status, step, label=''):
  """Writes the `hyper_parameters` of a run for a step, if its trainer has recorded them.

  `writer` is a tf.summary.FileWriter, `status` a dict from `trainer_files.read_status`.
  """
  if 'hparams' in status:
    writer.add_summary(hyper_parameters(status['hparams'], status['run'], label), step)
