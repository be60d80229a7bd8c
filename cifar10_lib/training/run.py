"""One run of training from start to end: directory, session options, hooks, status, exit code.

A program opens a run with `open_run`, builds its graph, and takes scaffold, hooks and session
options from the Run. The training loop stays in the program.

`options` are the parsed flags, or anything with their names as attributes. `signals` is what
`stopping.catch_signals` yields.
"""
import contextlib
import logging
import os
import sys
import threading
import time

from cifar10_lib.common import programs
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import reason, saving, tf
from cifar10_lib.dataset import records, sample
from cifar10_lib.network import precision
from cifar10_lib.reporting import report, summaries
from cifar10_lib.training import checkpoints, hooks, stopping, trainer_files, transfer

GRACE_SECONDS = 10  # for threads to end after training; one may hang in a read


class Run:
  """A run of training in one directory."""

  def __init__(self, options, signals, names):
    """Finds the checkpoint to start from: the latest sound one, or the `source` of --init_from.

    Raises:
      Failure: the latest has learned other classes than these names, or all checkpoints are
        damaged.
    """
    self.options, self.signals = options, signals
    self.latest, self.damaged = checkpoints.find_sound(options.train_dir)
    if self.latest:
      trainer_files.require_same_classes(self.latest, names, options.data_dir, '--train_dir')
    self.source = transfer.find(options.init_from, options.train_dir, self.latest)
    self.step = checkpoints.step_of(self.latest) if self.latest else 0
    self.exit_code = 0
    self.details = {}  # of the status for evaluators

  @property
  def finished(self):
    """Whether no step is left to do."""
    return self.step >= self.options.max_steps

  def report_finished(self):
    """Returns `finished`, and if so prints it."""
    if self.finished:
      print('Nothing to do: %s is at step %d of %d; --max_steps counts all steps.'
            % (self.latest, self.step, self.options.max_steps))
    return self.finished

  def report_end(self, is_lost=False):
    """Prints how training ended, writes the status and sets the exit code.

    `is_lost` says that a task of the cluster is away, so that training ends early.
    """
    latest = checkpoints.find_latest(self.options.train_dir)
    state, self.exit_code = _verdict(self.options, latest, self.signals, is_lost)
    with contextlib.suppress(OSError):  # a full disk does not change the verdict
      self.write_status(state)

  def write_status(self, state):
    """Writes how training stands, for evaluators, as `trainer_files.write_status` does."""
    trainer_files.write_status(self.options.train_dir, state, **self.details)

  def scaffold(self):
    """Returns a tf.train.Scaffold that starts from the latest checkpoint or from `source`."""
    saver = checkpoints.build_saver(self.options.keep_checkpoints)
    start = transfer.starter(self.options.train_dir, saver, self.source)
    # The names of uninitialised variables. This process initialises all variables, so the list is
    # empty. By default, 120 ops compute it in two runs before the first step.
    uninitialised = tf.constant([], tf.string, name='no_uninitialised_variables')
    return tf.train.Scaffold(
        saver=saver, init_fn=lambda _, session: start(session),
        ready_op=uninitialised, ready_for_local_init_op=uninitialised)

  def session_hooks(self, step, loss, accuracy, scaffold, towers=1):
    """Returns the hooks of a session on one machine, in the order they are called.

    Args:
      step, loss, accuracy, towers: as for `step_hooks`.
      scaffold: what `scaffold` returned.
    """
    return [
        *step_hooks(self.options, self.signals, step, loss, accuracy, towers),
        *event_hooks(self.options, self.step),
        save_hook(self.options, scaffold),
        # Last, because the other hooks do their work while the queues fill.
        hooks.FirstBatchHook(self.options.first_batch_secs, self.signals, towers),
    ]

  def session_config(self, cpu_devices=1):
    """Returns a ConfigProto; with --use_fp16 it prints what the session computes in."""
    dtype = precision.compute_dtype(self.options.use_fp16)
    if self.options.use_fp16:
      print('Computing in %s%s.' % (
          dtype, '' if dtype != 'float32' else ': this machine is not faster in 16 bits'))
    return precision.session_config(dtype, self.options.log_device_placement, cpu_devices)


def step_hooks(options, signals, step, loss, accuracy, towers=1):
  """Returns the hooks that every trainer uses, in the order they are called.

  Args:
    step: int64 scalar, the global step after the update.
    loss, accuracy: float32 scalars of the step.
    towers: batches of `options.batch_size` a step.
  """
  return [
      hooks.FiniteLossHook(step, loss),  # before anything is saved
      hooks.LoggerHook(step, loss, accuracy, towers * options.batch_size, options.max_steps,
                       options.log_frequency),
      tf.train.StopAtStepHook(last_step=options.max_steps),
      stopping.WatchHook(records.data_files(options.data_dir), signals, GRACE_SECONDS),
      stopping.StopOnSignalHook(signals),
  ]


def event_hooks(options, step):
  """Returns the hooks that write speed and summaries.

  The function itself writes the graph and, at `step`, the hyper-parameters. It adds summaries to
  the graph, which must be complete otherwise.
  """
  summaries.show_first()
  writer = tf.summary.FileWriterCache.get(options.train_dir)
  report.add_hyper_parameters(writer, trainer_files.read_status(options.train_dir), step)
  return [tf.train.StepCounterHook(options.summary_steps, summary_writer=writer),
          tf.train.SummarySaverHook(options.summary_steps, summary_writer=writer,
                                    summary_op=tf.summary.merge_all())]


def save_hook(options, scaffold):
  """Returns the hook that saves checkpoints, each with its graph beside it."""
  save_secs = None if options.save_checkpoint_steps else options.save_checkpoint_secs
  return tf.train.CheckpointSaverHook(
      options.train_dir, save_secs, options.save_checkpoint_steps, scaffold=scaffold,
      save_graph_def=False,
      listeners=[hooks.FiniteWeightsListener(),
                 hooks.MetaGraphListener(scaffold, options.train_dir)])


def hyper_parameters(options, recipe):
  """Returns the flags and the recipe's numbers that decide how training goes: dict by name.

  `batch_size` is that of each device or worker. A flag that the program does not have is None.
  """
  given = {name: getattr(options, name, None) for name in (
      'recipe', 'batch_size', 'num_gpus', 'sync', 'replicas_to_aggregate', 'use_fp16',
      'validation_examples', 'seed', 'init_from')}
  return given | recipe._asdict()


def _run_name(directory):
  """Returns the name of a run in TensorBoard: its directory and the time of its start."""
  path = os.path.abspath(directory).split(os.sep)
  return '%s, %s' % ('/'.join(path[-2:]), time.strftime('%Y-%m-%d %H:%M:%S'))


def _verdict(options, latest, signals, is_lost):
  """Prints how training ended; returns (status for evaluators, exit code).

  `latest` is the path of the latest checkpoint, or None; `is_lost` is as for `report_end`.
  """
  if latest is None and signals.number:
    print('Stopped before the first checkpoint in %s; run again to begin.' % options.train_dir)
    return 'stopped', 128 + signals.number
  if latest is None and is_lost:
    print('There is no checkpoint in %s yet.' % options.train_dir)
    return 'failed', 1
  last = checkpoints.step_of(latest)
  if last >= options.max_steps:
    print('Done: step %d of %d, saved in %s.' % (last, options.max_steps, options.train_dir))
    return 'finished', 0
  if signals.number:
    print('Stopped at step %d of %d, saved in %s; run again to go on.'
          % (last, options.max_steps, options.train_dir))
    return 'stopped', 128 + signals.number
  if is_lost:
    print('The last checkpoint in %s is of step %d of %d.'
          % (options.train_dir, last, options.max_steps))
    return 'failed', 1
  if options.num_epochs:
    print('Done: the input ended after --num_epochs=%d, at step %d; saved in %s.'
          % (options.num_epochs, last, options.train_dir))
    return 'finished', 0
  print('Error: the input ended at step %d, before --max_steps=%d.' % (last, options.max_steps),
        file=sys.stderr)
  return 'failed', 1


@contextlib.contextmanager
def open_run(options, recipe, signals, names, note=''):
  """Opens --train_dir as its only writer, and writes the status of training for evaluators.

  Args:
    recipe: a Recipe.
    names: list of str, the classes by label, to keep beside the checkpoints.
    note: a line to print after the first, or ''.

  Yields:
    A Run. If it is `finished`, there is nothing to do. Its `exit_code` is valid after the block.

  Raises:
    Failure: another trainer uses the directory, its checkpoint has learned other classes, or it
      cannot be written.
  """
  directory = options.train_dir
  with trainer_files.exclusive(directory):
    trainer_files.remove_unfinished(directory)
    run = Run(options, signals, names)
    for path, problem in run.damaged:
      print('%s is damaged (%s). Its files are now called %s.*.'
            % (path, problem, checkpoints.set_aside(path)), file=sys.stderr)
    if run.report_finished():
      yield run
      return
    print('Continuing from %s.' % run.latest if run.latest else 'Starting in %s.' % directory,
          flush=True)
    if note:
      print(note, flush=True)
    status, hparams = trainer_files.read_status(directory), hyper_parameters(options, recipe)
    if run.latest:  # the start of this run counts, not the flag of today
      hparams['init_from'] = status.get('hparams', {}).get('init_from')
      if options.init_from:
        print('--init_from=%s is not used, because the run has begun already.' % options.init_from)
    trainer_files.keep_names(directory, names)
    run.details = {'max_steps': options.max_steps, 'hparams': hparams,
                   'data': sample.describe(records.find_directory(options.data_dir)),
                   'run': status.get('run') or _run_name(directory)}
    run.write_status('training')
    try:
      yield run
      run.report_end()
    except BaseException:
      trainer_files.remove_unfinished(directory)  # a full disk may have room for the status then
      with contextlib.suppress(OSError):  # the error that ended training is the one to report
        run.write_status('failed')
      raise
    finally:
      # TensorFlow keeps a writer for each path. It would go on in a file that is deleted by the
      # time of the next run in this process, such as a notebook's. The hooks have flushed it.
      with contextlib.suppress(OSError, tf.errors.OpError):
        tf.summary.FileWriterCache.clear()


@contextlib.contextmanager
def _quiet_writer():
  """Keeps TensorFlow's thread that writes events from printing its error, which it raises later."""
  def is_other(record):
    return 'EventFileWriter writer thread error' not in record.getMessage()

  def report(details):
    if details.thread is None or details.thread.name != 'EventLoggerThread':
      before(details)
  before, threading.excepthook = threading.excepthook, report
  logger = logging.getLogger('tensorflow')
  logger.addFilter(is_other)
  try:
    yield
  finally:
    logger.removeFilter(is_other)
    threading.excepthook = before


@contextlib.contextmanager
def failures(what):
  """Turns an error of TensorFlow or of the file system in the block into a Failure of one line."""
  try:
    with _quiet_writer(), saving():
      yield
  except tf.errors.OpError as error:
    if programs.is_full(error):
      raise programs.no_space(what) from error
    raise Failure('%s failed: %s' % (what, reason(error))) from error
  except RuntimeError as error:  # of the thread that writes events: PATH; PROBLEM
    path, semicolon, problem = str(error).partition('; ')
    if not semicolon or 'events' not in os.path.basename(path):
      raise
    if programs.is_full(error):
      raise programs.no_space(what) from error
    raise Failure('%s failed: %s: %s' % (what, path, problem.splitlines()[0])) from error
  except OSError as error:
    if isinstance(error, BrokenPipeError):
      raise
    if programs.is_full(error):
      raise programs.no_space(what) from error
    parts = [what + ' failed', error.filename, error.strerror or error]
    raise Failure(': '.join(str(part) for part in parts if part is not None)) from error
