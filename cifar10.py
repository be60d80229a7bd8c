"""The CIFAR-10 network, its loss, and one step of training.

Summary of available functions:

  # Fetch the data set if it is missing, and read it in batches.
  maybe_download_and_extract()
  images, labels = distorted_inputs()

  # Compute the logits of a batch, and their loss.
  logits = inference(images)
  total_loss = loss(logits, labels)

  # Update the variables once.
  train_op = train(total_loss, global_step)
"""
import numpy as np
from absl import flags

import cifar10_input
from cifar10_lib.common import programs
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import download, sample
from cifar10_lib.network import layers, probabilities
from cifar10_lib.reporting import summaries
from cifar10_lib.training import recipes

IMAGE_SIZE = cifar10_input.IMAGE_SIZE
NUM_CLASSES = cifar10_input.NUM_CLASSES
NUM_EXAMPLES_PER_EPOCH_FOR_TRAIN = cifar10_input.NUM_EXAMPLES_PER_EPOCH_FOR_TRAIN
NUM_EXAMPLES_PER_EPOCH_FOR_EVAL = cifar10_input.NUM_EXAMPLES_PER_EPOCH_FOR_EVAL
BATCH_SIZE = 128  # pictures

# How the tutorial trains. Rate and decay are those of cuda-convnet's layers-conv-local-11pct.
INITIAL_LEARNING_RATE = 0.1
NUM_EPOCHS_PER_DECAY = 350.0  # epochs from one drop of the rate to the next
LEARNING_RATE_DECAY_FACTOR = 0.1  # factor of each drop
WEIGHT_DECAY = 0.004  # times l2_loss of the weights of local3 and local4
MOVING_AVERAGE_DECAY = 0.9999  # per step: averages over about the last 10,000 steps
MAX_STEPS = 1000000
TOWER_NAME = 'tower'  # prefix of the names of a GPU's ops

FLAGS = flags.FLAGS
flags.DEFINE_integer('batch_size', BATCH_SIZE, 'Pictures in a batch.', lower_bound=1,
                     upper_bound=1 << 16)
flags.DEFINE_string('data_dir', '/tmp/cifar10_data',
                    'Directory of the data set; filled when it holds none.')
flags.DEFINE_boolean('use_fp16', False,
                     'Compute in 16 bits where the device is faster so (float16 on GPUs, bfloat16 '
                     'on CPUs that have it); weights stay float32.')
flags.DEFINE_integer('validation_examples', 0, 'Training pictures to hold out for validation: a '
                     'fifth of them at the end of each training file.', lower_bound=0,
                     upper_bound=10**9)
flags.DEFINE_string('data_url', download.DATA_URL,
                    'Where to fetch the data set: an https, http or file URL of '
                    'cifar-10-binary.tar.gz, or "sample" to draw a small data set of ten shapes, '
                    'without a network.')
flags.DEFINE_string('data_sha256', None,
                    'Expected SHA-256 of the archive; if not given, that of the official archive.')
flags.DEFINE_integer('data_max_bytes', download.MAX_BYTES, 'Largest archive to download, bytes.',
                     lower_bound=1, upper_bound=1 << 50)


def tutorial(max_steps=MAX_STEPS):
  """Returns the tutorial's recipe, made of the constants above."""
  return recipes.Recipe(
      max_steps, learning_rate=INITIAL_LEARNING_RATE, epochs_per_decay=NUM_EPOCHS_PER_DECAY,
      decay_factor=LEARNING_RATE_DECAY_FACTOR, weight_decay=WEIGHT_DECAY,
      moving_average_decay=MOVING_AVERAGE_DECAY, augment='crop,flip,colour')


RECIPES = {'tutorial': tutorial, 'fast': recipes.fast}  # functions of the number of steps


# Data. As in the tutorial, these functions read the flags. A batch is a pair of images, float32
# [B, IMAGE_SIZE, IMAGE_SIZE, 3], and labels, int32 [B].


def maybe_download_and_extract():
  """Makes sure that --data_dir holds a sound data set; fetches --data_url if it holds none.

  Returns the path of the directory with the eight files. Raises Failure if the data set cannot be
  fetched, or if what is there is not sound.
  """
  options = programs.parsed(FLAGS)
  if options.data_url == 'sample':
    directory = sample.make_sample(options.data_dir)
  else:
    directory = download.maybe_download_and_extract(
        options.data_dir, options.data_url, options.data_sha256, options.data_max_bytes)
  if sample.is_sample(directory):
    print('%s holds the SAMPLE data set of drawn shapes, not CIFAR-10.' % directory)
  return directory


def distorted_inputs(**settings):
  """Builds training batches: `cifar10_input.distorted_inputs` of --data_dir and --batch_size."""
  options = programs.parsed(FLAGS)
  return cifar10_input.distorted_inputs(options.data_dir, options.batch_size, **settings)


def inputs(eval_data, **settings):
  """Builds evaluation batches: `cifar10_input.inputs` of --data_dir and --batch_size."""
  options = programs.parsed(FLAGS)
  return cifar10_input.inputs(eval_data, options.data_dir, options.batch_size, **settings)


# The network.


def _weights(shape, stddev, weight_decay=None):
  """Returns the value of the variable `weights`; its decay, if any, joins the collection 'losses'.

  It is read once a step: with the variable on another machine, each reading is a transfer.
  """
  weights = tf.convert_to_tensor(tf.get_variable(
      'weights', shape, initializer=tf.truncated_normal_initializer(stddev=stddev)))
  if weight_decay is not None:
    decay = tf.multiply(weight_decay, tf.nn.l2_loss(weights), name='weight_loss')
    tf.add_to_collection('losses', decay)
  return weights


def _biases(count, value):
  return tf.get_variable('biases', [count], initializer=tf.constant_initializer(value))


def _conv(name, x, filters, bias, dtype):
  """Convolves with 5x5 kernels and rectifies: [B, H, W, C] to [B, H, W, filters]."""
  with tf.variable_scope(name) as scope:
    weights = _weights([5, 5, x.shape[-1], filters], stddev=5e-2)
    x = layers.conv2d(x, weights, dtype)  # as tf.nn.conv2d(x, weights, 1, 'SAME')
    x = tf.nn.bias_add(x, _biases(filters, bias))
    x = tf.nn.relu(x, name=scope.name)
    return summaries.layer(scope, x, weights)


def _dense(name, x, units, stddev, bias, weight_decay=None, activation=tf.nn.relu):
  """Connects every input with every unit: [B, N] to [B, units]."""
  with tf.variable_scope(name) as scope:
    weights = _weights([x.shape[-1], units], stddev, weight_decay)
    x = tf.nn.bias_add(tf.matmul(x, weights), _biases(units, bias))
    x = activation(x, name=scope.name)
    return summaries.layer(scope, x)


def inference(images, recipe=None, dtype='float32', num_classes=NUM_CLASSES):
  """Builds the network.

  Args:
    images: float32 [B, IMAGE_SIZE, IMAGE_SIZE, 3], standardised; B may be unknown, not 0 (oneDNN
      gives an empty batch a wrong shape).
    recipe: a Recipe, for its weight decay; the tutorial's if not given.
    dtype: what the session computes in, as `precision.compute_dtype` returns it.
    num_classes: number of classes K, which is that of `cifar10_input.class_names`.

  Returns:
    Logits, float32 [B, K]; the loss scales them to probabilities.
  """
  decay = (recipe or tutorial()).weight_decay
  # layers.* compute what tf.nn.conv2d, max_pool2d and lrn do, faster where they can.
  x = _conv('conv1', images, 64, bias=0.0, dtype=dtype)  # [B, 24, 24, 64]
  x = layers.max_pool(x, name='pool1')  # [B, 12, 12, 64]
  x = layers.lrn(x, 4, bias=1.0, alpha=0.001 / 9.0, beta=0.75, name='norm1')
  x = _conv('conv2', x, 64, bias=0.1, dtype=dtype)  # [B, 12, 12, 64]
  x = layers.lrn(x, 4, bias=1.0, alpha=0.001 / 9.0, beta=0.75, name='norm2')
  x = layers.max_pool(x, name='pool2')  # [B, 6, 6, 64]
  x = tf.reshape(x, [-1, np.prod(x.shape[1:].as_list())], 'flatten')  # [B, 2304]
  # "local" after cuda-convnet's locally connected layers, which these dense layers replace.
  x = _dense('local3', x, 384, stddev=0.04, bias=0.1, weight_decay=decay)
  x = _dense('local4', x, 192, stddev=0.04, bias=0.1, weight_decay=decay)
  return _dense('softmax_linear', x, num_classes, stddev=1 / 192.0, bias=0.0,
                activation=tf.identity)


# Loss and update.

ACCURACY = 'accuracy'  # collection: the share predicted right, of each tower's batch


def loss(logits, labels, scope=None, label_smoothing=0.0):
  """Adds mean cross entropy and weight decay; collects the batch's accuracy for `accuracy`.

  Args:
    logits: float32 [B, K].
    labels: int32 [B], 0..K - 1; or float32 [B, K], each class's share of a mixed picture.
    scope: name scope whose losses to add (a tower's); None for all.
    label_smoothing: probability mass spread evenly over all classes.

  Returns:
    float32 scalar.
  """
  with tf.name_scope('loss'):
    losses, right = probabilities.cross_entropy(logits, labels, label_smoothing)  # [B] each
    tf.add_to_collection(ACCURACY, tf.reduce_mean(tf.cast(right, tf.float32)))
    cross_entropy = tf.reduce_mean(losses, name='cross_entropy')
    tf.add_to_collection('losses', cross_entropy)
    return tf.add_n(tf.get_collection('losses', scope), name='total_loss')


def accuracy():
  """Returns and shows the share of a step's pictures that are predicted right, float32 scalar.

  It is lower than what evaluation gives: these pictures are distorted. For a mixed
  picture, the class with the larger share is right.
  """
  with tf.name_scope('accuracy'):
    share = tf.reduce_mean(tf.stack(tf.get_collection(ACCURACY)))
    summaries.scalar('accuracy', share)
    return share


def train(total_loss, global_step, batch_size=BATCH_SIZE,
          num_examples=NUM_EXAMPLES_PER_EPOCH_FOR_TRAIN, recipe=None, dtype='float32',
          parallel=recipes.ONE_DEVICE):
  """Returns the op that updates the variables once, and after them their moving averages.

  Averages over many steps score better than the last step's values: Polyak and Juditsky 1992,
  https://doi.org/10.1137/0330046. At the start the random initial values would dominate, so the
  decay is min(decay, (1 + step) / (10 + step)).

  Args:
    total_loss: float32 scalar.
    global_step: integer variable that counts the steps.
    batch_size: pictures a step, over all devices.
    num_examples: pictures an epoch.
    recipe: a Recipe; the tutorial's if not given.
    dtype: what `precision.compute_dtype` returned. For 'float16' the loss is scaled up, and
      gradients are scaled back, so that small ones do not underflow (https://arxiv.org/abs/1710.03740).
    parallel: a recipes.Parallel.
  """
  recipe = recipe or tutorial()
  with tf.name_scope('train'):
    rate = recipes.learning_rate(global_step, batch_size, num_examples, recipe)
    summaries.scalar('learning_rate', rate)
    losses_op = summaries.average_losses(total_loss)
    optimizer = recipes.optimizer(rate, recipe)
    if dtype == 'float16':
      optimizer = tf.mixed_precision.enable_mixed_precision_graph_rewrite(optimizer)
    gradients = (parallel.compute_gradients(optimizer) if parallel.compute_gradients
                 else optimizer.compute_gradients(total_loss))
    averages = recipes.VariableAverages(recipe.moving_average_decay, global_step)
    if parallel.synchronise:
      optimizer = parallel.synchronise(optimizer, averages)
    # No control dependency on losses_op: a worker of a cluster would compute the loss twice.
    train_op = optimizer.apply_gradients(gradients, global_step)
    if not parallel.synchronise:
      with tf.control_dependencies([train_op]):
        train_op = averages.apply(tf.trainable_variables())
    # UPDATE_OPS: what a layer adds to be run in each step, as batch normalisation does.
    train_op = tf.group(train_op, losses_op, *tf.get_collection(tf.GraphKeys.UPDATE_OPS))
  for gradient, variable in gradients:
    summaries.histogram(variable.op.name, variable)
    summaries.histogram(variable.op.name + '/gradients', gradient)
  return train_op
