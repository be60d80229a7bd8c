"""Trains the network on one device.

  python cifar10_train.py --train_dir cifar10_train/ --data_dir cifar10_data/

It fetches the data set when --data_dir holds none, goes on from the last checkpoint in --train_dir
when there is one, and saves when it is stopped (Ctrl-C). Watch it with

  tensorboard --logdir cifar10_train/
"""
import datetime
import os
import sys

from absl import flags

import cifar10
from cifar10_lib.common import programs
from cifar10_lib.dataset import augmentation
from cifar10_lib.training import checkpoints
from cifar10_lib.training import hooks
import cifar10_input
from cifar10_lib.reporting import report
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import reason, tf

FLAGS = flags.FLAGS
flags.DEFINE_string('train_dir', '/tmp/cifar10_train',
                    'Directory of checkpoints and events; training goes on from what is there.')
flags.DEFINE_integer('max_steps', cifar10.TUTORIAL.max_steps,
                     'Steps in total, over all starts; if not given, the number of the --recipe '
                     '(%s).' % ', '.join('%s: %d' % (name, recipe.max_steps)
                                         for name, recipe in cifar10.RECIPES.items()),
                     lower_bound=1)
flags.DEFINE_boolean('log_device_placement', False, 'Print which device each op runs on.')
flags.DEFINE_integer('log_frequency', 10, 'Steps from one log line to the next.', lower_bound=1)
flags.DEFINE_enum('recipe', 'tutorial', sorted(cifar10.RECIPES), 'How to train.')
flags.DEFINE_string('augment', None,
                    'Distortions of the pictures, with commas between: colour (which is brightness '
                    'and contrast), %s; or none. A strength may follow a colon, as in rotate:15 or '
                    'contrast:0.2-1.8; one that changes over training is first..last, as in '
                    'crop:4..1. If not given, those of the --recipe.'
                    % ', '.join(augmentation.KINDS))
flags.DEFINE_integer('num_epochs', None,
                     'End after this many passes over the training files, counted from this start, '
                     'if that comes before --max_steps. Give --max_steps with --recipe=fast, which '
                     'fits the whole schedule to it.', lower_bound=1)
flags.DEFINE_integer('save_checkpoint_secs', 600, 'Seconds from one checkpoint to the next.',
                     lower_bound=1)
flags.DEFINE_integer('save_checkpoint_steps', None,
                     'Steps from one checkpoint to the next, in place of --save_checkpoint_secs.',
                     lower_bound=1)
flags.DEFINE_integer('keep_checkpoints', 5, 'Checkpoints to keep; older ones make room.',
                     lower_bound=1)
flags.DEFINE_integer('summary_steps', 100, 'Steps from one set of summaries to the next.',
                     lower_bound=1)
flags.DEFINE_integer('seed', None,
                     'Makes two runs on the same CPU give the same losses, bit for bit. It costs '
                     'input speed: one thread reads and one distorts, where else several do.')
flags.DEFINE_integer('read_threads', cifar10_input.READERS,
                     'Threads that read, each in a file of its own; more where the disk is slow.',
                     lower_bound=1)
flags.DEFINE_integer('distort_threads', cifar10_input.DISTORTERS,
                     'Threads that distort batches; more where batch_queue/fullness in TensorBoard '
                     'comes near 0.', lower_bound=1)
flags.DEFINE_float('first_batch_secs', 120, 'Seconds to wait for the first batch.', lower_bound=0)
flags.adopt_module_key_flags(cifar10)


@flags.validator('augment')
def _check_augment(text):
  try:
    return text is None or augmentation.parse(text) is not None
  except Failure as failure:
    raise flags.ValidationError(str(failure)) from failure


GRACE_SECONDS = 10  # for a thread that hangs in a read to come back, once training ends


# Saved, but may be missing in a checkpoint: smoothed losses for TensorBoard, which other versions
# of this network name otherwise, and what an optimiser remembers, which not every recipe's has.
OPTIONAL = ('/avg', '/Momentum', '/Updates')


def _restorable(variables):
  """Returns a dict of names to the variables that a checkpoint must hold."""
  return {variable.op.name: variable for variable in variables
          if not variable.op.name.endswith(OPTIONAL)}


def restorer(train_dir, saver):
  """Builds what goes on from the latest checkpoint.

  Args:
    train_dir: the directory.
    saver: a tf.train.Saver of all variables; checkpoints that are found count among those it keeps.

  Returns:
    A function that takes a session, and returns whether there was a checkpoint to restore.

  Raises:
    Failure: the checkpoint does not fit the graph.
  """
  first = checkpoints.find_latest(train_dir)
  if first:  # it may be another program's; later ones are the saver's own
    variables = _restorable(tf.global_variables())
    checkpoints.check_fits(first, variables)
    held = tf.train.NewCheckpointReader(first).get_variable_to_shape_map()
    optional = [each for each in tf.global_variables() if each.op.name.endswith(OPTIONAL)]
    variables.update({each.op.name: each for each in optional if each.op.name in held})
    first_saver = tf.train.Saver(variables)

  def restore(session):
    paths = checkpoints.find_all(train_dir)
    if not paths:
      return False
    try:
      (first_saver if paths[-1] == first else saver).restore(session, paths[-1])
    except tf.errors.OpError as error:
      raise Failure('%s cannot be read: %s. Move its files away to go on from an earlier one.'
                    % (paths[-1], reason(error))) from error
    saver.recover_last_checkpoints(paths)
    return True
  return restore


def build_saver(keep_checkpoints):
  """Returns a tf.train.Saver of all variables that keeps so many checkpoints."""
  return tf.train.Saver(max_to_keep=keep_checkpoints, save_relative_paths=True)


def _scaffold(train_dir, keep_checkpoints):
  """Returns a Scaffold that starts from the latest checkpoint in `train_dir`, if there is one."""
  saver = build_saver(keep_checkpoints)
  restore = restorer(train_dir, saver)
  nothing = tf.constant([], tf.string, name='nothing_to_wait_for')
  return tf.train.Scaffold(
      saver=saver, init_fn=lambda _, session: restore(session),
      # Names of variables still without a value. This process gives all of them theirs itself, so
      # there is nothing to ask: 120 ops and two runs less before the first step.
      ready_op=nothing, ready_for_local_init_op=nothing)


def training_part(options):
  """Returns what to skip of each training file, as `cifar10_input.hold_out`, and what an epoch has.

  Args:
    options: the parsed flags, or anything with their names as attributes.
  """
  paths = cifar10_input.data_files(options.data_dir)
  skip, _ = cifar10_input.hold_out(paths, options.validation_examples)
  return skip, cifar10_input.total_records(paths, skip)


def build_input(options, draws=1, steps_a_batch=None):
  """Builds the input that the flags ask for.

  Args:
    options: the parsed flags, or anything with their names as attributes.
    draws: batches a step.
    steps_a_batch: as for `cifar10_input.distorted_inputs`.

  Returns:
    A list of `draws` pairs: images float32 [B, IMAGE_SIZE, IMAGE_SIZE, 3] and labels, int32 [B] or,
    where the recipe mixes pictures, float32 [B, NUM_CLASSES]; and how many pictures an epoch has.
  """
  skip, num_examples = training_part(options)
  recipe = recipe_of(options)
  augment = augmentation.parse(recipe.augment)
  if options.seed is not None:
    tf.set_random_seed(options.seed)
  drawn = cifar10_input.distorted_inputs(
      options.data_dir, options.batch_size, options.num_epochs,
      repeatable=options.seed is not None, augment=augment, readers=options.read_threads,
      distorters=options.distort_threads, skip=skip, draws=draws, max_steps=options.max_steps,
      steps_a_batch=steps_a_batch)
  if recipe.mixup:
    with tf.name_scope('mixup'), tf.device('/cpu:0'):
      drawn = [augmentation.mixup(*batch, recipe.mixup, cifar10.NUM_CLASSES) for batch in drawn]
  tf.summary.image('images', drawn[0][0], max_outputs=10)
  return drawn, num_examples


def build(options):
  """Builds the graph: input, network, loss, update.

  Args:
    options: the parsed flags, or anything with their names as attributes.

  Returns:
    The step once the update is done (int64 scalar; running it trains), and the loss.
  """
  recipe = recipe_of(options)
  dtype = cifar10.compute_dtype(options.use_fp16)
  global_step = tf.train.get_or_create_global_step()
  [(images, labels)], num_examples = build_input(options)
  loss = cifar10.loss(cifar10.inference(images, recipe, dtype), labels,
                      label_smoothing=recipe.label_smoothing)
  train_op = cifar10.train(loss, global_step, options.batch_size, num_examples, recipe, dtype)
  with tf.control_dependencies([train_op]):
    return tf.identity(global_step, 'step'), loss


def step_hooks(options, step, loss, signals, towers=1):
  """Returns what watches each step, wherever it runs, in the order in which it is told of one."""
  return [
      hooks.FiniteLossHook(step, loss),  # before anything is saved
      hooks.LoggerHook(step, loss, cifar10.accuracy(), towers * options.batch_size,
                               options.max_steps, options.log_frequency),
      tf.train.StopAtStepHook(last_step=options.max_steps),
      hooks.StopOnSignalHook(signals),
  ]


def save_hook(options, scaffold):
  """Returns what saves checkpoints."""
  save_secs = None if options.save_checkpoint_steps else options.save_checkpoint_secs
  return tf.train.CheckpointSaverHook(
      options.train_dir, save_secs, options.save_checkpoint_steps, scaffold=scaffold,
      listeners=[hooks.FiniteWeightsListener()], save_graph_def=False)


def hyper_parameters(options):
  """Returns what decides how training goes, by name: what flags say, and what the recipe has.

  Of several devices or machines `batch_size` is that of each; None is what a program has not.
  """
  told = {name: getattr(options, name, None) for name in (
      'recipe', 'batch_size', 'num_gpus', 'sync', 'replicas_to_aggregate', 'use_fp16',
      'validation_examples', 'seed')}
  return told | recipe_of(options)._asdict()


def _run_name(directory):
  """Returns what TensorBoard calls the run in a directory: where it is, and when it began."""
  path = os.path.abspath(directory).split(os.sep)
  return '%s, %s' % ('/'.join(path[-2:]), datetime.datetime.now().strftime('%Y-%m-%d %H:%M:%S'))


def event_writer(train_dir, step):
  """Returns the writer of events, with the graph, and from `step` on the hyper-parameters."""
  writer = tf.summary.FileWriterCache.get(train_dir)
  report.add_hyper_parameters(writer, train_dir, step)
  return writer


def _hooks(options, step, loss, scaffold, signals, towers):
  """Returns what watches the session."""
  latest = checkpoints.find_latest(options.train_dir)
  writer = event_writer(options.train_dir, checkpoints.step_of(latest) if latest else 0)
  return [
      *step_hooks(options, step, loss, signals, towers),
      tf.train.StepCounterHook(options.summary_steps, summary_writer=writer),
      tf.train.SummarySaverHook(options.summary_steps, summary_writer=writer,
                                summary_op=tf.summary.merge_all()),
      save_hook(options, scaffold),
      # Last, for the others start while the queues fill.
      hooks.FirstBatchHook(options.first_batch_secs, signals, towers),
  ]


def _run(options, signals, build, towers, cpu_devices):
  """Builds the graph and runs it until something ends it."""
  with tf.Graph().as_default():
    step, loss = build(options)
    scaffold = _scaffold(options.train_dir, options.keep_checkpoints)
    dtype = cifar10.compute_dtype(options.use_fp16)
    if options.use_fp16:
      print('Computing in %s%s.' % (
          dtype, '' if dtype != 'float32' else ': this machine is not faster in 16 bits'))
    with tf.train.MonitoredTrainingSession(
        scaffold=scaffold, hooks=_hooks(options, step, loss, scaffold, signals, towers),
        config=cifar10.session_config(dtype, options.log_device_placement, cpu_devices),
        save_checkpoint_secs=None, save_checkpoint_steps=None,
        save_summaries_secs=None, save_summaries_steps=None,
        stop_grace_period_secs=GRACE_SECONDS) as session:
      while not session.should_stop():
        session.run(step)


def _verdict(options, last, signals):
  """Says how training ended at step `last`; returns the state for evaluators and the exit code."""
  if last >= options.max_steps:
    print('Done: step %d of %d, saved in %s.' % (last, options.max_steps, options.train_dir))
    return 'finished', 0
  if signals.number:
    print('Stopped at step %d of %d, saved in %s; run again to go on.'
          % (last, options.max_steps, options.train_dir))
    return 'stopped', 128 + signals.number
  if options.num_epochs:
    print('Done: the input ended after --num_epochs=%d, at step %d; saved in %s.'
          % (options.num_epochs, last, options.train_dir))
    return 'finished', 0
  print('Error: the input ended at step %d, before --max_steps=%d.' % (last, options.max_steps),
        file=sys.stderr)
  return 'failed', 1


def begin(options):
  """Looks where training begins.

  Returns:
    The path of the latest checkpoint or None, and whether there is nothing left to do, which it
    says.
  """
  latest = checkpoints.find_latest(options.train_dir)
  step = checkpoints.step_of(latest) if latest else 0
  if step >= options.max_steps:
    print('Nothing to do: %s is at step %d of %d; --max_steps counts all steps.'
          % (latest, step, options.max_steps))
  return latest, step >= options.max_steps


def lead(options, signals, run):
  """Trains as the one process that writes to --train_dir, and tells evaluators how it goes.

  Args:
    options: the parsed flags, or anything with their names as attributes.
    signals: what `hooks.catch_signals` yields.
    run: function without arguments that trains, and saves; not called if nothing is left to do.

  Returns:
    The exit code.

  Raises:
    Failure: as said in its text.
  """
  directory = options.train_dir
  with checkpoints.exclusive(directory):
    latest, finished = begin(options)
    if finished:
      return 0
    print('Continuing from %s.' % latest if latest else 'Starting in %s.' % directory, flush=True)
    checkpoints.keep_names(directory, cifar10_input.class_names(options.data_dir))
    before = checkpoints.read_status(directory)
    details = {'max_steps': options.max_steps, 'run': before.get('run') or _run_name(directory),
               'hparams': hyper_parameters(options)}
    checkpoints.write_status(directory, 'training', **details)
    state = 'failed'
    try:
      run()
      last = checkpoints.step_of(checkpoints.find_latest(directory))
      state, code = _verdict(options, last, signals)
    finally:
      checkpoints.write_status(directory, state, **details)
    return code


def train(options, build=build, towers=1, cpu_devices=1):
  """Trains until --max_steps, the end of input or a signal.

  Args:
    options: the parsed flags, or anything with their names as attributes.
    build: function from the options to the step and the loss, as the one above.
    towers: batches of options.batch_size a step.
    cpu_devices: as for `cifar10.session_config`.

  Returns:
    The exit code.

  Raises:
    Failure: as said in its text.
  """
  with hooks.catch_signals() as signals:
    try:
      return lead(options, signals, lambda: _run(options, signals, build, towers, cpu_devices))
    except tf.errors.OpError as error:
      raise Failure('Training in %s failed: %s' % (options.train_dir, reason(error))) from error


def recipe_of(options):
  """Returns the cifar10.Recipe of --recipe, fitted to --max_steps, with --augment if it was given.

  Mixup is not among what --augment lists: it stays the recipe's.

  Args:
    options: the parsed flags after `follow_recipe`, or anything with their names as attributes.
  """
  recipe = cifar10.fitted(cifar10.RECIPES[options.recipe], options.max_steps)
  return recipe if options.augment is None else recipe._replace(augment=options.augment)


def follow_recipe(options):
  """Sets --max_steps, if it was not given, to what the recipe says.

  Args:
    options: the parsed flags.
  """
  if not options['max_steps'].present:
    options['max_steps'].value = cifar10.RECIPES[options.recipe].max_steps


def main(argv):
  del argv
  follow_recipe(FLAGS)
  cifar10.maybe_download_and_extract()
  return train(FLAGS)


if __name__ == '__main__':
  programs.run(main)
