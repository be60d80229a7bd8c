"""The loss of a batch, also for smoothed labels and for pictures that are mixtures of two."""
from cifar10_lib.common.tf1 import tf


def cross_entropy(logits, labels, label_smoothing=0.0):
  """Returns the cross entropy of each picture, and whether it is predicted right.

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
    goal = (1 - label_smoothing) * shares + label_smoothing / num_classes
    each = tf.nn.softmax_cross_entropy_with_logits(labels=goal, logits=logits)  # [B]
  else:
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
  return each, tf.equal(tf.argmax(logits, axis=1, output_type=classes.dtype), classes)
