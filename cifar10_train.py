"""Trains the network on one device.

  python cifar10_train.py --train_dir cifar10_train/ --data_dir cifar10_data/

It fetches the data set when --data_dir holds none, goes on from the last checkpoint in --train_dir
when there is one, and saves when it is stopped (Ctrl-C). Watch it with

  tensorboard --logdir cifar10_train/

`options` are the parsed flags, or anything with their names as attributes.
"""
from cifar10_lib.common import programs  # first: it handles signals while the rest loads

import math

from absl import flags

import cifar10
import cifar10_input
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import augmentation, distortions, records
from cifar10_lib.network import precision
from cifar10_lib.training import recipes, run, stopping

FLAGS = flags.FLAGS
flags.DEFINE_string('train_dir', '/tmp/cifar10_train',
                    'Directory of checkpoints and events; training goes on from what is there.')
flags.DEFINE_string('init_from', None,
                    'Start a new run from the layers of another one: its --train_dir, or the path '
                    'of a checkpoint. The last layer is taken only if the classes are the same.')
flags.DEFINE_integer('max_steps', cifar10.MAX_STEPS,
                     'Steps in total, over all starts; if not given, the number of the --recipe '
                     '(%s).' % ', '.join('%s: %d' % (name, recipe().max_steps)
                                         for name, recipe in cifar10.RECIPES.items()),
                     lower_bound=1, upper_bound=10**9)
flags.DEFINE_boolean('log_device_placement', False, 'Print which device each op runs on.')
flags.DEFINE_integer('log_frequency', 10, 'Steps from one log line to the next.', lower_bound=1,
                     upper_bound=10**9)
flags.DEFINE_enum('recipe', 'tutorial', sorted(cifar10.RECIPES), 'How to train.')
flags.DEFINE_string('augment', None,
                    'Distortions of the pictures, with commas between: colour (which is brightness '
                    'and contrast), %s; or none. A strength may follow a colon, as in rotate:15 or '
                    'contrast:0.2-1.8; one that changes over training is first..last, as in '
                    'crop:4..1. If not given, those of the --recipe.'
                    % ', '.join(augmentation.KINDS))
flags.DEFINE_integer('num_epochs', None, 'Stop after this many passes over the training files, or '
                     'at --max_steps if that comes first. Counted from this start; on several '
                     'machines, from the first. With --recipe=fast also give --max_steps: the '
                     'schedule is fitted to it.', lower_bound=1, upper_bound=10**6)
flags.DEFINE_integer('save_checkpoint_secs', 600, 'Seconds from one checkpoint to the next.',
                     lower_bound=1, upper_bound=10**9)
flags.DEFINE_integer('save_checkpoint_steps', None,
                     'Steps from one checkpoint to the next, in place of --save_checkpoint_secs.',
                     lower_bound=1, upper_bound=10**9)
flags.DEFINE_integer('keep_checkpoints', 5, 'Checkpoints to keep; older ones make room.',
                     lower_bound=1, upper_bound=10**6)
flags.DEFINE_integer('summary_steps', 100, 'Steps from one set of summaries to the next.',
                     lower_bound=1, upper_bound=10**9)
flags.DEFINE_integer('seed', None,
                     'Makes two runs on the same CPU give the same losses, bit for bit. Input is '
                     'slower: only one thread reads and one distorts.', lower_bound=-2**31,
                     upper_bound=2**31 - 1)
flags.DEFINE_integer('read_threads', cifar10_input.READERS,
                     'Threads that read, each in a file of its own; more where the disk is slow.',
                     lower_bound=1, upper_bound=256)
flags.DEFINE_integer('distort_threads', cifar10_input.DISTORTERS,
                     'Threads that distort batches; more where batch_queue/fullness in TensorBoard '
                     'comes near 0.', lower_bound=1, upper_bound=256)
flags.DEFINE_float('first_batch_secs', 120, 'Seconds to wait for the first batch.', lower_bound=0,
                   upper_bound=10**6)
for number, (least, greatest, meaning) in recipes.NUMBERS.items():
  flags.DEFINE_float(number, None, meaning + ' If not given, that of the --recipe.', least,
                     greatest)
  flags.register_validator(number, lambda value: value is None or not math.isnan(value),
                           'it must be a number')
programs.check_flag('augment', lambda text: text is None or augmentation.parse(text))
flags.adopt_module_key_flags(cifar10)


def recipe_of(options):
  """Returns the Recipe of --recipe for --max_steps, with what flags such as --momentum override."""
  return recipes.override(cifar10.RECIPES[options.recipe](options.max_steps), options)


def note_of(options):
  """Returns a line that says what differs from the --recipe, or ''."""
  own = cifar10.RECIPES[options.recipe](options.max_steps)
  differences = recipes.differences(recipe_of(options), own)
  return differences and 'Differs from --recipe=%s: %s.' % (options.recipe, differences)


def follow_recipe(options):
  """Sets --max_steps, if it was not given, to the recipe's own; `options` are absl's flags."""
  if not options['max_steps'].present:
    options['max_steps'].value = cifar10.RECIPES[options.recipe]().max_steps


def training_split(options):
  """Returns the records.Part of each file that is not held out, and the number of pictures."""
  paths = records.data_files(options.data_dir)
  part, _ = records.hold_out(paths, options.validation_examples)
  return part, records.total_records(paths, part)


def build_input(options, batches=1, steps_per_batch=None):
  """Builds the input that the flags ask for.

  Args:
    batches: batches a step.
    steps_per_batch: as for `cifar10_input.Pipeline`.

  Returns:
    A list of `batches` pairs: images float32 [B, IMAGE_SIZE, IMAGE_SIZE, 3] and labels, int32 [B]
    or, where the recipe mixes pictures, float32 [B, K], shares of K classes; and the number of
    pictures in an epoch.
  """
  part, num_examples = training_split(options)
  recipe = recipe_of(options)
  if options.seed is not None:
    tf.set_random_seed(options.seed)
  pipeline = cifar10_input.Pipeline(
      repeatable=options.seed is not None, readers=options.read_threads,
      distorters=options.distort_threads, part=part, batches_per_step=batches,
      max_steps=options.max_steps, steps_per_batch=steps_per_batch)
  drawn = cifar10_input.distorted_inputs(
      options.data_dir, options.batch_size, options.num_epochs,
      augment=augmentation.parse(recipe.augment), pipeline=pipeline)
  if recipe.mixup:
    with tf.name_scope('mixup'), tf.device('/cpu:0'):
      num_classes = len(cifar10_input.class_names(options.data_dir))
      drawn = [distortions.mixup(*batch, recipe.mixup, num_classes) for batch in drawn]
  tf.summary.image('images', drawn[0][0], max_outputs=10)
  return drawn, num_examples


def build(options):
  """Builds the graph: input, network, loss, update.

  Returns:
    The global step after the update (int64 scalar; running it makes one step), and the loss.
  """
  recipe = recipe_of(options)
  dtype = precision.compute_dtype(options.use_fp16)
  global_step = tf.train.get_or_create_global_step()
  [(images, labels)], num_examples = build_input(options)
  logits = cifar10.inference(
      images, recipe, dtype, len(cifar10_input.class_names(options.data_dir)))
  loss = cifar10.loss(logits, labels, label_smoothing=recipe.label_smoothing)
  train_op = cifar10.train(loss, global_step, options.batch_size, num_examples, recipe, dtype)
  with tf.control_dependencies([train_op]):
    return tf.identity(global_step, 'step'), loss


def train(options=FLAGS, build=build, towers=1, cpu_devices=1):
  """Trains until --max_steps, the end of input or a signal.

  Args:
    build: function from the options to the step and the loss, as the one above.
    towers: batches of options.batch_size a step.
    cpu_devices: as for `precision.session_config`.

  Returns:
    The exit code.
  """
  options = programs.parsed(options)
  names = cifar10_input.class_names(options.data_dir)
  with stopping.catch_signals() as signals, run.failures('Training in %s' % options.train_dir), \
       run.open_run(options, recipe_of(options), signals, names, note_of(options)) as training:
    if not training.finished:
      with tf.Graph().as_default():
        step, loss = build(options)
        scaffold = training.scaffold()
        with tf.train.MonitoredTrainingSession(
            scaffold=scaffold,
            hooks=training.session_hooks(step, loss, cifar10.accuracy(), scaffold, towers),
            config=training.session_config(cpu_devices), stop_grace_period_secs=run.GRACE_SECONDS,
            save_checkpoint_secs=None, save_checkpoint_steps=None,  # the hooks save
            save_summaries_secs=None, save_summaries_steps=None) as session:
          while not session.should_stop():
            session.run(step)
  return training.exit_code


def main(argv):
  del argv
  follow_recipe(FLAGS)
  cifar10.maybe_download_and_extract()
  return train(FLAGS)


if __name__ == '__main__':
  programs.run(main)
