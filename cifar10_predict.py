"""Names what is in pictures.

  python cifar10_predict.py cat.png photos/ *.jpg --checkpoint_dir cifar10_train/

PNG, JPEG, BMP, GIF and WebP files of any size, folders of them, and - for standard input. The
network has seen small pictures of one thing in the middle, of ten kinds; whatever it is shown, it
names one of these.

  python cifar10_predict.py --export cifar10_model/ --checkpoint_dir cifar10_train/

writes a SavedModel that names pictures without this project.
"""
import itertools
import json
import os
import sys

import numpy as np
from absl import flags
from tqdm import tqdm

import cifar10
from cifar10_lib.common import programs
from cifar10_lib.dataset import augmentation
from cifar10_lib.training import checkpoints
import cifar10_eval
import cifar10_input
from cifar10_lib.dataset import picture_files
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import reason, tf

FLAGS = flags.FLAGS
flags.DEFINE_string('checkpoint_path', None, 'Checkpoint to take, in place of the latest in '
                    '--checkpoint_dir: a path such as cifar10_train/model.ckpt-12000.')
flags.DEFINE_integer('top_k', 3, 'How many of the likeliest names to give.', lower_bound=1,
                     upper_bound=cifar10.NUM_CLASSES)
flags.DEFINE_boolean('json', False, 'Print a JSON object a line, one for each picture.')
flags.DEFINE_string('save_input', None, 'Directory for what the network saw of each picture (of '
                    'several views the centre), enlarged; made if need be, and nothing in it is '
                    'overwritten.')
flags.DEFINE_string('export', None, 'Directory to write a SavedModel into, in place of naming '
                    'pictures; it must be new.')
for shared in 'checkpoint_dir', 'weights', 'views', 'batch_size':  # with evaluation
  flags.declare_key_flag(shared)

SIDE = cifar10_input.HEIGHT  # pixels
ZOOM = 8  # pixels a pixel, of what --save_input writes


def _choose(options):
  """Returns the path of the checkpoint that the flags ask for."""
  if options.checkpoint_path:
    path = options.checkpoint_path.removesuffix('.index')
    if not checkpoints.exists(path):
      raise Failure('%s is no checkpoint: its files are not there. Give a path such as %s.'
                    % (path, os.path.join(os.path.dirname(path), 'model.ckpt-12000')))
    return path
  return cifar10_eval.latest(options.checkpoint_dir)


def _restored(path, weights):
  """Returns a session of the default graph with the variables of a checkpoint.

  Raises:
    Failure: it does not fit the network, or cannot be read.
  """
  variables = cifar10.saved_variables(weights)
  session = tf.Session(config=cifar10.session_config())
  try:
    checkpoints.require_fit(path, variables, cifar10_eval.HINTS[weights])
    tf.train.Saver(variables).restore(session, path)
  except tf.errors.OpError as error:
    raise Failure('%s cannot be read: %s' % (path, reason(error))) from error
  except ValueError as error:  # as the saver has it
    if checkpoints.exists(path):
      raise
    raise Failure('%s vanished before it was read. Run again for the latest one.' % path
                  ) from error
  return session


class Predictor:
  """The network with the weights of one checkpoint, ready for pictures."""

  def __init__(self, path, weights='ema', views=1):
    """Takes the path of a checkpoint, which weights of it to take, and views of a picture."""
    self.path = path
    self.names = checkpoints.read_names(os.path.dirname(path))
    with tf.Graph().as_default():
      step = tf.train.get_or_create_global_step()
      self._picture = tf.placeholder(tf.uint8, [None, None, 3])
      self._shrunk = augmentation.shrink(self._picture, SIDE)
      self._pictures = tf.placeholder(tf.uint8, [None, SIDE, SIDE, 3])
      self._log_probabilities = cifar10.log_probabilities(
          augmentation.evaluate(self._pictures, count=views), views)
      self._session = _restored(path, weights)
      self.step = int(self._session.run(step))

  def shrink(self, picture):
    """Makes a picture, uint8 [H, W, 3], one of the data set's: uint8 [32, 32, 3]."""
    return self._session.run(self._shrunk, {self._picture: picture})

  def log_probabilities(self, pictures):
    """Says what is in pictures.

    Args:
      pictures: uint8 [B, 32, 32, 3].

    Returns:
      float32 [B, 10], the logarithm of each class's probability.

    Raises:
      Failure: they are no numbers.
    """
    told = self._session.run(self._log_probabilities, {self._pictures: pictures})
    cifar10_eval.require_finite(self.path, told)
    return told


def _likeliest(names, log_probabilities, count):
  """Returns (name, probability) of the likeliest, in order; arguments float32 [10] and how many."""
  order = np.argsort(-log_probabilities, kind='stable')[:count]
  return [(names[i], float(np.exp(log_probabilities[i]))) for i in order]


class _Output:
  """Prints what is found, batch by batch."""

  def __init__(self, predictor, options):
    self._predictor, self._json, self._top_k = predictor, options.json, options.top_k
    self._failed = 0
    if not self._json:
      views = '' if options.views == '1' else ', %s views' % options.views
      print('%s, step %d%s' % (predictor.path, predictor.step, views))

  def tell(self, path, log_probabilities):
    """Prints the likeliest names of one picture."""
    likeliest = _likeliest(self._predictor.names, log_probabilities, self._top_k)
    if self._json:
      self._line(json.dumps({'file': path, 'step': self._predictor.step, 'predictions': [
          {'name': name, 'probability': probability} for name, probability in likeliest]}))
    else:
      shown = os.fsencode(path).decode('utf-8', 'backslashreplace')  # whatever bytes it is called
      self._line('%s: %s' % (shown, ', '.join('%s %.3f' % each for each in likeliest)))

  def refuse(self, path, failure):
    """Names a picture that could not be read."""
    self._failed += 1
    if self._json:
      self._line(json.dumps({'file': path, 'error': str(failure)}))
    self._line('Error: %s' % failure, sys.stderr)

  def end(self, count):
    """Returns the exit code, after so many pictures."""
    if self._failed:
      self._line('%d of %d pictures could not be read.' % (self._failed, count), sys.stderr)
    return 1 if self._failed else 0

  @staticmethod
  def _line(text, file=None):
    file = file or sys.stdout
    tqdm.write(text, file=file)
    file.flush()  # for who reads both outputs


def _new_path(directory, path):
  """Returns a path in a directory, named after a picture, where no file is yet."""
  stem = 'stdin' if path == picture_files.STDIN else os.path.basename(path)
  for number in itertools.count(1):
    name = '%s%s.png' % (stem, '' if number == 1 else '-%d' % number)
    if not os.path.exists(os.path.join(directory, name)):
      return os.path.join(directory, name)


def _save_input(directory, path, picture):
  """Writes what the network sees of a picture, uint8 [32, 32, 3], enlarged."""
  margin = (SIDE - cifar10.IMAGE_SIZE) // 2
  seen = picture[margin:SIDE - margin, margin:SIDE - margin]
  try:
    os.makedirs(directory, exist_ok=True)
    picture_files.write(_new_path(directory, path), seen.repeat(ZOOM, 0).repeat(ZOOM, 1))
  except OSError as error:
    raise Failure('--save_input cannot write to %s: %s. Choose another directory.'
                  % (directory, error.strerror)) from error


def predict(predictor, paths, options):
  """Names what is in pictures, in batches, and prints it.

  Args:
    predictor: a Predictor.
    paths: list of str, pictures' files.
    options: the parsed flags, or anything with their names as attributes.

  Returns:
    The exit code: 1 if a file could not be read.
  """
  output = _Output(predictor, options)
  bar = tqdm(paths, unit='picture', file=sys.stderr, dynamic_ncols=True, leave=False,
             disable=None)  # None: off without a terminal
  batch = []  # (path, picture uint8 [32, 32, 3])

  def finish():
    if batch:
      told = predictor.log_probabilities(np.stack([picture for _, picture in batch]))
      for (path, _), each in zip(batch, told, strict=True):
        output.tell(path, each)
      batch.clear()

  for path in bar:
    try:
      picture = predictor.shrink(picture_files.read(path))
    except Failure as failure:
      finish()  # in the order of the command line
      output.refuse(path, failure)
      continue
    if options.save_input:
      _save_input(options.save_input, path, picture)
    batch.append((path, picture))
    if len(batch) == options.batch_size:
      finish()
  finish()
  return output.end(len(paths))


# The network for other programs.


def _signature(inputs, pictures, names, views):
  """Returns the signature of a SavedModel.

  Args:
    inputs: dict of one name to the placeholder that is fed.
    pictures: uint8 [N, 32, 32, 3], made of it.
    names: list of str [10].
    views: of a picture.
  """
  found = cifar10.log_probabilities(augmentation.evaluate(pictures, count=views), views)
  likeliest, classes = tf.math.top_k(found, len(names))  # [N, 10]
  return tf.saved_model.predict_signature_def(
      inputs, {'names': tf.gather(tf.constant(names), classes), 'probabilities': tf.exp(likeliest)})


def _decode(content):
  """Makes a file's bytes, string [], a picture uint8 [32, 32, 3]."""
  picture = tf.io.decode_image(content, channels=3, expand_animations=False)
  picture.set_shape([None, None, 3])
  return augmentation.shrink(picture, SIDE)


def export(path, directory, weights='ema', views=1):
  """Writes a SavedModel: the network with a checkpoint's weights, and all that a picture needs.

  Its signatures take `images`, uint8 [N, 32, 32, 3] ('serving_default'), or `encoded`, string [N],
  bytes of PNG, JPEG, BMP or GIF files ('encoded'); N is at least 1. They return `names`, string
  [N, 10], the likeliest first, and their `probabilities`, float32 [N, 10]. TensorFlow's decoders
  know neither EXIF nor transparency, which `picture_files.read` does.

  Args:
    path: of the checkpoint.
    directory: to write into; new or empty.
    weights: as for `cifar10.saved_variables`.
    views: of each picture.

  Raises:
    Failure: the directory is not empty or cannot be written, or the checkpoint is none of this
      network.
  """
  if os.path.exists(directory) and not (os.path.isdir(directory) and not os.listdir(directory)):
    raise Failure('%s is there already. Choose a new directory for --export.' % directory)
  names = checkpoints.read_names(os.path.dirname(path))
  with tf.Graph().as_default():
    tf.train.get_or_create_global_step()
    images = tf.placeholder(tf.uint8, [None, SIDE, SIDE, 3], 'images')
    encoded = tf.placeholder(tf.string, [None], 'encoded')
    signatures = {'serving_default': _signature({'images': images}, images, names, views)}
    with tf.variable_scope(tf.get_variable_scope(), reuse=True):
      decoded = tf.map_fn(_decode, encoded, tf.uint8)
      signatures['encoded'] = _signature({'encoded': encoded}, decoded, names, views)
    with _restored(path, weights) as session:
      try:
        builder = tf.saved_model.Builder(directory)
        builder.add_meta_graph_and_variables(session, ['serve'], signatures)
        builder.save()
      except tf.errors.OpError as error:
        raise Failure('%s cannot be written: %s. Choose another directory for --export.'
                      % (directory, reason(error))) from error


def main(argv):
  if bool(FLAGS.export) == (len(argv) > 1):
    programs.wrong_usage('name pictures, folders of pictures or - for standard input; or give '
                            '--export alone')
  checkpoint = _choose(FLAGS)
  if FLAGS.export:
    export(checkpoint, FLAGS.export, FLAGS.weights, int(FLAGS.views))
    print('Wrote %s: %s as a SavedModel, for tf.saved_model.load.' % (FLAGS.export, checkpoint))
    return 0
  predictor = Predictor(checkpoint, FLAGS.weights, int(FLAGS.views))
  return predict(predictor, picture_files.find(argv[1:]), FLAGS)


if __name__ == '__main__':
  programs.run(main, arguments=True)
