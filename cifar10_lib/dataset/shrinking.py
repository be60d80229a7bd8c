"""Shrinks people's own pictures to the size of the data set's, for conversion and for prediction.

Both programs use this one class, so that a network predicts from the pixels that it learned from.
"""
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import augmentation, records

SIZE = records.HEIGHT  # height and width of the data set's pictures, pixels


class Shrinker:
  """Runs `augmentation.shrink` in a graph of its own. Several threads may call one object."""

  def __init__(self):
    with tf.Graph().as_default() as graph:
      self._picture = tf.placeholder(tf.uint8, [None, None, 3])
      self._shrunk = augmentation.shrink(self._picture, SIZE)
    # TensorFlow has no kernel for it on GPUs; without this, the session would reserve their memory.
    self._session = tf.Session(graph=graph, config=tf.ConfigProto(device_count={'GPU': 0}))

  def __call__(self, picture):
    """Returns the largest central square of a picture, uint8 [H, W, 3], as uint8 [32, 32, 3]."""
    return self._session.run(self._shrunk, {self._picture: picture})
