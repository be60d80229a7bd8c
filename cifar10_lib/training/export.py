"""Exports the network as SavedModels, which other programs use without this project."""
import contextlib
import os
import shutil

import numpy as np

from cifar10_lib.common import programs
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import reason, saving, tf
from cifar10_lib.dataset import augmentation, records
from cifar10_lib.training import checkpoints

SIZE = records.HEIGHT  # height and width of the network's pictures, pixels
UNFINISHED = 'export.unfinished'  # directory in that of the model, while it is written
MODEL = 'saved_model.pb'  # makes a directory a SavedModel
ENCODED = 'encoded'  # directory in that of the model: the SavedModel that decodes files
OURS = {UNFINISHED, MODEL, 'variables', ENCODED}  # what an export that was killed may leave


def _decode(content):
  """Decodes the bytes of an image file, string [], to uint8 [SIZE, SIZE, 3]."""
  picture = tf.io.decode_image(content, channels=3, expand_animations=False)
  picture.set_shape([None, None, 3])
  return augmentation.shrink(picture, SIZE)


def _remove(directory):
  """Removes what an export has left that did not end."""
  for name in OURS - {MODEL}:
    shutil.rmtree(os.path.join(directory, name), ignore_errors=True)
  with contextlib.suppress(OSError):
    os.remove(os.path.join(directory, MODEL))


@contextlib.contextmanager
def _filling(directory):
  """Yields the path of a new directory; if the block succeeds, its files move to `directory`.

  UNFINISHED is there until all else is, so the next export can tell that this one did not end.

  Raises:
    Failure: `directory` is there already and holds something else, or cannot be written.
  """
  names = set(os.listdir(directory)) if os.path.isdir(directory) else set()
  if os.path.lexists(directory) and not os.path.isdir(directory) or names and not (
      UNFINISHED in names and names <= OURS):
    raise Failure('%s is there already. Choose a new directory for --export.' % directory)
  unfinished, made = os.path.join(directory, UNFINISHED), not os.path.isdir(directory)
  done = False
  try:
    if names:
      _remove(directory)
    os.makedirs(unfinished)
    with saving():
      yield unfinished
    for name in sorted(os.listdir(unfinished), key=lambda name: name == MODEL):  # MODEL last
      os.rename(os.path.join(unfinished, name), os.path.join(directory, name))
    os.rmdir(unfinished)
    done = True
  except (tf.errors.OpError, OSError) as error:
    if programs.is_full(error):
      raise programs.no_space('Export to %s' % directory) from error
    text = reason(error) if isinstance(error, tf.errors.OpError) else error.strerror
    raise Failure('%s cannot be written: %s. Choose another directory for --export.'
                  % (directory, text)) from error
  finally:
    if not done:
      _remove(directory)
      with contextlib.suppress(OSError):
        if made:
          os.rmdir(directory)


def _pictures():
  """Returns the input of pictures: its placeholder, and what the network takes."""
  images = tf.placeholder(tf.uint8, [None, SIZE, SIZE, 3], 'images')
  return images, images


def _files():
  """Returns the input of image files: its placeholder, and what the network takes."""
  encoded = tf.placeholder(tf.string, [None], 'encoded')
  return encoded, tf.map_fn(_decode, encoded, tf.uint8)


def _predict(images, log_probabilities, names):
  """Returns the outputs of a signature for uint8 [N, SIZE, SIZE, 3], where N may be 0."""
  count = tf.shape(images)[0]
  # oneDNN gives a convolution of no pictures a wrong shape, so that the next layer fails. The
  # network then sees one black picture, and its prediction is cut off.
  black = tf.constant(np.zeros([1, SIZE, SIZE, 3], np.uint8))
  images = tf.concat([images, black[:1 - tf.minimum(count, 1)]], axis=0)  # [max(N, 1), ...]
  likeliest, classes = tf.math.top_k(log_probabilities(images)[:count], len(names))  # [N, K]
  return {'names': tf.gather(tf.constant(names), classes), 'probabilities': tf.exp(likeliest)}


def export(path, directory, log_probabilities, names, weights='ema'):
  """Writes the network with a checkpoint's weights as two SavedModels of one signature each.

  The one in `directory` takes `images`, uint8 [N, 32, 32, 3]. It has only ops that TensorFlow Lite
  and ONNX know. The one in `directory`/encoded takes `encoded`, string [N], the bytes of PNG, JPEG,
  BMP or GIF files. N may be 0. Both return `names`, string [N, K], the likeliest class first, and
  their `probabilities`, float32 [N, K]. The signature is named 'serving_default'. TensorFlow's
  decoders ignore EXIF and transparency; `picture_files.read` handles both.

  Args:
    path: path of the checkpoint, without '.index'.
    directory: where to write; new, empty, or left by an export that did not end.
    log_probabilities: function that builds the network: from pictures, uint8 [N, 32, 32, 3], to
      float32 [N, K]. N is at least 1.
    names: list of str [K], the classes by label.
    weights: as for `checkpoints.saved_variables`.

  Raises:
    Failure: the directory is not empty or cannot be written, or the checkpoint does not fit the
      network.
  """
  with _filling(directory) as unfinished:
    for place, build_input in (unfinished, _pictures), (os.path.join(unfinished, ENCODED), _files):
      with tf.Graph().as_default():
        tf.train.get_or_create_global_step()
        fed, images = build_input()
        signature = tf.saved_model.predict_signature_def(
            {fed.op.name: fed}, _predict(images, log_probabilities, names))
        with checkpoints.session(path, weights) as session:
          builder = tf.saved_model.Builder(place)
          builder.add_meta_graph_and_variables(
              session, ['serve'], {'serving_default': signature})
          builder.save()
