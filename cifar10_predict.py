"""Predicts what pictures show.

  python cifar10_predict.py cat.png photos/ *.jpg --checkpoint_dir cifar10_train/

It reads PNG, JPEG, BMP, GIF and WebP files, folders of them, and - for standard input. Very large
ones are refused.
The network knows small pictures of one thing in the middle. It always predicts a class it knows.

  python cifar10_predict.py --export cifar10_model/ --checkpoint_dir cifar10_train/

writes a SavedModel, which predicts without this project: docs/export.md.
"""
import functools
import itertools
import json
import os
import sys

from cifar10_lib.common import programs  # first: it handles signals while the rest loads

import numpy as np
from absl import flags
from tqdm import tqdm

import cifar10
import cifar10_eval  # noqa: F401, for the flags that both share
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import augmentation, picture_files, records, shrinking
from cifar10_lib.network import probabilities
from cifar10_lib.training import checkpoints, export, trainer_files

FLAGS = flags.FLAGS
flags.DEFINE_string('checkpoint_path', None, 'Checkpoint to take, in place of the latest in '
                    '--checkpoint_dir: a path such as cifar10_train/model.ckpt-12000.')
flags.DEFINE_integer('top_k', 3, 'Number of likeliest classes to print; at most all.',
                     lower_bound=1, upper_bound=10**6)
flags.DEFINE_boolean('json', False, 'Print one JSON object per line, one for each picture.')
flags.DEFINE_string('save_input', None, 'Directory for the enlarged input of the network for each '
                    'picture (its centre). No file in it is overwritten.')
flags.DEFINE_string('export', None, 'Directory to write a SavedModel into, in place of predicting; '
                    'it must be new or empty.')
for shared in 'checkpoint_dir', 'weights', 'views', 'batch_size':  # flags of cifar10_eval
  flags.declare_key_flag(shared)
# `options` below are the parsed flags, or anything with their names as attributes.

SIZE = records.HEIGHT  # height and width of the data set's pictures, pixels
ZOOM = 8  # --save_input draws each pixel as 8 x 8 pixels


def choose_checkpoint(options):
  """Returns the path of the checkpoint that the flags ask for; raises Failure if it is missing."""
  if options.checkpoint_path:
    path = options.checkpoint_path.removesuffix('.index')
    if not checkpoints.exists(path):
      raise Failure('%s is no checkpoint: its files are not there. Give a path such as %s.'
                    % (path, os.path.join(os.path.dirname(path), 'model.ckpt-12000')))
    return path
  return checkpoints.latest(options.checkpoint_dir)


def build(pictures, views, num_classes):
  """Builds the network on pictures, uint8 [B, 32, 32, 3], with a number of views of each.

  Returns the logarithms of the mean probabilities over the views, float32 [B, num_classes].
  """
  images = augmentation.evaluate(pictures, cifar10.IMAGE_SIZE, views)
  logits = cifar10.inference(images, num_classes=num_classes)  # [views * B, num_classes]
  return probabilities.log_probabilities(logits, views)


class Predictor:
  """The network with the weights of one checkpoint, ready to predict."""

  def __init__(self, path, weights='ema', views=1):
    """Restores the checkpoint at `path`; `weights` and `views` are as for the flags."""
    self.path, self.names = path, trainer_files.learned_names(path)
    with tf.Graph().as_default():
      step = tf.train.get_or_create_global_step()
      self._pictures = tf.placeholder(tf.uint8, [None, SIZE, SIZE, 3])
      self._log_probabilities = build(self._pictures, views, len(self.names))
      self._session = checkpoints.session(path, weights)
      self.step = int(self._session.run(step))
    self.shrink = shrinking.Shrinker()  # as cifar10_convert.py does

  def log_probabilities(self, pictures):
    """Returns the log probabilities, float32 [B, K], of uint8 [B, 32, 32, 3].

    Raises Failure if the network gives NaN or infinity.
    """
    result = self._session.run(self._log_probabilities, {self._pictures: pictures})
    checkpoints.require_finite(self.path, result)
    return result

  def likeliest(self, log_probabilities, count=3):
    """Returns the `count` likeliest classes, of log probabilities float32 [K].

    The result is a list of (name, probability), the likeliest first.
    """
    order = np.argsort(-log_probabilities, kind='stable')[:count]
    return [(self.names[i], float(np.exp(log_probabilities[i]))) for i in order]

  def name(self, path, count=3):
    """Returns the `count` likeliest classes of the picture file at `path`, as `likeliest` does.

    Raises Failure if the file cannot be read.
    """
    picture = self.shrink(picture_files.read(path))  # uint8 [32, 32, 3]
    return self.likeliest(self.log_probabilities(picture[np.newaxis])[0], count)


class Output:
  """Prints the checkpoint, predictions and failures, as text or, after the flag --json, as JSON."""

  def __init__(self, predictor, options):
    self._predictor, self._json, self._top_k = predictor, options.json, options.top_k
    self._failed = 0
    if not self._json:
      views = '' if options.views == '1' else ', %s views' % options.views
      data = trainer_files.read_status(os.path.dirname(predictor.path)).get('data')
      learned = ', learned from %s' % programs.printable(data) if data else ''
      print('%s, step %d%s%s' % (predictor.path, predictor.step, learned, views))

  def add(self, path, log_probabilities):
    """Prints the likeliest classes of one picture; its log probabilities are float32 [K]."""
    likeliest = self._predictor.likeliest(log_probabilities, self._top_k)
    if self._json:
      self._line(json.dumps({'file': path, 'step': self._predictor.step, 'predictions': [
          {'name': name, 'probability': probability} for name, probability in likeliest]}))
    else:
      self._line('%s: %s' % (programs.printable(path),
                             ', '.join('%s %.3f' % each for each in likeliest)))

  def fail(self, path, failure):
    """Reports a picture that could not be read."""
    self._failed += 1
    if self._json:
      self._line(json.dumps({'file': path, 'error': str(failure)}))
    self._line('Error: %s' % programs.printable(str(failure)), sys.stderr)

  def end(self, count):
    """Prints how many of `count` pictures could not be read; returns the exit code."""
    if self._failed:
      self._line('%d of %d pictures could not be read.' % (self._failed, count), sys.stderr)
    return 1 if self._failed else 0

  @staticmethod
  def _line(text, file=None):
    file = file or sys.stdout  # not as the default: a notebook or a test replaces it
    tqdm.write(text, file=file)
    file.flush()  # keeps the order of the two outputs


def _new_path(directory, path):
  """Returns the path of a new file in a directory, named after the picture at `path`."""
  stem = 'stdin' if path == picture_files.STDIN else os.path.basename(path)
  for number in itertools.count(1):
    name = '%s%s.png' % (stem, '' if number == 1 else '-%d' % number)
    if not os.path.exists(os.path.join(directory, name)):
      return os.path.join(directory, name)


def save_input(directory, path, picture):
  """Writes the network's input, the centre of a picture uint8 [32, 32, 3], enlarged."""
  centre = augmentation.centre(picture[np.newaxis], cifar10.IMAGE_SIZE)[0]
  try:
    os.makedirs(directory, exist_ok=True)
    picture_files.write(_new_path(directory, path), centre.repeat(ZOOM, 0).repeat(ZOOM, 1))
  except OSError as error:
    raise Failure('--save_input cannot write to %s: %s. Choose another directory.'
                  % (directory, error.strerror)) from error


def predict(predictor, paths, options):
  """Predicts the classes of the pictures at `paths`, a list of str, in batches, and prints them.

  Returns the exit code: 1 if a file could not be read.
  """
  output = Output(predictor, options)
  batch = []  # (path, picture uint8 [32, 32, 3])

  def finish():
    if batch:
      results = predictor.log_probabilities(np.stack([picture for _, picture in batch]))
      for (path, _), log_probabilities in zip(batch, results, strict=True):
        output.add(path, log_probabilities)
      batch.clear()

  for path in tqdm(paths, unit='picture', file=sys.stderr, dynamic_ncols=True, leave=False,
                   disable=None):  # None: no bar without a terminal
    try:
      picture = predictor.shrink(picture_files.read(path))
    except Failure as failure:
      finish()  # keeps the order of the command line
      output.fail(path, failure)
      continue
    if options.save_input:
      save_input(options.save_input, path, picture)
    batch.append((path, picture))
    if len(batch) == options.batch_size:
      finish()
  finish()
  return output.end(len(paths))


def main(argv):
  if bool(FLAGS.export) == (len(argv) > 1):
    programs.wrong_usage('name pictures, folders of pictures or - for standard input; or give '
                         '--export alone')
  checkpoint, views = choose_checkpoint(FLAGS), int(FLAGS.views)
  if FLAGS.export:
    names = trainer_files.learned_names(checkpoint)
    export.export(checkpoint, FLAGS.export,
                  functools.partial(build, views=views, num_classes=len(names)),
                  names, FLAGS.weights)
    print('Wrote %s, the network of %s as a SavedModel, and %s, which takes image files. '
          'docs/export.md shows how to load them.'
          % (FLAGS.export, checkpoint, os.path.join(FLAGS.export, export.ENCODED)))
    return 0
  return predict(Predictor(checkpoint, FLAGS.weights, views), picture_files.find(argv[1:]), FLAGS)


if __name__ == '__main__':
  programs.run(main, arguments=True)
