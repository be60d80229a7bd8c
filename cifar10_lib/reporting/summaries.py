"""What TensorBoard shows of the network while it trains: how values spread, and what filters see.

Every function adds summaries to the graph. `name` is the name of a layer.
"""
from cifar10_lib.common.tf1 import tf

# The group of tags that TensorBoard opens first, because its name sorts before all others. It opens
# two groups in each tab and orders them by character code: digits, capitals, small letters.
FIRST = 'At a glance/'
FIRST_TAGS = ('accuracy', 'learning_rate', 'total_loss_1')  # of training, to show there too
SCOPE = 'summaries/'  # of ops that serve summaries alone; the slash enters it again from anywhere
PICTURES = 16  # of a batch, in histograms of activations; 590,000 values in the first layer
COLUMNS = 8  # of a grid of tiles
RGB = 3  # channels of a picture
FILTER_ZOOM = 8  # pixels a weight: 8 x 8 filters of 5 x 5 are 384 pixels wide
MAP_ZOOM = 2  # pixels a value: 8 x 8 maps of 24 x 24 are 400 wide


def scalar(tag, value):
  """Shows a number under exactly this tag, whatever the name scope: the graph folds as it likes."""
  with tf.name_scope(SCOPE):
    summary = tf.raw_ops.ScalarSummary(tags=tag, values=value)
  tf.add_to_collection(tf.GraphKeys.SUMMARIES, summary)


def show_first():
  """Shows the scalars of FIRST_TAGS that the graph has a second time, in the group FIRST.

  Call it when the graph is complete. Their own tags stay, because old runs have them.
  """
  for summary in tf.get_collection(tf.GraphKeys.SUMMARIES):
    if summary.op.type == 'ScalarSummary':
      tags, value = summary.op.inputs
      for tag in FIRST_TAGS:
        if tags.shape.rank == 0 and tf.get_static_value(tags) == tag.encode():
          scalar(FIRST + tag, value)


def histogram(name, values):
  """Shows how values are spread; NaN and infinity as 0.

  A histogram of NaN is an error, which would come before the one that names the step of it.
  """
  with tf.name_scope(SCOPE):
    finite = tf.where_v2(tf.is_finite(values), values, 0.0)
  tf.summary.histogram(name, finite)


def _grid(name, tiles, zoom):
  """Shows tiles, float32 [N, H, W, C] of 0..1, eight in a row, as one enlarged image.

  N is known. White tiles complete the last row.
  """
  count = int(tiles.shape[0])
  rows = -(-count // COLUMNS)
  # White lines of one pixel separate the tiles.
  tiles = tf.pad(tiles, [[0, rows * COLUMNS - count], [0, 1], [0, 1], [0, 0]], constant_values=1.0)
  _, height, width, depth = tiles.shape.as_list()
  tiles = tf.reshape(tiles, [rows, COLUMNS, height, width, depth])
  tiles = tf.transpose(tiles, [0, 2, 1, 3, 4])
  image = tf.reshape(tiles, [1, rows * height, COLUMNS * width, depth])
  image = tf.image.resize_nearest_neighbor(image, [zoom * side for side in image.shape[1:3]])
  finite = tf.where_v2(tf.is_finite(image), image, 0.0)
  tf.summary.image(name, tf.saturate_cast(tf.round(255 * finite), tf.uint8), max_outputs=1)


def filters(name, weights):
  """Shows the filters of a first layer, float32 [H, W, 3, N].

  Grey is 0. Each filter is scaled by its own largest weight.
  """
  each = tf.transpose(weights, [3, 0, 1, 2])  # [N, H, W, 3]
  largest = tf.reduce_max(tf.abs(each), axis=[1, 2, 3], keepdims=True)
  with tf.name_scope(name + '/'):
    _grid('filters', 0.5 + 0.5 * tf.div_no_nan(each, largest), FILTER_ZOOM)


def activations(name, x):
  """Shows the values after a layer: a histogram, the share of zeros, and maps of one picture.

  `x` is float32 [B, N], which has no maps, or [B, H, W, N]. Only the first few pictures count: one
  thread makes a histogram, and millions of values take 22 MiB more at the peak.
  """
  shown = x[:PICTURES]
  with tf.name_scope(name + '/'):
    histogram('activations', shown)
    # As tf.nn.zero_fraction, which takes twice the ops and a condition, for counts beyond 2^31.
    tf.summary.scalar('sparsity', tf.reduce_mean(tf.cast(tf.equal(shown, 0), tf.float32)))
    if len(x.shape) == 4:
      first = tf.transpose(x[0], [2, 0, 1])[..., tf.newaxis]  # [N, H, W, 1]
      _grid('maps', tf.div_no_nan(first, tf.reduce_max(first)), MAP_ZOOM)


def layer(scope, x, weights=None):
  """Shows a layer's values `x`, and the filters of a first convolution; returns `x`.

  With several towers, the first is shown, under the name of the layer.

  Args:
    scope: the tf.VariableScope of the layer.
    x: float32 [B, N] or [B, H, W, N].
    weights: float32 [H, W, C, N] of a convolution, or None.
  """
  if not scope.reuse:
    activations(scope.name, x)
    if weights is not None and weights.shape[2] == RGB:
      filters(scope.name, weights)
  return x


def average_losses(total_loss):
  """Shows `total_loss` and the collection 'losses', smoothed over about ten steps, float32 scalars.

  Returns the op that updates the averages. The tags are those that the tutorial's graph gave.
  """
  losses = tf.get_collection('losses') + [total_loss]
  averages = tf.train.ExponentialMovingAverage(0.9, name='avg')
  averages_op = averages.apply(losses)
  for loss in losses:
    tag = loss.op.name.removeprefix('loss/')
    scalar(tag + '__raw_', loss)
    scalar(tag + '_1', averages.average(loss))
  return averages_op
