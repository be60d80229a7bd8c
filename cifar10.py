"""The network that recognises CIFAR-10's ten kinds of things, its loss, and how a step updates it.

Summary of available functions:

  # Fetch the data if need be, and read it in batches.
  maybe_download_and_extract()
  images, labels = distorted_inputs()

  # What the network makes of the pictures, and how wrong it is.
  logits = inference(images)
  total_loss = loss(logits, labels)

  # One step of training.
  train_op = train(total_loss, global_step)
"""
import os
import re
from typing import NamedTuple

import numpy as np
from absl import flags

from cifar10_lib.network import winograd
from cifar10_lib.dataset import download
import cifar10_input
from cifar10_lib.network import muon
from cifar10_lib.dataset import sample
from cifar10_lib.reporting import summaries
from cifar10_lib.common.tf1 import tf

NUM_CLASSES = cifar10_input.NUM_CLASSES
IMAGE_SIZE = cifar10_input.IMAGE_SIZE
NUM_EXAMPLES_PER_EPOCH_FOR_TRAIN = cifar10_input.NUM_EXAMPLES_PER_EPOCH_FOR_TRAIN
NUM_EXAMPLES_PER_EPOCH_FOR_EVAL = cifar10_input.NUM_EXAMPLES_PER_EPOCH_FOR_EVAL
BATCH_SIZE = 128  # pictures

FLAGS = flags.FLAGS
flags.DEFINE_integer('batch_size', BATCH_SIZE, 'Pictures in a batch.', lower_bound=1)
flags.DEFINE_string('data_dir', '/tmp/cifar10_data',
                    'Directory of the data set; filled when it holds none.')
flags.DEFINE_boolean('use_fp16', False,
                     'Compute in 16 bits where the device is faster so (float16 on GPUs, bfloat16 '
                     'on CPUs that have it); weights stay float32.')
flags.DEFINE_integer('validation_examples', 0, 'Training pictures to hold out for validation: a '
                     'fifth of them at the end of each training file.', lower_bound=0)
flags.DEFINE_string('data_url', download.DATA_URL,
                    'Where to fetch the data set: an https, http or file URL of '
                    'cifar-10-binary.tar.gz, or "sample" to draw a small data set of ten shapes, '
                    'without a network.')
flags.DEFINE_string('data_sha256', None,
                    'SHA-256 that the archive must have; that of the official one if not given.')


class Recipe(NamedTuple):
  """The numbers that decide how training goes."""
  learning_rate: float  # at the start; the highest, where there is a warm-up
  weight_decay: float  # times l2_loss of the weights of local3 and local4
  # How the rate falls: as a staircase over epochs, or in a line to zero at the last step.
  epochs_per_decay: float | None = None  # passes over the training pictures a stair; None: line
  decay_factor: float = 0.1  # that the rate is multiplied by at each stair
  warmup: float = 0.0  # share of the steps in which the rate rises from 0
  momentum: float = 0.0  # Nesterov's; 0 for plain gradient descent
  # As learning_rate, of Muon's steps of weights, which want momentum too; 0: steps as all others'.
  muon_rate: float = 0.0
  muon_decay: float = 0.0  # each of Muon's steps takes rate * muon_decay off the weights
  # local3, whose steps by Muon take the longest, moves in one of so many, as many times as far.
  muon_every: int = 1
  # What `fitted` makes of the length of a run; None: nothing.
  # In a run of more steps, muon_rate is divided by the square root of max_steps / muon_steps and
  # muon_decay by the cube root.
  muon_steps: int | None = None
  # A run of so many steps and more has the next two in place of augment and weight_decay.
  long_steps: int | None = None
  long_augment: str | None = None
  long_weight_decay: float | None = None
  mixup_steps: int | None = None  # a run of fewer steps has no mixup
  label_smoothing: float = 0.0  # probability that the loss gives to all classes alike
  mixup: float = 0.0  # alpha of `augmentation.mixup`; 0: pictures are not mixed
  # Of the averages that evaluation uses: per step, or as the share of the steps they look back on.
  moving_average_decay: float | None = None
  averaged_share: float = 0.0
  augment: str = 'crop,flip,colour'  # as --augment takes it
  max_steps: int = 1000000  # the last step; in RECIPES, the default of --max_steps


# The tutorial's own. Rate and decay follow cuda-convnet's layers-conv-local-11pct, which was
# trained by hand; 0.9999 averages over about the last 10,000 steps.
TUTORIAL = Recipe(learning_rate=0.1, epochs_per_decay=350.0, decay_factor=0.1,
                  weight_decay=0.004, moving_average_decay=0.9999)

# Fitted to --max_steps, whatever it is. Chosen on 5,000 held-out pictures: docs/accuracy.md. Each
# line says how much lower precision @ 1 is without it after 1,200 steps (mean of three runs, one
# view, in points of a hundredth); what is less than about 1 is chance. Long runs are told apart.
FAST = Recipe(
    learning_rate=0.05,  # 2.1 where it stays so, without warm-up, and does not fall to zero
    warmup=0.05,  # share of the steps; 0.0
    momentum=0.9,  # 9.7 in a run without Muon, though at a rate of 0.1
    muon_rate=0.02,  # 5.8 for Nesterov's steps in place of Muon's, cifar10_muon.py
    muon_decay=0.1,  # 0.9; in one run of 4,000 steps it was 2
    muon_every=4,  # -0.6 (chance), 0.3 after 2,100 steps; but a step takes 9% more time
    weight_decay=0.002,  # 0.0; half the tutorial's
    averaged_share=0.05,  # 0.1 for the tutorial's average
    augment='crop:4..1,flip',  # 1.3 for a crop of 4 pixels to the end, 0 for no crop or no flip
    # What long runs have of their own, and how much lower they are without it after 24,000 steps:
    muon_steps=3000,  # 0.4 (0.1 with 18 views) where the rate falls by the cube root; six runs each
    long_augment='crop:4,flip',  # 0.9 in two runs each
    long_weight_decay=0.0,  # 0.4 (0.9 with 18 views) in six runs each
    long_steps=10000,  # chosen between 5,000 and 24,000
    mixup=0.2,  # 0.9 (0.0 with 18 views) after 48,000 steps of 60,000, of three runs and two
    mixup_steps=40000,  # chosen between 24,000, where it did not help, and 60,000
    max_steps=12000)  # on two cores, 11 minutes with avx512_bf16, about twice that with AVX2
RECIPES = {'tutorial': TUTORIAL, 'fast': FAST}


def fitted(recipe, max_steps):
  """Returns a recipe as it is for a run of `max_steps`; nothing of it then changes with them."""
  if recipe.muon_steps:
    share = min(1.0, recipe.muon_steps / max_steps)
    recipe = recipe._replace(muon_rate=recipe.muon_rate * share ** (1 / 2),
                             muon_decay=recipe.muon_decay * share ** (1 / 3))
  if recipe.long_steps and max_steps >= recipe.long_steps:
    recipe = recipe._replace(augment=recipe.long_augment, weight_decay=recipe.long_weight_decay)
  if recipe.mixup_steps and max_steps < recipe.mixup_steps:
    recipe = recipe._replace(mixup=0.0)
  return recipe._replace(max_steps=max_steps, muon_steps=None, long_steps=None, long_augment=None,
                         long_weight_decay=None, mixup_steps=None)


# Data. These read the flags, as the tutorial's do, so that they can be called without arguments.


def _flags():
  """Returns the flags; their defaults, and what was assigned, where no program has parsed any.

  A notebook has a command line of its own (Jupyter's -f), which is none of our business.
  """
  if not FLAGS.is_parsed():
    FLAGS.mark_as_parsed()
  return FLAGS


def maybe_download_and_extract():
  """Makes sure that --data_dir holds a sound data set; fetches --data_url if it holds none.

  Returns:
    The path of the directory with the eight files.

  Raises:
    Failure: the data could not be had, or what is there is not sound.
  """
  options = _flags()
  if options.data_url == 'sample':
    directory = sample.make_sample(options.data_dir)
  else:
    directory = download.maybe_download_and_extract(
        options.data_dir, options.data_url, options.data_sha256)
  if sample.is_sample(directory):
    print('%s holds the SAMPLE data set of drawn shapes, not CIFAR-10.' % directory)
  return directory


def distorted_inputs(**options):
  """Builds batches for training, from --data_dir, of --batch_size.

  Args:
    **options: further arguments of `cifar10_input.distorted_inputs`.

  Returns:
    images float32 [B, IMAGE_SIZE, IMAGE_SIZE, 3] and labels int32 [B].
  """
  return cifar10_input.distorted_inputs(_flags().data_dir, _flags().batch_size, **options)


def inputs(eval_data, **options):
  """Builds batches for evaluation, from --data_dir, of --batch_size.

  Args:
    eval_data: whether to read the test file; else the training files.
    **options: further arguments of `cifar10_input.inputs`.

  Returns:
    images float32 [B, IMAGE_SIZE, IMAGE_SIZE, 3] and labels int32 [B].
  """
  return cifar10_input.inputs(eval_data, _flags().data_dir, _flags().batch_size, **options)


# The network.


def _summarise(x, weights=None):
  """Shows a layer in TensorBoard; its filters, if `weights` are given. Returns x.

  Of several towers the first, under the name of the layer, whatever the tower's.
  """
  scope = tf.get_variable_scope()
  if not scope.reuse:
    summaries.activations(scope.name, x)
    if weights is not None:
      summaries.filters(scope.name, weights)
  return x


def _weights(shape, stddev, weight_decay=None):
  """Returns the value of the variable `weights`; its decay, if any, joins the collection 'losses'.

  Read once a step: from another machine each reading is a transfer of its own.
  """
  weights = tf.convert_to_tensor(tf.get_variable(
      'weights', shape, initializer=tf.truncated_normal_initializer(stddev=stddev)))
  if weight_decay is not None:
    decay = tf.multiply(weight_decay, tf.nn.l2_loss(weights), name='weight_loss')
    tf.add_to_collection('losses', decay)
  return weights


def _biases(count, value):
  return tf.get_variable('biases', [count], initializer=tf.constant_initializer(value))


def _conv(name, x, filters, bias, conv2d):
  """5x5 convolution that keeps height and width, then ReLU: [B, H, W, C] to [B, H, W, filters]."""
  with tf.variable_scope(name):
    weights = _weights([5, 5, x.shape[-1], filters], stddev=5e-2)
    x = conv2d(x, weights)
    x = tf.nn.relu(tf.nn.bias_add(x, _biases(filters, bias)))
    return _summarise(x, weights if weights.shape[2] == cifar10_input.DEPTH else None)


def _pool(name, x):
  """The largest of each 3x3 window, every second pixel: [B, H, W, C] to [B, H/2, W/2, C]."""
  return tf.nn.max_pool2d(x, ksize=3, strides=2, padding='SAME', name=name)


def _pool_relu(name, x):
  """`_pool` of what `_conv` returned, with a shorter way back.

  The pool sends each gradient to one value, the largest of its window; the ReLU passes it on if
  that is above 0, which the pooled value tells as well. So the ReLU's gradient and the sum for the
  biases are taken before the pool spreads them, of a quarter as many numbers. They go to what `x`
  is made of; with respect to `x` itself there is no gradient.
  """
  relu, add = x.op, x.op.inputs[0].op
  assert (relu.type, add.type) == ('Relu', 'BiasAdd'), (relu.type, add.type)
  unbiased, biases = add.inputs

  @tf.custom_gradient
  def pool(*made_of):
    del made_of  # for their gradients alone; x is there already
    pooled = _pool('max', x)

    def gradient(dy):
      dy = tf.raw_ops.ReluGrad(gradients=dy, features=pooled)
      return tf.gradients(pooled, x, dy)[0], tf.raw_ops.BiasAddGrad(out_backprop=dy)
    return pooled, gradient

  with tf.name_scope(name):
    return pool(unbiased, biases)


def _norm(name, x, depth_radius=4, bias=1.0, alpha=0.001 / 9.0):
  """Local response normalisation: strong neighbours among the channels damp a value.

  x / (bias + alpha * sum of x^2 over the 9 channels around it) ** 0.75, section 3.3 of
  https://papers.nips.cc/paper/4824. `tf.nn.lrn` gives the same, slowly on a CPU: here the sum over
  neighbours is a 1x1 convolution with a banded matrix, the power 0.75 two square roots, and the
  gradient is written out, for what a chain of single ops would compute again is at hand.

  Args:
    name: of the scope.
    x: float32 [B, H, W, C].
    depth_radius: channels to either side that count.
    bias, alpha: as in the formula.

  Returns:
    float32 [B, H, W, C].
  """
  channel = np.arange(int(x.shape[-1]))
  near = abs(channel[:, None] - channel) <= depth_radius  # [C, C]

  def over_neighbours(x, factor):
    band = tf.constant(factor * near[None, None], tf.float32)  # [1, 1, C, C]
    return winograd.plain(x, band)

  @tf.custom_gradient
  def normalise(x):
    s = bias + over_neighbours(tf.square(x), alpha)
    power = tf.math.rsqrt(s * tf.sqrt(s))  # s ** -0.75
    y = x * power

    def gradient(dy):
      return dy * power - x * over_neighbours(dy * y / s, 2 * 0.75 * alpha)
    return y, gradient

  with tf.name_scope(name):
    return normalise(x)


def _dense(name, x, units, stddev, bias, weight_decay=None, relu=True):
  """Connects every input with every unit: [B, N] to [B, units]."""
  with tf.variable_scope(name):
    weights = _weights([x.shape[-1], units], stddev, weight_decay)
    x = tf.nn.bias_add(tf.matmul(x, weights), _biases(units, bias))
    return _summarise(tf.nn.relu(x) if relu else x)


def inference(images, recipe=TUTORIAL, dtype='float32'):
  """Builds the network.

  Args:
    images: float32 [B, IMAGE_SIZE, IMAGE_SIZE, 3], standardised; B may be unknown,
      not 0 (oneDNN gives an empty batch a wrong shape).
    recipe: the weight decay of it is used.
    dtype: what `compute_dtype` returned; decides how the second layer convolves.

  Returns:
    Logits, float32 [B, NUM_CLASSES]: the larger, the likelier; not scaled to probabilities, for the
    loss does that.
  """
  decay = recipe.weight_decay
  # For three channels a convolution with fewer products would spend its time on tiles.
  x = _conv('conv1', images, 64, bias=0.0, conv2d=winograd.plain)  # [B, 24, 24, 64]
  x = _pool_relu('pool1', x)  # [B, 12, 12, 64]
  x = _norm('norm1', x)
  x = _conv('conv2', x, 64, bias=0.1, conv2d=winograd.choose(dtype))
  x = _norm('norm2', x)  # before the pool here, after it in the first layer: the tutorial's order
  x = _pool('pool2', x)  # [B, 6, 6, 64]
  x = tf.reshape(x, [-1, np.prod(x.shape[1:].as_list())], 'flatten')  # [B, 2304]
  # "local" after cuda-convnet's locally connected layers, whose place these dense ones took.
  x = _dense('local3', x, 384, stddev=0.04, bias=0.1, weight_decay=decay)
  x = _dense('local4', x, 192, stddev=0.04, bias=0.1, weight_decay=decay)
  return _dense('softmax_linear', x, NUM_CLASSES, stddev=1 / 192.0, bias=0.0, relu=False)


def log_probabilities(images, views=1):
  """Builds the network and averages what it says of several views of a picture.

  Args:
    images: float32 [views * B, IMAGE_SIZE, IMAGE_SIZE, 3], view by view, as
      `augmentation.evaluate` makes them.
    views: of each picture.

  Returns:
    float32 [B, NUM_CLASSES], the logarithm of the mean probability. Logarithms, for a probability
    below 1e-45 is 0 in float32, and a loss of it infinite.
  """
  logits = inference(images)
  with tf.name_scope('probabilities'):
    each = tf.nn.log_softmax(tf.reshape(logits, [views, -1, NUM_CLASSES]))
    return tf.reduce_logsumexp(each, axis=0) - np.log(views).astype(np.float32)


# Loss and update.

ACCURACY = 'accuracy'  # collection: the share of each tower's batch that was named right


def loss(logits, labels, scope=None, label_smoothing=0.0):
  """Adds mean cross entropy and weight decay; also keeps for `accuracy` what was named right.

  Args:
    logits: float32 [B, NUM_CLASSES].
    labels: int32 [B], 0..9; or float32 [B, NUM_CLASSES], each class's share of a picture, which
      keeps the cross entropy above 0.
    scope: name scope whose losses to add (a tower's); None for all.
    label_smoothing: probability that is shared out among all classes
      (https://arxiv.org/abs/1512.00567, section 7).

  Returns:
    float32 scalar.
  """
  with tf.name_scope('loss'):
    labels = tf.convert_to_tensor(labels)
    mixed = labels.dtype.is_floating
    named = tf.argmax(labels, axis=1) if mixed else labels  # [B], of the largest share
    if mixed or label_smoothing:
      shares = labels if mixed else tf.one_hot(labels, NUM_CLASSES)  # [B, 10]
      goal = (1 - label_smoothing) * shares + label_smoothing / NUM_CLASSES
      each = tf.nn.softmax_cross_entropy_with_logits(labels=goal, logits=logits)  # [B]
    else:
      each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    right = tf.equal(tf.argmax(logits, axis=1, output_type=named.dtype), named)  # [B]
    tf.add_to_collection(ACCURACY, tf.reduce_mean(tf.cast(right, tf.float32)))
    cross_entropy = tf.reduce_mean(each, name='cross_entropy')
    tf.add_to_collection('losses', cross_entropy)
    return tf.add_n(tf.get_collection('losses', scope), name='total_loss')


def accuracy():
  """Returns the share of a step's pictures that were named right, float32 scalar; shows it, too.

  Before the step's update, and under its distortions: lower than evaluation gives for pictures that
  are not distorted. Of pictures that are mixed the larger share counts.
  """
  with tf.name_scope('accuracy'):
    share = tf.reduce_mean(tf.stack(tf.get_collection(ACCURACY)))
    summaries.scalar('accuracy', share)
    return share


def learning_rate(global_step, batch_size, num_examples, recipe=TUTORIAL):
  """Returns the rate at a step, float32 scalar.

  A staircase over the examples seen, or a line up and a longer one down to zero.

  Args:
    global_step: integer scalar, steps done.
    batch_size: pictures a step, over all devices.
    num_examples: pictures an epoch.
    recipe: where the rate starts, and how and when it falls.
  """
  if recipe.epochs_per_decay is not None:
    steps_per_decay = max(1, int(recipe.epochs_per_decay * num_examples / batch_size))
    # Integers, for a division of floats may come out just below a whole number.
    drops = tf.cast(global_step // steps_per_decay, tf.float32)
    return recipe.learning_rate * tf.pow(recipe.decay_factor, drops)
  risen = max(1.0, recipe.warmup * recipe.max_steps)  # steps
  step = tf.cast(global_step, tf.float32)
  up = (step + 1) / risen
  down = (recipe.max_steps - step) / max(1.0, recipe.max_steps - risen)
  return recipe.learning_rate * tf.clip_by_value(tf.minimum(up, down), 0.0, 1.0)


def average_decay(recipe):
  """Returns the decay a step of the variables' moving averages."""
  if recipe.moving_average_decay is not None:
    return recipe.moving_average_decay
  return 1 - 1 / max(1.0, recipe.averaged_share * recipe.max_steps)


def _optimizer(rate, recipe):
  """Returns what updates the variables, at a rate that is a scalar and follows the recipe's."""
  if not recipe.momentum:
    return tf.train.GradientDescentOptimizer(rate)
  if not recipe.muon_rate:
    return tf.train.MomentumOptimizer(rate, recipe.momentum, use_nesterov=True)
  # Not the last layer's weights: each of its columns has a meaning of its own.
  names = [variable.op.name for variable in tf.trainable_variables()
           if variable.op.name.endswith('weights') and 'softmax_linear' not in variable.op.name]
  every = {name: recipe.muon_every if 'local3' in name else 1 for name in names}
  muon_rate = rate * (recipe.muon_rate / recipe.learning_rate)
  return muon.MuonOptimizer(rate, muon_rate, recipe.momentum, every, recipe.muon_decay)


def _average_losses(total_loss):
  """Smooths the losses over about ten steps for TensorBoard; returns the op that updates them.

  The tags are those that the tutorial's graph happened to give.
  """
  losses = tf.get_collection('losses') + [total_loss]
  averages = tf.train.ExponentialMovingAverage(0.9, name='avg')
  averages_op = averages.apply(losses)
  for each in losses:
    tag = each.op.name.removeprefix('loss/')
    summaries.scalar(tag + '__raw_', each)
    summaries.scalar(tag + '_1', averages.average(each))
  return averages_op


class _VariableAverages(tf.train.ExponentialMovingAverage):
  """Averages of variables, computed on the device of each: the class itself keeps them there only.

  Elsewhere a step would fetch variable and average, and send back the difference.
  """

  def apply(self, var_list=None):
    updates = []
    for device in dict.fromkeys(variable.device for variable in var_list):
      with tf.device(device):
        updates.append(super().apply([each for each in var_list if each.device == device]))
    return tf.group(*updates)


def train(total_loss, global_step, batch_size=BATCH_SIZE,
          num_examples=NUM_EXAMPLES_PER_EPOCH_FOR_TRAIN, recipe=TUTORIAL, dtype='float32',
          compute_gradients=None, synchronise=None):
  """Builds one step of gradient descent, and after it of the variables' moving averages.

  Averages over many steps do better than the last step's values: Polyak and Juditsky 1992,
  https://doi.org/10.1137/0330046. Early on they would remember the random start for long, so their
  decay is min(decay, (1 + step) / (10 + step)).

  Args:
    total_loss: float32 scalar.
    global_step: integer variable that counts the steps.
    batch_size: pictures a step, over all devices.
    num_examples: pictures an epoch.
    recipe: how training goes, as `fitted` gives it.
    dtype: what `compute_dtype` returned. For 'float16' the loss is scaled, and gradients back, to
      keep them from underflowing (https://arxiv.org/abs/1710.03740).
    compute_gradients: function from the optimizer to a list of (gradient, variable), for gradients
      that are made otherwise than from `total_loss` at once.
    synchronise: function from the optimizer and the ExponentialMovingAverage to an optimizer that
      applies both, as `tf.train.SyncReplicasOptimizer` does.

  Returns:
    The op to run.
  """
  with tf.name_scope('train'):
    rate = learning_rate(global_step, batch_size, num_examples, recipe)
    summaries.scalar('learning_rate', rate)
    averages_op = _average_losses(total_loss)
    optimizer = _optimizer(rate, recipe)
    if dtype == 'float16':
      optimizer = tf.mixed_precision.enable_mixed_precision_graph_rewrite(optimizer)
    if compute_gradients:
      gradients = compute_gradients(optimizer)
    else:
      gradients = optimizer.compute_gradients(total_loss)
    averages = _VariableAverages(average_decay(recipe), global_step)
    if synchronise:
      optimizer = synchronise(optimizer, averages)
    # Not after averages_op: where the update is a run of its own, it would compute the loss anew.
    train_op = optimizer.apply_gradients(gradients, global_step)
    if not synchronise:
      with tf.control_dependencies([train_op]):
        train_op = averages.apply(tf.trainable_variables())
    train_op = tf.group(train_op, averages_op)
  for gradient, variable in gradients:
    summaries.histogram(variable.op.name, variable)
    summaries.histogram(variable.op.name + '/gradients', gradient)
  return train_op


WEIGHTS = ('ema', 'raw')


def saved_variables(weights='ema'):
  """Returns a dict for a Saver, of names in a checkpoint to the graph's variables.

  Args:
    weights: 'ema' reads each variable's moving average in its place, 'raw' its value at the step.
  """
  if weights == 'raw':
    return {variable.op.name: variable for variable in tf.global_variables()}
  decay = average_decay(TUTORIAL)  # averages go by the same names whatever their decay
  return tf.train.ExponentialMovingAverage(decay).variables_to_restore()


# Numbers of 16 bits.


def compute_dtype(use_fp16):
  """Chooses what to compute in, by what the machine has.

  Args:
    use_fp16: whether 16 bits are wanted.

  Returns:
    'float16' on a GPU, 'bfloat16' on a CPU that has products of it, 'float32' otherwise.
  """
  if not use_fp16:
    return 'float32'
  if tf.config.list_physical_devices('GPU'):
    return 'float16'
  try:
    with open('/proc/cpuinfo') as cpuinfo:
      capable = re.search(r'\b(avx512_bf16|amx_bf16)\b', cpuinfo.read())
  except OSError:
    capable = None
  return 'bfloat16' if capable else 'float32'


def session_config(dtype='float32', log_device_placement=False, cpu_devices=1):
  """Returns a ConfigProto: ops go where they can run, and a GPU's memory is taken only as needed.

  Args:
    dtype: what `compute_dtype` returned.
    log_device_placement: whether to print where each op runs.
    cpu_devices: into how many devices TensorFlow is to divide the CPU: /cpu:0, /cpu:1 and so on.
      They share its cores.
  """
  config = tf.ConfigProto(allow_soft_placement=True, log_device_placement=log_device_placement)
  config.device_count['CPU'] = cpu_devices
  config.gpu_options.allow_growth = True  # so that evaluation finds room beside training
  # Ops at once: half as many as there are cores, for each op has all cores by itself, and more only
  # hold more memory; but two at least, for with one a step waits while the input's ops run. A
  # process has one pool for all sessions, as large as the first of them asks.
  config.inter_op_parallelism_threads = max(2, (os.cpu_count() or 1) // 2)
  # Once over the graph: a second look finds nothing more, and takes 0.1 s.
  rewriter = config.graph_options.rewrite_options
  rewriter.meta_optimizer_iterations = type(rewriter).ONE
  if dtype == 'bfloat16':
    rewriter.auto_mixed_precision_onednn_bfloat16 = type(rewriter).ON
  return config
