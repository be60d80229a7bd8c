"""Tests of cifar10: the network, its loss and its update, compared with NumPy."""
import itertools
import os
import subprocess
import sys
from unittest import mock

import numpy as np
from absl.testing import flagsaver

import cifar10
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import cifar100, sample
from cifar10_lib.network import layers, precision
from cifar10_lib.training import checkpoints, recipes

ROOT = os.path.dirname(os.path.abspath(cifar10.__file__))

SHAPES = {
    'conv1/weights': [5, 5, 3, 64], 'conv1/biases': [64],
    'conv2/weights': [5, 5, 64, 64], 'conv2/biases': [64],
    'local3/weights': [2304, 384], 'local3/biases': [384],
    'local4/weights': [384, 192], 'local4/biases': [192],
    'softmax_linear/weights': [192, 10], 'softmax_linear/biases': [10]}

# Runs as in a notebook: the command line is Jupyter's, and the code sets the flags.
NOTEBOOK = '''
import sys
data_dir = sys.argv[1]
sys.argv = ['ipykernel_launcher.py', '-f', 'kernel.json', '--unknown=1']
import cifar10
from cifar10_lib.common.tf1 import tf
FLAGS = tf.app.flags.FLAGS
FLAGS.data_dir = data_dir
FLAGS.data_url = 'sample'
print(cifar10.maybe_download_and_extract())
images, labels = cifar10.distorted_inputs()
print(images.shape, labels.shape)
FLAGS.batch_size = 7
images, labels = cifar10.inputs(eval_data=True, num_epochs=1)
with tf.train.MonitoredTrainingSession() as session:
  print([len(session.run(labels)) for _ in range(6)])
'''


# The reference in NumPy.


def relu(x):
  return np.maximum(x, 0)


def windows(x, size, stride, before, after, fill):
  """Returns the windows, [B, H', W', C, size, size], of x, [B, H, W, C], padded with `fill`."""
  x = np.pad(x, [(0, 0), (before, after), (before, after), (0, 0)], constant_values=fill)
  view = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
  return view[:, ::stride, ::stride]


def conv(x, weights, biases):
  """Returns the 5x5 convolution of stride 1. SAME pads two zeros on each side."""
  return np.einsum('bhwcij,ijcf->bhwf', windows(x, 5, 1, 2, 2, 0.0), weights,
                   optimize=True) + biases


def pool(x):
  """Returns 3x3 max pooling of stride 2. For even sizes, SAME pads the end by one."""
  return windows(x, 3, 2, 0, 1, -np.inf).max(axis=(-1, -2))


def neighbour_sum(x):
  """Returns for each channel the sum over the channels at most 4 away."""
  count = x.shape[-1]
  sums = [x[..., max(0, c - 4):c + 5].sum(axis=-1) for c in range(count)]
  return np.stack(sums, axis=-1)


def norm(x):
  return x / (1 + 0.001 / 9 * neighbour_sum(x ** 2)) ** 0.75


def forward(images, values):
  """Returns logits [B, 10] of images [B, 24, 24, 3] for a dict of variables, in float64."""
  v = {name: value.astype(np.float64) for name, value in values.items()}
  x = relu(conv(images.astype(np.float64), v['conv1/weights'], v['conv1/biases']))
  x = norm(pool(x))
  x = relu(conv(x, v['conv2/weights'], v['conv2/biases']))
  x = pool(norm(x)).reshape(len(images), 2304)
  x = relu(x @ v['local3/weights'] + v['local3/biases'])
  x = relu(x @ v['local4/weights'] + v['local4/biases'])
  return x @ v['softmax_linear/weights'] + v['softmax_linear/biases']


def cross_entropy(logits, labels):
  logits = logits.astype(np.float64)
  logits = logits - logits.max(axis=1, keepdims=True)
  log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
  return -log_probabilities[np.arange(len(labels)), labels].mean()


def decay_loss(values):
  return 0.004 * sum((values[name].astype(np.float64) ** 2).sum() / 2
                     for name in ['local3/weights', 'local4/weights'])


def random_values(seed):
  """Returns random values of all variables by name; with them every layer affects the logits."""
  random = np.random.RandomState(seed)
  values = {}
  for name, shape in SHAPES.items():
    if name.endswith('biases'):
      values[name] = random.normal(0, 0.3, shape).astype(np.float32)
    else:
      # The large gain of conv1 makes the normalisation over channels matter.
      gain = {'conv1/weights': 8.0, 'softmax_linear/weights': 0.3}.get(name, 1.0)
      stddev = gain * np.sqrt(2 / np.prod(shape[:-1]))
      values[name] = random.normal(0, stddev, shape).astype(np.float32)
  return values


def load(session, values):
  """Assigns the values, a dict by name, to the variables of the graph."""
  for variable in tf.global_variables():
    if variable.op.name in values:
      variable.load(values[variable.op.name], session)


def random_pictures(count, seed=0):
  """Returns float32 [count, 24, 24, 3], each with mean 0 and variance 1."""
  pictures = np.random.RandomState(seed).uniform(0, 255, [count, 24, 24, 3])
  pictures -= pictures.mean(axis=(1, 2, 3), keepdims=True)
  return (pictures / pictures.std(axis=(1, 2, 3), keepdims=True)).astype(np.float32)


def tags_and_values(session, feed=None):
  """Runs all summaries; returns a dict from tag to value."""
  summary = tf.Summary.FromString(session.run(tf.summary.merge_all(), feed))
  return {value.tag: value for value in summary.value}


def plain_loss(images, labels):
  """Returns the loss in TensorFlow's plain ops, on the variables that `inference` created."""
  def variable(name):
    return next(v for v in tf.trainable_variables() if v.op.name == name)

  def layer(name, x, op):
    return tf.nn.bias_add(op(x, variable(name + '/weights')), variable(name + '/biases'))

  def conv2d(x, weights):
    return tf.nn.conv2d(x, weights, 1, 'SAME')
  x = tf.nn.max_pool2d(tf.nn.relu(layer('conv1', images, conv2d)), 3, 2, 'SAME')
  x = tf.nn.lrn(x, 4, bias=1.0, alpha=0.001 / 9.0, beta=0.75)
  x = tf.nn.lrn(tf.nn.relu(layer('conv2', x, conv2d)), 4, bias=1.0, alpha=0.001 / 9.0, beta=0.75)
  x = tf.reshape(tf.nn.max_pool2d(x, 3, 2, 'SAME'), [-1, 2304])
  x = tf.nn.relu(layer('local3', x, tf.matmul))
  x = layer('softmax_linear', tf.nn.relu(layer('local4', x, tf.matmul)), tf.matmul)
  decay = sum(tf.nn.l2_loss(variable(name + '/weights')) for name in ['local3', 'local4'])
  cross = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=x)
  return tf.reduce_mean(cross) + 0.004 * decay


class InferenceTest(tf.test.TestCase):

  def testVariablesAndTheirInitialValues(self):
    with tf.Graph().as_default():
      tf.set_random_seed(1)
      cifar10.inference(tf.zeros([2, 24, 24, 3]))
      variables = tf.trainable_variables()
      self.assertEqual({v.op.name: v.shape.as_list() for v in variables}, SHAPES)
      self.assertEqual(sum(np.prod(v.shape.as_list()) for v in variables), 1068298)
      self.assertEqual(tf.global_variables(), variables)
      self.assertEqual({v.dtype.base_dtype for v in variables}, {tf.float32})
      with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        values = {v.op.name: session.run(v) for v in variables}
    for name, bias in [('conv1', 0.0), ('conv2', 0.1), ('local3', 0.1), ('local4', 0.1),
                       ('softmax_linear', 0.0)]:
      self.assertAllEqual(values[name + '/biases'],
                          np.full(SHAPES[name + '/biases'], bias, np.float32))
    for name, stddev in [('conv1', 0.05), ('conv2', 0.05), ('local3', 0.04), ('local4', 0.04),
                         ('softmax_linear', 1 / 192)]:
      weights = values[name + '/weights']
      # Truncation at two standard deviations leaves 0.8796 of the standard deviation.
      self.assertAllClose(weights.std(), 0.8796 * stddev, rtol=0.05)
      self.assertAllClose(weights.mean(), 0.0, atol=0.1 * stddev)
      self.assertBetween(abs(weights).max(), 1.9 * stddev, 2.001 * stddev)

  def testLogitsMatchNumpy(self):
    images, values = random_pictures(4), random_values(1)
    expected = forward(images, values)
    self.assertBetween(expected.std(), 0.3, 30)  # else the tolerance of 1e-4 means little
    with tf.Graph().as_default(), tf.Session() as session:
      logits = cifar10.inference(tf.constant(images))
      load(session, values)
      self.assertAllClose(session.run(logits), expected, rtol=1e-4, atol=1e-4)

  def testLossAndGradientsMatchPlainOps(self):
    images, values = random_pictures(16, seed=5), random_values(4)
    labels = np.arange(16) % 10
    with tf.Graph().as_default(), tf.device('/cpu:0'), tf.Session() as session:
      fast = cifar10.loss(cifar10.inference(tf.constant(images)), tf.constant(labels, tf.int32))
      plain = plain_loss(tf.constant(images), tf.constant(labels, tf.int32))
      session.run(tf.global_variables_initializer())
      load(session, values)
      variables = tf.trainable_variables()
      self.assertAllClose(*session.run([fast, plain]), rtol=1e-5, atol=0)
      both = session.run([tf.gradients(loss, variables) for loss in [fast, plain]])
      for variable, actual, expected in zip(variables, *both, strict=True):
        error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
        self.assertLess(error, 1e-5, variable.op.name)

  def testAnyBatchSize(self):
    images, values = random_pictures(5), random_values(2)
    with tf.Graph().as_default(), tf.Session() as session:
      placeholder = tf.placeholder(tf.float32, [None, 24, 24, 3])
      logits = cifar10.inference(placeholder)
      self.assertEqual(logits.shape.as_list(), [None, 10])
      with tf.variable_scope('', reuse=True):
        self.assertEqual(cifar10.inference(tf.zeros([5, 24, 24, 3])).shape.as_list(), [5, 10])
      load(session, values)
      expected = session.run(logits, {placeholder: images})
      for i, j in [(0, 1), (1, 4), (0, 4)]:
        self.assertAllClose(session.run(logits, {placeholder: images[i:j]}), expected[i:j],
                            rtol=1e-4, atol=1e-4)

  def testGradientsOfReluAndPool(self):
    random = np.random.RandomState(11)
    z = random.normal(-1.3, 1, [2, 6, 6, 3]).astype(np.float32)
    biases = np.array([0.1, 0.0, -0.1], np.float32)
    dy = random.normal(size=[2, 3, 3, 3]).astype(np.float32)
    relu, dz = np.maximum(z + biases, 0), np.zeros_like(z)
    pooled = np.zeros_like(dy)
    for index in np.ndindex(*dy.shape):
      picture, row, column, channel = index
      window = relu[picture, 2 * row:2 * row + 3, 2 * column:2 * column + 3, channel]
      pooled[index] = window.max()
      if pooled[index] > 0:
        i, j = np.unravel_index(window.argmax(), window.shape)
        dz[picture, 2 * row + i, 2 * column + j, channel] += dy[index]
    self.assertBetween(np.mean(pooled == 0), 0.2, 0.8)  # some windows are zero, some are not
    with tf.Graph().as_default() as graph, tf.Session() as session:
      inputs = [tf.constant(z), tf.constant(biases)]
      ours = layers.max_pool(tf.nn.relu(tf.nn.bias_add(*inputs)), 'pool')
      gradients = tf.gradients(ours, inputs, tf.constant(dy))
      ours, gradients = session.run([ours, gradients])
      sizes = [op.inputs[0].shape.as_list() for op in graph.get_operations()
               if op.type in ('ReluGrad', 'BiasAddGrad')]
    self.assertAllClose(ours, pooled, rtol=1e-6)
    self.assertAllClose(gradients[0], dz, rtol=1e-6)
    self.assertAllClose(gradients[1], dz.sum(axis=(0, 1, 2)), rtol=1e-5)
    # Both gradients use the pooled values, a quarter of the pixels. This makes them fast.
    self.assertEqual(sizes, [list(dy.shape)] * 2)

  def testNormMatchesNumpyAndTensorFlow(self):
    for channels in [64, 12, 3]:
      x = np.random.RandomState(channels).normal(0, 60, [2, 3, 4, channels]).astype(np.float32)
      weights = np.random.RandomState(9).normal(0, 1, x.shape).astype(np.float32)
      x64, alpha = x.astype(np.float64), 0.001 / 9
      scale = 1 + alpha * neighbour_sum(x64 ** 2)
      if channels == 64:
        self.assertGreater(scale.mean(), 2)  # else the normalisation changes little
      # d/dx of sum(weights * x * scale ** -0.75), by hand.
      expected_gradient = weights * scale ** -0.75 - 2 * alpha * 0.75 * x64 * neighbour_sum(
          weights * x64 * scale ** -1.75)
      with tf.Graph().as_default(), tf.Session() as session:
        tensor = tf.constant(x)
        ours = layers.lrn(tensor, 4, bias=1.0, alpha=alpha, beta=0.75, name='norm')
        theirs = tf.nn.lrn(tensor, 4, bias=1.0, alpha=alpha, beta=0.75)
        gradients = [tf.gradients(tf.reduce_sum(y * weights), tensor)[0] for y in (ours, theirs)]
        ours, (ours_gradient, theirs_gradient) = session.run([ours, gradients])
      self.assertAllClose(ours, norm(x64), rtol=1e-5, atol=1e-30)
      largest = abs(expected_gradient).max()
      self.assertAllClose(ours_gradient, expected_gradient, rtol=1e-5, atol=1e-5 * largest)
      self.assertAllClose(ours_gradient, theirs_gradient, rtol=1e-5, atol=1e-5 * largest)


class LossTest(tf.test.TestCase):

  def testLossMatchesNumpy(self):
    values = random_values(3)
    with tf.Graph().as_default(), tf.Session() as session:
      logits = cifar10.inference(tf.zeros([6, 24, 24, 3]))
      labels = tf.placeholder(tf.int32, [None])
      total_loss = cifar10.loss(logits, labels)
      self.assertEqual(total_loss.shape, [])
      load(session, values)
      random = np.random.RandomState(4)
      for scale in [1, 30]:
        fed_logits, fed_labels = scale * random.normal(0, 1, [6, 10]), random.randint(0, 10, 6)
        self.assertAllClose(
            session.run(total_loss, {logits: fed_logits, labels: fed_labels}),
            cross_entropy(fed_logits, fed_labels) + decay_loss(values), rtol=1e-5)

  def testWeightDecayComesFromTheRecipe(self):
    values = random_values(3)
    with tf.Graph().as_default(), tf.Session() as session:
      recipe = cifar10.tutorial()._replace(weight_decay=0.5)
      logits = cifar10.inference(tf.zeros([2, 24, 24, 3]), recipe)
      total_loss = cifar10.loss(logits, tf.constant([1, 2]))
      load(session, values)
      self.assertAllClose(session.run(total_loss, {logits: np.zeros([2, 10])}),
                          np.log(10) + decay_loss(values) * 0.5 / 0.004, rtol=1e-5)

  def testEachTowerHasItsOwnLoss(self):
    values = random_values(3)
    with tf.Graph().as_default(), tf.Session() as session:
      towers = []
      for i in range(2):
        with tf.name_scope('tower_%d' % i) as scope, tf.variable_scope('', reuse=i > 0):
          logits = cifar10.inference(tf.zeros([3, 24, 24, 3]))
          towers.append((logits, cifar10.loss(logits, tf.constant([0, 5, 9]), scope)))
      self.assertEqual({v.op.name for v in tf.global_variables()}, set(SHAPES))
      load(session, values)
      fed = [np.random.RandomState(i).normal(0, 3, [3, 10]) for i in range(2)]
      losses = session.run([total_loss for _, total_loss in towers],
                           {logits: array for (logits, _), array in zip(towers, fed, strict=True)})
      self.assertAllClose(losses, [cross_entropy(array, [0, 5, 9]) + decay_loss(values)
                                   for array in fed], rtol=1e-5)

  def testInitialLoss(self):
    with tf.Graph().as_default(), tf.Session() as session:
      tf.set_random_seed(2)
      labels = np.random.RandomState(5).randint(0, 10, 32)
      total_loss = cifar10.loss(cifar10.inference(tf.constant(random_pictures(32))),
                                tf.constant(labels, tf.int32))
      session.run(tf.global_variables_initializer())
      # ln 10 + 0.004 / 2 * 958,464 weights * variance 0.7737 * 0.04 ** 2 (truncated normal).
      self.assertAllClose(session.run(total_loss), 4.676, atol=0.1)


class LearningRateTest(tf.test.TestCase):

  def rates(self, steps, *arguments):
    with tf.Graph().as_default(), tf.Session() as session:
      step = tf.placeholder(tf.int64, [])
      batch_size, num_examples, recipe = (*arguments, cifar10.tutorial())[:3]
      rate = recipes.learning_rate(step, batch_size, num_examples, recipe)
      self.assertEqual(rate.dtype, tf.float32)
      return [session.run(rate, {step: value}) for value in steps]

  def testStaircase(self):
    # 350 epochs of 50,000 pictures in batches of 128 are 136,718.75 steps.
    self.assertAllClose(
        self.rates([0, 1, 136717, 136718, 136719, 273435, 273436, 410154], 128, 50000),
        [0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.0001], rtol=1e-5, atol=0)

  def testCountsExamplesNotSteps(self):
    # Twice the pictures in a step, so half the steps.
    self.assertAllClose(self.rates([68358, 68359, 136717, 136718], 256, 50000),
                        [0.1, 0.01, 0.01, 0.001], rtol=1e-5, atol=0)
    # A fifth of the pictures in an epoch, so a fifth of the steps: 27,343.75.
    self.assertAllClose(self.rates([27342, 27343], 128, 10000), [0.1, 0.01], rtol=1e-5, atol=0)

  def testFewerPicturesThanABatch(self):
    recipe = cifar10.tutorial()._replace(epochs_per_decay=1.0)
    self.assertAllClose(self.rates([0], 128, 3, recipe), [0.1], rtol=1e-5, atol=0)

  def testRateFollowsTheRecipe(self):
    recipe = cifar10.tutorial()._replace(learning_rate=0.5, epochs_per_decay=3.0, decay_factor=0.25)
    self.assertAllClose(self.rates([29, 30, 59, 60], 10, 100, recipe),
                        [0.5, 0.125, 0.125, 0.03125], rtol=1e-5, atol=0)


class TrainTest(tf.test.TestCase):

  def build(self, batch_size):
    """Builds the whole graph on one batch; returns loss, step and train_op."""
    labels = tf.constant(np.arange(batch_size) % 10, tf.int32)
    logits = cifar10.inference(tf.constant(random_pictures(batch_size)))
    total_loss = cifar10.loss(logits, labels)
    step = tf.train.get_or_create_global_step()
    return total_loss, step, cifar10.train(total_loss, step)

  def testCheckpointHasTheTutorialsNames(self):
    with tf.Graph().as_default():
      self.build(2)
      names = {v.op.name: v.shape.as_list() for v in tf.global_variables()
               if not v.op.name.endswith('/avg')}
      expected = {**SHAPES, 'global_step': []}
      expected.update({name + '/ExponentialMovingAverage': shape for name, shape in SHAPES.items()})
      self.assertEqual(names, expected)
      self.assertEqual({v.op.name for v in tf.trainable_variables()}, set(SHAPES))
      averaged = checkpoints.saved_variables()
      self.assertEqual({name: averaged[name + '/ExponentialMovingAverage'].op.name
                        for name in SHAPES}, {name: name for name in SHAPES})

  def testOneStepFollowsTheGradient(self):
    with tf.Graph().as_default(), tf.Session() as session:
      total_loss, step, train_op = self.build(3)
      variables = {v.op.name: v for v in tf.trainable_variables()}
      averages = {v.op.name: v for v in tf.global_variables()}
      gradients = dict(zip(variables, tf.gradients(total_loss, list(variables.values())),
                           strict=True))
      session.run(tf.global_variables_initializer())
      before, derivatives, first_loss = session.run([variables, gradients, total_loss])
      session.run(train_op)
      after = session.run(variables)
      for name in SHAPES:
        expected = before[name] - 0.1 * derivatives[name]
        self.assertGreater(abs(expected - before[name]).max(), 1e-6, name)
        self.assertAllClose(after[name], expected, rtol=1e-5, atol=1e-6)
        # The average is 2/11 of the initial value and 9/11 of the updated value.
        average = session.run(averages[name + '/ExponentialMovingAverage'])
        self.assertAllClose(average, 2 / 11 * before[name] + 9 / 11 * expected,
                            rtol=1e-5, atol=1e-6)
      self.assertEqual(session.run(step), 1)
      self.assertLess(session.run(total_loss), first_loss)

  def testStepsMatchNumpy(self):
    # NumPy can train this loss: |w - target|^2 / 2 has the gradient w - target.
    start, target = np.array([3.0, -1.0, 0.5], np.float32), np.array([1.0, 2.0, -4.0], np.float32)
    for cap in [0.9999, 0.22]:  # 0.22 is less than (1 + n) / (10 + n) from n = 2 on
      recipe = cifar10.tutorial()._replace(
          learning_rate=0.5, epochs_per_decay=1.0, decay_factor=0.5, moving_average_decay=cap)
      with tf.Graph().as_default(), tf.Session() as session:
        w = tf.get_variable('w', initializer=start)
        total_loss = tf.nn.l2_loss(w - target, name='total_loss')
        step = tf.train.get_or_create_global_step()
        # An epoch has 8 pictures and a step 4, so the rate drops every 2 steps.
        train_op = cifar10.train(total_loss, step, batch_size=4, num_examples=8, recipe=recipe)
        average, = (v for v in tf.global_variables()
                    if v.op.name == 'w/ExponentialMovingAverage')
        session.run(tf.global_variables_initializer())
        value, mean, smooth = start.astype(np.float64), start.astype(np.float64), 0.0
        for n in range(1, 7):
          smooth = 0.9 * smooth + 0.1 * ((value - target) ** 2).sum() / 2
          value = value - 0.5 * 0.5 ** ((n - 1) // 2) * (value - target)
          decay = min(cap, (1 + n) / (10 + n))  # n includes this update
          mean = decay * mean + (1 - decay) * value
          session.run(train_op)
          self.assertEqual(session.run(step), n)
          self.assertAllClose(session.run(w), value, rtol=1e-5)
          self.assertAllClose(session.run(average), mean, rtol=1e-5)
          shown = {tag: value.simple_value for tag, value in tags_and_values(session).items()}
          self.assertAllClose(shown['total_loss_1'], smooth, rtol=1e-5)
          self.assertAllClose(shown['total_loss__raw_'], ((value - target) ** 2).sum() / 2,
                              rtol=1e-4)
          self.assertAllClose(shown['learning_rate'], 0.5 * 0.5 ** (n // 2), rtol=1e-6)

  def testSummariesHaveTheTutorialsTags(self):
    with tf.Graph().as_default(), tf.Session() as session:
      self.build(2)
      session.run(tf.global_variables_initializer())
      values = tags_and_values(session)
    scalars = {tag for tag, value in values.items() if value.HasField('simple_value')}
    histograms = {tag for tag, value in values.items() if value.HasField('histo')}
    layers = ['conv1', 'conv2', 'local3', 'local4', 'softmax_linear']
    self.assertContainsSubset(
        {'total_loss_1', 'total_loss__raw_', 'cross_entropy_1', 'cross_entropy__raw_',
         'learning_rate', *(layer + '/sparsity' for layer in layers)}, scalars)
    # These tags end in _1, because the variable itself has the name.
    self.assertContainsSubset(
        {*(layer + '/activations' for layer in layers), *(name + '_1' for name in SHAPES),
         *(name + '/gradients' for name in SHAPES)}, histograms)


class FastRecipeTest(tf.test.TestCase):

  def testTutorialRecipeIsUnchanged(self):
    recipe = cifar10.tutorial()
    self.assertEqual((recipe.learning_rate, recipe.epochs_per_decay, recipe.decay_factor,
                      recipe.weight_decay, recipe.moving_average_decay, recipe.momentum,
                      recipe.label_smoothing, recipe.augment, recipe.max_steps),
                     (0.1, 350.0, 0.1, 0.004, 0.9999, 0.0, 0.0, 'crop,flip,colour', 1000000))

  def testRateRisesThenFallsToZero(self):
    recipe = recipes.fast(50)._replace(learning_rate=0.5, warmup_steps=0.2 * 50)
    with tf.Graph().as_default(), tf.Session() as session:
      step = tf.placeholder(tf.int64, [])
      rate = recipes.learning_rate(step, 128, 50000, recipe)
      rates = [session.run(rate, {step: n}) for n in range(52)]
    # The rate rises for 10 steps and falls for 40. After the last step it is zero.
    expected = ([0.05 * (n + 1) for n in range(10)] + [0.5 * (50 - n) / 40 for n in range(10, 51)]
                + [0.0])
    self.assertAllClose(rates, expected, rtol=1e-5)

  def testRateOfTheShortestRuns(self):
    for max_steps, expected in [(1, [0.5, 0.0]), (2, [0.5, 0.5, 0.0]),
                                (8, [0.125, 0.25, 0.375, 0.5, 0.5, 0.375, 0.25, 0.125, 0.0])]:
      with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int64, [])
        recipe = recipes.fast(max_steps)._replace(
            learning_rate=0.5, warmup_steps=max(1.0, 0.5 * max_steps))
        rate = recipes.learning_rate(step, 128, 50000, recipe)
        self.assertAllClose([session.run(rate, {step: n}) for n in range(len(expected))], expected,
                            rtol=1e-5)

  def testMovingAverageDecayFollowsTheNumberOfSteps(self):
    for max_steps, decay in (4000, 0.995), (400, 0.95), (10, 0.0):
      self.assertAlmostEqual(recipes.fast(max_steps).moving_average_decay, decay)
    self.assertEqual(cifar10.tutorial(4000).moving_average_decay, 0.9999)

  def testLabelSmoothingMatchesNumpy(self):
    random = np.random.RandomState(0)
    logits, labels = random.normal(size=[6, 10]).astype(np.float32), np.arange(6) % 10
    with tf.Graph().as_default(), tf.Session() as session:
      actual = session.run(cifar10.loss(tf.constant(logits), tf.constant(labels, tf.int32),
                                        label_smoothing=0.3))
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -np.mean(0.7 * log[np.arange(6), labels] + 0.03 * log.sum(axis=1))
    self.assertAllClose(actual, expected, rtol=1e-5)

  def testLabelsMayBeClassProbabilities(self):
    """Mixup gives such labels: the loss of each class is weighted by its probability."""
    random = np.random.RandomState(0)
    logits = random.normal(size=[6, 10]).astype(np.float32)
    shares = random.dirichlet(np.full(10, 0.3), size=6).astype(np.float32)
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    for smoothing in 0.0, 0.3:
      with tf.Graph().as_default(), tf.Session() as session:
        loss = cifar10.loss(tf.constant(logits), tf.constant(shares), label_smoothing=smoothing)
        actual, accuracy = session.run([loss, cifar10.accuracy()])
      goal = (1 - smoothing) * shares + smoothing / 10
      self.assertAllClose(actual, -np.mean((goal * log).sum(axis=1)), rtol=1e-5)
      self.assertAllClose(accuracy, np.mean(logits.argmax(axis=1) == shares.argmax(axis=1)))

  def testNesterovMatchesNumpy(self):
    """Minimises (w - 3)^2 / 2 as in https://proceedings.mlr.press/v28/sutskever13.html."""
    recipe = recipes.fast(20)._replace(learning_rate=0.1, warmup_steps=0.0, momentum=0.8,
                                       muon_rate=0.0)
    with tf.Graph().as_default(), tf.Session() as session:
      step = tf.train.get_or_create_global_step()
      w = tf.get_variable('w', initializer=1.0)
      loss = tf.identity(tf.square(w - 3) / 2, name='total_loss')
      train_op = cifar10.train(loss, step, recipe=recipe)
      session.run(tf.global_variables_initializer())
      value, velocity = 1.0, 0.0
      for n in range(5):
        gradient, rate = value - 3, 0.1 * min(1, (20 - n) / 19)
        velocity = 0.8 * velocity + gradient
        value -= rate * (gradient + 0.8 * velocity)
        session.run(train_op)
        self.assertAllClose(session.run(w), value, rtol=1e-5)

  def testMuonDecaysTheWeights(self):
    """With a zero gradient, a step applies only the decay."""
    recipe = recipes.fast()._replace(muon_rate=0.5, warmup_steps=0.0, muon_decay=0.1)
    with tf.Graph().as_default(), tf.Session() as session:
      step = tf.train.get_or_create_global_step()
      weights = tf.get_variable('layer/weights', initializer=tf.ones([3, 2]))
      loss = tf.reduce_sum(0 * weights, name='total_loss')
      train_op = cifar10.train(loss, step, recipe=recipe)
      session.run(tf.global_variables_initializer())
      session.run(train_op)
      self.assertAllClose(1 - session.run(weights), np.full([3, 2], 0.05), rtol=1e-4)

  def testFastRecipeDependsOnTheNumberOfSteps(self):
    for max_steps, muon_rate, muon_decay, augment, weight_decay, mixup in [
        (1, 0.02, 0.1, 'crop:4..1,flip', 0.002, 0.0),
        (3000, 0.02, 0.1, 'crop:4..1,flip', 0.002, 0.0),
        (9999, 0.01095500, 0.06694556, 'crop:4..1,flip', 0.002, 0.0),
        (10000, 0.01095445, 0.06694330, 'crop:4,flip', 0.0, 0.0),
        (12000, 0.01, 0.06299605, 'crop:4,flip', 0.0, 0.0),
        (24000, 0.00707107, 0.05, 'crop:4,flip', 0.0, 0.0),
        (39999, 0.00547730, 0.04217198, 'crop:4,flip', 0.0, 0.0),
        (40000, 0.00547723, 0.04217163, 'crop:4,flip', 0.0, 0.2),
        (192000, 0.0025, 0.025, 'crop:4,flip', 0.0, 0.2)]:
      recipe = recipes.fast(max_steps)
      self.assertAllClose((recipe.muon_rate, recipe.muon_decay), (muon_rate, muon_decay), rtol=1e-5)
      self.assertEqual((recipe.augment, recipe.weight_decay, recipe.mixup, recipe.max_steps),
                       (augment, weight_decay, mixup, max_steps))
      self.assertEqual(recipe.learning_rate, recipes.fast().learning_rate)
    self.assertEqual(cifar10.tutorial(60000), cifar10.tutorial()._replace(max_steps=60000))

  def testMuonUpdatesTheWeightsOfAllLayersButTheLast(self):
    """The other updates have a negligible learning rate, so a large change is an update by Muon."""
    recipe = recipes.fast()._replace(learning_rate=1e-12, muon_rate=0.1, muon_decay=0.0,
                                     warmup_steps=0.0, muon_every=2)
    with tf.Graph().as_default(), tf.Session() as session:
      step = tf.train.get_or_create_global_step()
      images = tf.random.normal([4, 24, 24, 3], seed=1)
      loss = cifar10.loss(cifar10.inference(images, recipe), tf.constant([1, 2, 3, 4]))
      train_op = cifar10.train(loss, step, recipe=recipe)
      session.run(tf.global_variables_initializer())
      variables = {variable.op.name: variable for variable in tf.trainable_variables()}
      values = [session.run(variables)]
      for _ in range(3):
        session.run(train_op)
        values.append(session.run(variables))
    updated = [{name for name in variables if np.linalg.norm(after[name] - before[name]) > 0.01}
               for before, after in itertools.pairwise(values)]
    others = {'conv1/weights', 'conv2/weights', 'local4/weights'}
    # local3/weights take the longest, so Muon updates them only in every second step.
    self.assertEqual(updated, [{'local3/weights', *others}, others, {'local3/weights', *others}])


class FlagsTest(tf.test.TestCase):

  def testModuleWorksInANotebook(self):
    data_dir = os.path.join(self.get_temp_dir(), 'data')
    # 42 test pictures, because drawing the default 2,000 takes longer.
    sample.make_sample(data_dir, train_examples=100, test_examples=42)
    # This process has set the log level on import. A notebook starts without it.
    env = {name: value for name, value in os.environ.items() if name != 'TF_CPP_MIN_LOG_LEVEL'}
    result = subprocess.run(
        [sys.executable, '-c', NOTEBOOK, data_dir], capture_output=True, text=True, timeout=120,
        env=dict(env, PYTHONPATH=ROOT), check=False)
    self.assertEqual((result.returncode, result.stderr), (0, ''))
    directory = os.path.join(data_dir, 'cifar-10-batches-bin')
    warning, *rest = result.stdout.splitlines()
    self.assertIn('SAMPLE', warning)
    self.assertEqual(rest, [directory, '(128, 24, 24, 3) (128,)', '[7, 7, 7, 7, 7, 7]'])

  def testFlagsOfCifar100(self):
    mirror = 'http://a/cifar-100-binary.tar.gz'
    for url, labels in ('cifar100', 'fine'), (mirror, 'fine'), ('cifar100', 'coarse'):
      with flagsaver.flagsaver(data_url=url, labels=labels, data_dir='here', data_max_bytes=7), \
           mock.patch.object(cifar100, 'maybe_download_and_extract', return_value='there') as fetch:
        self.assertEqual(cifar10.maybe_download_and_extract(), 'there')
        fetch.assert_called_once_with('here', url, None, labels, 7)

  def testDefaultsOfTheFlags(self):
    flags = tf.app.flags.FLAGS
    defaults = {name: flags[name].default for name in ['batch_size', 'data_dir', 'use_fp16']}
    self.assertEqual(defaults,
                     {'batch_size': 128, 'data_dir': '/tmp/cifar10_data', 'use_fp16': False})


class SixteenBitTest(tf.test.TestCase):

  def choose(self, use_fp16=True, gpus=(), cpuinfo=''):
    opened = (mock.Mock(side_effect=FileNotFoundError) if cpuinfo is None
              else mock.mock_open(read_data=cpuinfo))
    with mock.patch.object(tf.config, 'list_physical_devices', return_value=list(gpus)), \
         mock.patch('builtins.open', opened):
      return precision.compute_dtype(use_fp16)

  def testComputeDtype(self):
    able = 'processor : 0\nflags\t\t: fpu avx512f avx512_bf16 avx512_fp16\n'
    self.assertEqual(self.choose(use_fp16=False, gpus=['GPU:0'], cpuinfo=able), 'float32')
    self.assertEqual(self.choose(gpus=['GPU:0']), 'float16')
    self.assertEqual(self.choose(cpuinfo=able), 'bfloat16')
    self.assertEqual(self.choose(cpuinfo='flags : fpu amx_tile amx_bf16'), 'bfloat16')
    self.assertEqual(self.choose(cpuinfo='flags : fpu avx2 avx512f avx512_bitalg'), 'float32')
    self.assertEqual(self.choose(cpuinfo=''), 'float32')
    self.assertEqual(self.choose(cpuinfo=None), 'float32')  # no such file

  def testSessionConfig(self):
    for dtype, rewrites in [('float32', False), ('float16', False), ('bfloat16', True)]:
      config = precision.session_config(dtype)
      rewriter = config.graph_options.rewrite_options
      self.assertEqual(rewriter.auto_mixed_precision_onednn_bfloat16 == rewriter.ON, rewrites)
      self.assertTrue(config.allow_soft_placement)
      self.assertTrue(config.gpu_options.allow_growth)
      self.assertFalse(config.log_device_placement)
    self.assertTrue(precision.session_config(log_device_placement=True).log_device_placement)

  def testAtLeastTwoOpsRunAtOnce(self):
    """At least two ops run at once. With one, the ops of a step would wait for the input."""
    for cores, ops in [(None, 2), (1, 2), (2, 2), (4, 2), (16, 8)]:
      with mock.patch.object(os, 'cpu_count', return_value=cores):
        self.assertEqual(precision.session_config().inter_op_parallelism_threads, ops)


if __name__ == '__main__':
  tf.test.main()
