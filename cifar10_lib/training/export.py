"""Exports the network as a SavedModel, which other programs use without this project."""
import contextlib
import os
import shutil

from cifar10_lib.common import programs
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import reason, tf
from cifar10_lib.dataset import augmentation, records
from cifar10_lib.training import checkpoints

SIZE = records.HEIGHT  # height and width of the network's pictures, pixels
UNFINISHED = 'export.unfinished'  # directory in that of the model, while it is written
MODEL = 'saved_model.pb'  # makes a directory a SavedModel
OURS = {UNFINISHED, MODEL, 'variables'}  # what an export that was killed may leave


def _signature(inputs, log_probabilities, names):
  """Returns a signature of the SavedModel; `inputs` is a dict of one name to the placeholder."""
  likeliest, classes = tf.math.top_k(log_probabilities, len(names))  # [N, K]
  return tf.saved_model.predict_signature_def(
      inputs, {'names': tf.gather(tf.constant(names), classes), 'probabilities': tf.exp(likeliest)})


def _decode(content):
  """Decodes the bytes of an image file, string [], to uint8 [SIZE, SIZE, 3]."""
  picture = tf.io.decode_image(content, channels=3, expand_animations=False)
  picture.set_shape([None, None, 3])
  return augmentation.shrink(picture, SIZE)


def _remove(directory):
  """Removes what an export has left that did not end."""
  shutil.rmtree(os.path.join(directory, UNFINISHED), ignore_errors=True)
  shutil.rmtree(os.path.join(directory, 'variables'), ignore_errors=True)
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


def export(path, directory, log_probabilities, names, weights='ema'):
  """Writes a SavedModel: the network with a checkpoint's weights, and the decoding of files.

  It has two signatures. 'serving_default' takes `images`, uint8 [N, 32, 32, 3]. 'encoded' takes
  `encoded`, string [N], the bytes of PNG, JPEG, BMP or GIF files. N is at least 1. Both return
  `names`, string [N, K], the likeliest class first, and their `probabilities`, float32 [N, K].
  TensorFlow's decoders ignore EXIF and transparency; `picture_files.read` handles both.

  Args:
    path: path of the checkpoint, without '.index'.
    directory: where to write; new, empty, or left by an export that did not end.
    log_probabilities: function that builds the network: from pictures, uint8 [N, 32, 32, 3], to
      float32 [N, K].
    names: list of str [K], the classes by label.
    weights: as for `checkpoints.saved_variables`.

  Raises:
    Failure: the directory is not empty or cannot be written, or the checkpoint does not fit the
      network.
  """
  with _filling(directory) as unfinished, tf.Graph().as_default():
    tf.train.get_or_create_global_step()
    images = tf.placeholder(tf.uint8, [None, SIZE, SIZE, 3], 'images')
    encoded = tf.placeholder(tf.string, [None], 'encoded')
    signatures = {'serving_default': _signature(
        {'images': images}, log_probabilities(images), names)}
    with tf.variable_scope(tf.get_variable_scope(), reuse=True):
      decoded = tf.map_fn(_decode, encoded, tf.uint8)
      signatures['encoded'] = _signature({'encoded': encoded}, log_probabilities(decoded), names)
    with checkpoints.session(path, weights) as session:
      builder = tf.saved_model.Builder(unfinished)
      builder.add_meta_graph_and_variables(session, ['serve'], signatures)
      builder.save()
