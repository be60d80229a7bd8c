"""What a pass over pictures tells beyond one number: a table, files, and pictures for TensorBoard.

  scores.confusion()    which kinds are taken for which
  table                 that, and the accuracy of each class, as text
  write_confusion, write_predictions    as CSV
  summary               all of it for TensorBoard, the worst mistakes, and a curve a class
  hyper_parameters      what TensorBoard compares runs by
"""
import contextlib
import csv
import io
import os
import struct
from typing import NamedTuple

import numpy as np

from cifar10_lib.training import checkpoints
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf

MISTAKES, COLUMNS = 25, 5  # pictures in the grid of the worst, and in a row of it
PR_THRESHOLDS = 201  # points of a precision-recall curve; TensorBoard's own number
PRECISION, LOSS = METRICS = ('Precision @ 1', 'Mean loss')  # tags
DPI = 100  # pixels an inch of drawings: 700 x 700 for a confusion matrix


class Scores(NamedTuple):
  """What a network said of N pictures."""
  step: int  # of the checkpoint
  labels: np.ndarray  # int32 [N], what they are
  log_probabilities: np.ndarray  # float32 [N, K], of all classes

  @property
  def predictions(self):
    """The likeliest class of each, int64 [N]. One, so a tie is no hit for all that share in it."""
    return self.log_probabilities.argmax(axis=1)

  @property
  def right(self):
    """Which were named right, bool [N]."""
    return self.predictions == self.labels

  @property
  def loss(self):
    """Mean cross entropy, nats."""
    return -self.log_probabilities[np.arange(len(self.labels)), self.labels].mean(dtype=np.float64)

  def confusion(self):
    """How many pictures of a class were taken for which: int64 [K, K], rows what they are."""
    count = self.log_probabilities.shape[1]
    pairs = self.labels * count + self.predictions
    return np.bincount(pairs, minlength=count * count).reshape(count, count)

  def accuracies(self):
    """The share of each class that was named right, float64 [K]; NaN of a class without any."""
    confusion = self.confusion()
    with np.errstate(invalid='ignore'):
      return confusion.diagonal() / confusion.sum(axis=1)

  def worst(self, count):
    """The numbers of up to `count` pictures that were named wrong with most certainty, int64."""
    wrong = np.flatnonzero(~self.right)
    certainty = self.log_probabilities[wrong].max(axis=1)
    return wrong[np.argsort(-certainty, kind='stable')][:count]


def table(scores, names):
  """Returns the confusion matrix and each class's accuracy as text.

  Args:
    scores: a Scores.
    names: list of str [K].
  """
  width = max(5, len(str(scores.confusion().max())))
  head = ['%-11s%8s  ' % ('what it is', 'accuracy'), *(name[:width] for name in names)]
  lines = [' '.join([head[0]] + ['%*s' % (width, name) for name in head[1:]])]
  for name, accuracy, row in zip(names, scores.accuracies(), scores.confusion(), strict=True):
    lines.append('%-11s%8.3f   %s' % (
        name, accuracy, ' '.join('%*d' % (width, count) for count in row)))
  return '\n'.join(lines + ['(a column: how many of them were taken for that)'])


@contextlib.contextmanager
def _csv(path):
  """Yields a csv.writer whose rows replace the file at once, when all are written."""
  try:
    with open(path + '.new', 'w', newline='', encoding='utf-8') as file:
      yield csv.writer(file)
    os.replace(path + '.new', path)
  except OSError as error:
    raise Failure('%s cannot be written: %s. Choose another path.' % (path, error.strerror)
                  ) from error


def write_confusion(path, scores, names):
  """Writes the confusion matrix as CSV: a row for what they are, a column for what was said."""
  with _csv(path) as out:
    out.writerow(['label', *names])
    out.writerows([name, *row] for name, row in zip(names, scores.confusion(), strict=True))


def write_predictions(path, scores, names):
  """Writes index, label, prediction and its probability of each picture as CSV."""
  with _csv(path) as out:
    out.writerow(['index', 'label', 'prediction', 'probability'])
    certainty = np.exp(scores.log_probabilities.max(axis=1))
    out.writerows(
        [index, names[label], names[told], '%.6f' % sure] for index, (label, told, sure)
        in enumerate(zip(scores.labels, scores.predictions, certainty, strict=True)))


# For TensorBoard.


def _png(inches, draw):
  """Returns what `draw(figure)` drew, as a PNG file in bytes."""
  from matplotlib.figure import Figure  # here: half a second that only drawings need
  figure = Figure(figsize=inches)
  draw(figure)
  with io.BytesIO() as file:
    figure.savefig(file, format='png', dpi=DPI)
    return file.getvalue()


def draw_confusion(scores, names):
  """Draws the confusion matrix: counts, and in the shade of a field its share of the row. PNG."""
  confusion = scores.confusion()
  share = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))

  def draw(figure):
    axes = figure.add_axes((0.15, 0.15, 0.82, 0.8))
    axes.imshow(share, cmap='Blues', vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha='right')
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel='what was said', ylabel='what it is', title='step %d' % scores.step)
    for row, column in np.ndindex(confusion.shape):
      axes.text(column, row, confusion[row, column], ha='center', va='center', fontsize=8,
                color='white' if share[row, column] > 0.5 else 'black')
  return _png((7, 7), draw)


def draw_mistakes(scores, names, pictures, numbers):
  """Draws pictures that were named wrong, with what they are and what was said. PNG.

  Args:
    scores: a Scores.
    names: list of str [K].
    pictures: uint8 [M, H, W, 3].
    numbers: int [M], which of the scores' they are.
  """
  rows = max(1, -(-len(numbers) // COLUMNS))

  def draw(figure):  # in one set of axes: one for each picture takes five times as long
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis('off')
    for place, (picture, number) in enumerate(zip(pictures, numbers, strict=True)):
      row, column = divmod(place, COLUMNS)
      told = scores.predictions[number]
      axes.imshow(picture, extent=(column + 0.1, column + 0.9, row + 0.98, row + 0.25))
      axes.text(column + 0.5, row + 0.22, '#%d %s\nsaid %s %.2f' % (
          number, names[scores.labels[number]], names[told],
          np.exp(scores.log_probabilities[number, told])), ha='center', fontsize=9)
    axes.set(xlim=(0, COLUMNS), ylim=(rows, 0), aspect='auto')  # imshow sets its own
  return _png((7.5, 1.65 * rows), draw)


def _image(tag, png):
  width, height = struct.unpack('>II', png[16:24])  # the begin of every PNG file's first chunk
  image = tf.Summary.Image(encoded_image_string=png, colorspace=3, height=height, width=width)
  return tf.Summary.Value(tag=tag, image=image)


def summary(scores, names, pictures, label=''):
  """Returns a tf.Summary of all there is to see.

  Args:
    scores: a Scores.
    names: list of str [K].
    pictures: function from numbers, int [M], to these pictures, uint8 [M, H, W, 3].
    label: for the end of each tag.
  """
  from tensorboard.plugins.pr_curve import summary as pr_curve
  values = [tf.Summary.Value(tag=PRECISION + label, simple_value=scores.right.mean()),
            tf.Summary.Value(tag=LOSS + label, simple_value=scores.loss)]
  for name, accuracy in zip(names, scores.accuracies(), strict=True):
    if np.isfinite(accuracy):
      values.append(tf.Summary.Value(tag='Accuracy%s/%s' % (label, name), simple_value=accuracy))
  worst = scores.worst(MISTAKES)
  values += [_image('Confusion matrix' + label, draw_confusion(scores, names)),
             _image('Worst mistakes' + label,
                    draw_mistakes(scores, names, pictures(worst), worst))]
  found = tf.Summary(value=values)
  probabilities = np.minimum(1, np.exp(scores.log_probabilities))  # not 1.0000001
  for number, name in enumerate(names):
    curve = pr_curve.pb('Precision-recall%s/%s' % (label, name), scores.labels == number,
                        probabilities[:, number], num_thresholds=PR_THRESHOLDS)
    found.MergeFrom(tf.Summary.FromString(curve.SerializeToString()))
  return found


def hyper_parameters(values, run, label=''):
  """Returns a tf.Summary that enters a run into TensorBoard's HParams tab.

  Args:
    values: dict of str to bool, int, float or str; None is left out.
    run: name of the run; what goes by one name, training and its evaluation, is one row.
    label: as for `summary`, of the figures in the row.
  """
  from tensorboard.plugins.hparams import api_pb2
  from tensorboard.plugins.hparams import summary as hparams
  known = {name: value if isinstance(value, (bool, str)) else float(value)
           for name, value in values.items() if value is not None}
  types = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING,
           float: api_pb2.DATA_TYPE_FLOAT64}
  found = tf.Summary()
  for part in (
      hparams.experiment_pb(
          [api_pb2.HParamInfo(name=name, type=types[type(known[name])]) for name in known],
          [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag + label)) for tag in METRICS]),
      hparams.session_start_pb(known, group_name=run)):
    found.MergeFrom(tf.Summary.FromString(part.SerializeToString()))
  return found


def add_hyper_parameters(writer, train_dir, step, label=''):
  """Writes `hyper_parameters` of the run in a directory, if its trainer has told them."""
  status = checkpoints.read_status(train_dir)
  if 'hparams' in status:
    writer.add_summary(hyper_parameters(status['hparams'], status['run'], label), step)
