"""Computes losses and probabilities from logits."""
import numpy as np

from cifar10_lib.common.tf1 import tf


def cross_entropy(logits, labels, label_smoothing=0.0):
  """Returns the cross entropy of each picture, and whether its class is predicted.

  Args:
    logits: float32 [B, K].
    labels: int32 [B], 0..K - 1; or float32 [B, K], each class's share of a picture.
    label_smoothing: probability mass spread evenly over all classes
      (https://arxiv.org/abs/1512.00567, section 7).

  Returns:
    float32 [B], and bool [B]. For a mixed picture the class with the largest share counts.
  """
  labels = tf.convert_to_tensor(labels)
  mixed = labels.dtype.is_floating
  classes = tf.argmax(labels, axis=1) if mixed else labels  # [B]
  if mixed or label_smoothing:
    num_classes = int(logits.shape[1])
    shares = labels if mixed else tf.one_hot(labels, num_classes)  # [B, K]
    targets = (1 - label_smoothing) * shares + label_smoothing / num_classes
    losses = tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits)  # [B]
  else:
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
  return losses, tf.equal(tf.argmax(logits, axis=1, output_type=classes.dtype), classes)


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
