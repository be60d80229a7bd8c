"""Tests of probabilities, compared with NumPy."""
import numpy as np

from cifar10_lib.common.tf1 import tf
from cifar10_lib.network import probabilities


class ProbabilitiesTest(tf.test.TestCase):

  def _log_probabilities(self, logits, views):
    with tf.Graph().as_default(), tf.Session() as session:
      fed = tf.placeholder(tf.float32, [None, logits.shape[1]])
      return session.run(probabilities.log_probabilities(fed, views), {fed: logits})

  def testProbabilitiesAreTheMeanOverViews(self):
    logits = np.random.RandomState(0).normal(size=(3 * 4, 7))  # 3 views of 4 pictures, 7 classes
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.log(softmax.reshape(3, 4, 7).mean(axis=0))
    self.assertAllClose(self._log_probabilities(logits, 3), expected)

  def testSmallProbabilitiesAreFinite(self):
    self.assertAllClose(self._log_probabilities(np.float32([[0, 500]]), 1), [[-500, 0]])


if __name__ == '__main__':
  tf.test.main()
