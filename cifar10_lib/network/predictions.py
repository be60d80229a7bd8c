"""Turns the logits of a picture's views into the probabilities of its classes."""
import numpy as np

from cifar10_lib.common.tf1 import tf


def log_probabilities(logits, views=1):
  """Returns the logarithm of the mean probability of each class over the views of each picture.

  Logarithms, because a probability below 1e-45 is 0 in float32 and gives an infinite loss.

  Args:
    logits: float32 [views * B, K], view by view, in the order of `augmentation.evaluate`;
      K must be known.
    views: number of views of each picture.

  Returns:
    float32 [B, K].
  """
  with tf.name_scope('probabilities'):
    each = tf.nn.log_softmax(tf.reshape(logits, [views, -1, logits.shape[-1]]))  # [views, B, K]
    return tf.reduce_logsumexp(each, axis=0) - np.log(views).astype(np.float32)
