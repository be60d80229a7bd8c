"""Tests of the summaries that TensorBoard shows during training."""
import io

import numpy as np
from PIL import Image

from cifar10_lib.common.tf1 import tf
from cifar10_lib.reporting import summaries


class SummaryTest(tf.test.TestCase):

  def _shown(self, add):
    """Returns the summary values by tag, after `add()` has added summaries to the graph."""
    with tf.Graph().as_default(), tf.Session() as session:
      add()
      summary = tf.Summary.FromString(session.run(tf.summary.merge_all()))
      return {value.tag: value for value in summary.value}

  def _pixels(self, value):
    return np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)).convert('RGB'))

  def testScalarTagsIgnoreTheScope(self):
    def add():
      with tf.name_scope('train'):
        summaries.scalar('total_loss_1', tf.constant(3.0))
    shown = self._shown(add)
    self.assertEqual(list(shown), ['total_loss_1'])
    self.assertEqual(shown['total_loss_1'].simple_value, 3.0)

  def testFirstScalarsAreShownTwice(self):
    def add():
      summaries.scalar('accuracy', tf.constant(1.0))
      tf.summary.scalar('learning_rate', tf.constant(2.0))
      summaries.scalar('other', tf.constant(3.0))
      several = tf.raw_ops.ScalarSummary(tags=['total_loss_1', 'more'], values=[4.0, 5.0])
      tf.add_to_collection(tf.GraphKeys.SUMMARIES, several)
      tf.summary.image('images', tf.zeros([1, 4, 4, 3]))
      with tf.name_scope('train'):
        summaries.show_first()
    shown = self._shown(add)
    self.assertEqual({tag: value.simple_value for tag, value in shown.items()
                      if tag.startswith(summaries.FIRST)},
                     {'At a glance/accuracy': 1.0, 'At a glance/learning_rate': 2.0})

  def testHistogramsAcceptNonFiniteValues(self):
    shown = self._shown(lambda: summaries.histogram('x', tf.constant([np.nan, np.inf, 2.0])))
    self.assertEqual((shown['x'].histo.min, shown['x'].histo.max, shown['x'].histo.num), (0, 2, 3))

  def testFiltersAreDrawnAsTiles(self):
    weights = np.random.RandomState(0).normal(size=(5, 5, 3, 16)).astype(np.float32)
    weights[..., 3] = 0
    shown = self._shown(lambda: summaries.filters('conv1', tf.constant(weights)))
    pixels = self._pixels(shown['conv1/filters/image'])
    self.assertEqual(pixels.shape, (2 * 6 * 8, 8 * 6 * 8, 3))
    for number in range(16):
      row, column = divmod(number, 8)
      tile = pixels[48 * row:48 * row + 40:8, 48 * column:48 * column + 40:8]
      kernel = weights[..., number]
      expected = 127.5 + 127.5 * kernel / (abs(kernel).max() or 1)
      self.assertAllClose(tile, expected, atol=0.51)
    self.assertAllEqual(pixels[40:48], np.full((8, 384, 3), 255))  # a white gap between tiles

  def testMapsShowTheFirstPicture(self):
    x = np.random.RandomState(0).uniform(size=(20, 4, 4, 8)).astype(np.float32)
    x[x < 0.25] = 0
    shown = self._shown(lambda: summaries.activations('conv2', tf.constant(x)))
    self.assertEqual(set(shown), {'conv2/activations', 'conv2/sparsity', 'conv2/maps/image'})
    self.assertAllClose(shown['conv2/sparsity'].simple_value, np.mean(x[:16] == 0))
    self.assertEqual(shown['conv2/activations'].histo.num, 16 * 4 * 4 * 8)
    pixels = self._pixels(shown['conv2/maps/image'])
    self.assertEqual(pixels.shape, (10, 80, 3))
    for number in range(8):
      tile = pixels[:8:2, 10 * number:10 * number + 8:2, 0]
      self.assertAllClose(tile, 255 * x[0, :, :, number] / x[0].max(), atol=0.51)

  def testFullyConnectedLayerHasNoMaps(self):
    shown = self._shown(lambda: summaries.activations('local3', tf.ones([4, 6])))
    self.assertEqual(set(shown), {'local3/activations', 'local3/sparsity'})


if __name__ == '__main__':
  tf.test.main()
