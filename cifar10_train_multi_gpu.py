"""Trains the network on several devices of one machine, one synchronous tower a device.

  python cifar10_train_multi_gpu.py --num_gpus=2 --train_dir cifar10_train/ --data_dir cifar10_data/

A tower is the network with a batch of its own. All towers share the variables. In each step every
tower computes the gradients of its batch, and one update applies their mean. So a step on N towers
equals a step on one device with a batch N times as large; --batch_size counts a tower's pictures.

Variables, checkpoints and TensorBoard's tags are those of cifar10_train.py: either program goes on
where the other stopped. Without a GPU the towers share the CPU, which serves only for trying out.

`options` are the parsed flags, or anything with their names as attributes. `devices` are the
devices of the towers.
"""
import functools

from absl import flags

import cifar10
import cifar10_input
import cifar10_train
from cifar10_lib.common import programs
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.network import precision
from cifar10_lib.training import hooks, recipes

FLAGS = flags.FLAGS
flags.DEFINE_integer('num_gpus', 1, 'Towers, each on a device of its own.', lower_bound=1,
                     upper_bound=64)
flags.DEFINE_enum('tower_device', 'auto', ['auto', 'gpu', 'cpu'],
                  'Devices of the towers: auto is GPUs where there are any; cpu divides the '
                  'processor into as many devices as there are towers.')
flags.DEFINE_enum('average_on', 'auto', ['auto', 'cpu', 'gpu', 'nccl'],
                  'Where gradients are averaged: on the CPU, on the first GPU, or on all GPUs by '
                  'NCCL. auto is nccl for several GPUs, else where the towers are.')
flags.adopt_module_key_flags(cifar10_train)


def seen_gpus():
  """Returns the names of the GPUs that TensorFlow sees, such as ['/gpu:0']."""
  return ['/gpu:%d' % i for i, _ in enumerate(tf.config.list_physical_devices('GPU'))]


def choose_devices(count, kind):
  """Returns the devices of `count` towers for --tower_device=`kind`.

  Raises:
    Failure: there are fewer GPUs.
  """
  gpus = seen_gpus()
  if kind == 'cpu' or (kind == 'auto' and not gpus):
    return ['/cpu:%d' % i for i in range(count)]
  if count > len(gpus):
    raise Failure('--num_gpus=%d, but TensorFlow sees %d: %s. Take fewer, or --tower_device=cpu.'
                  % (count, len(gpus), ', '.join(gpus) or 'none'))
  return gpus[:count]


def choose_average(wanted, devices):
  """Returns where to average gradients for --average_on=`wanted`: 'cpu', 'gpu' or 'nccl'.

  Raises:
    Failure: these devices cannot do it.
  """
  on_gpus = 'gpu' in devices[0]
  if wanted == 'auto':
    return 'cpu' if not on_gpus else 'nccl' if len(devices) > 1 else 'gpu'
  if wanted != 'cpu' and not on_gpus:
    raise Failure('--average_on=%s needs towers on GPUs; these are on %s. Take auto.'
                  % (wanted, ', '.join(devices)))
  return wanted


def _prefetch(images, labels):
  """Copies the next batch to the tower's device while the step computes; returns the staged batch.

  Each step takes the staged batch and stages the next. The op in `hooks.FILL` stages the first.
  """
  name = labels.op.name  # each tower has a staging area of its own
  first = tf.raw_ops.Stage(values=[images, labels], shared_name=name)
  tf.add_to_collection(hooks.FILL, first)
  batch = tf.raw_ops.Unstage(dtypes=[images.dtype, labels.dtype], shared_name=name)
  with tf.control_dependencies([batch[0]]):  # once the staging area is empty
    following = tf.raw_ops.Stage(values=[images, labels], shared_name=name)
  tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, following)
  return [tf.ensure_shape(got, each.shape)
          for got, each in zip(batch, (images, labels), strict=True)]


def _mean(tensors, name=None):
  """Returns the mean of tensors of one shape; a single tensor comes back unchanged."""
  return tf.multiply(tf.add_n(tensors), 1 / len(tensors), name=name)


def average_gradients(towers, devices, average='cpu'):
  """Averages the towers' gradients as one vector: a message for each variable would be slower.

  Args:
    towers: for each tower, a list of (gradient, variable), with the same variables.
    average: 'cpu', 'gpu' or 'nccl', which sums a part on each GPU and sends it to the others.

  Returns:
    A list of (mean gradient, variable).
  """
  variables = [variable for _, variable in towers[0]]
  flat = []
  for tower, device in zip(towers, devices, strict=True):
    with tf.device(device):
      flat.append(tf.concat([tf.reshape(gradient, [-1]) for gradient, _ in tower], axis=0))
  with tf.device('/cpu:0' if average == 'cpu' else devices[0]):
    if average == 'nccl':
      from tensorflow.python.ops import nccl_ops  # has no public name
      mean = nccl_ops.all_sum(flat)[0] / len(flat)
    else:
      mean = _mean(flat)
    parts = tf.split(mean, [variable.shape.num_elements() for variable in variables])
    return [(tf.reshape(part, variable.shape), variable)
            for part, variable in zip(parts, variables, strict=True)]


def _tower(number, batch, recipe, dtype, num_classes):
  """Builds a tower; returns a dict of its losses by name, without the tower's prefix.

  They are 'loss/cross_entropy', 'loss/total_loss' and each weight decay.
  """
  images, labels = batch
  with tf.name_scope('%s_%d' % (cifar10.TOWER_NAME, number)) as scope:
    logits = cifar10.inference(images, recipe, dtype, num_classes)
    total = cifar10.loss(logits, labels, scope, recipe.label_smoothing)
    losses = tf.get_collection('losses', scope) + [total]
    return {loss.op.name[len(scope):]: loss for loss in losses}


def build(options, devices, average, staged=None):
  """Builds the graph: input, towers, mean gradients, update.

  Args:
    average: as for `average_gradients`.
    staged: whether to prefetch each tower's batch. None: on GPUs, unless --num_epochs is given,
      because the end of input would lose the staged batches.

  Returns:
    The global step after the update (int64 scalar; running it makes one step), and the mean loss.
  """
  recipe = cifar10_train.recipe_of(options)
  dtype = precision.compute_dtype(options.use_fp16)
  num_classes = len(cifar10_input.class_names(options.data_dir))
  if staged is None:
    staged = 'gpu' in devices[0] and options.num_epochs is None
  home = '/cpu:0' if average == 'cpu' else devices[0]  # of the variables
  with tf.device(home):
    global_step = tf.train.get_or_create_global_step()
  batches, num_examples = cifar10_train.build_input(options, len(devices))
  towers = []
  for number, (device, batch) in enumerate(zip(devices, batches, strict=True)):
    def place(op, device=device):  # variables are at home, all else on the tower's device
      return home if op.type == 'VarHandleOp' else device
    with tf.device(place), tf.variable_scope(tf.get_variable_scope(), reuse=number > 0):
      towers.append(_tower(number, _prefetch(*batch) if staged else batch, recipe, dtype,
                           num_classes))
  losses = {name: _mean([tower[name] for tower in towers], name) for name in towers[0]}
  total_loss = losses.pop('loss/total_loss')
  tf.get_default_graph().clear_collection('losses')  # TensorBoard shows the means alone
  for loss in losses.values():
    tf.add_to_collection('losses', loss)

  def compute_gradients(optimizer):
    gradients = []
    for number, (device, tower) in enumerate(zip(devices, towers, strict=True)):
      with tf.device(device), tf.name_scope('%s_%d' % (cifar10.TOWER_NAME, number)):
        gradients.append(optimizer.compute_gradients(tower['loss/total_loss']))
    return average_gradients(gradients, devices, average)

  with tf.device(home):
    train_op = cifar10.train(total_loss, global_step, len(devices) * options.batch_size,
                             num_examples, recipe, dtype, recipes.Parallel(compute_gradients))
  with tf.control_dependencies([train_op]):
    return tf.identity(global_step, 'step'), total_loss


def train(options):
  """Trains on the devices that the flags ask for, as `cifar10_train.train` does."""
  devices = choose_devices(options.num_gpus, options.tower_device)
  average = choose_average(options.average_on, devices)
  print('Towers on %s, %d pictures each, %d a step; gradients are averaged on %s.'
        % (', '.join(devices), options.batch_size, len(devices) * options.batch_size,
           {'cpu': 'the CPU', 'gpu': devices[0], 'nccl': 'all GPUs by NCCL'}[average]))
  return cifar10_train.train(
      options, functools.partial(build, devices=devices, average=average), len(devices),
      cpu_devices=len(devices) if 'cpu' in devices[0] else 1)


def main(argv):
  del argv
  cifar10_train.follow_recipe(FLAGS)
  cifar10.maybe_download_and_extract()
  return train(FLAGS)


if __name__ == '__main__':
  programs.run(main)
