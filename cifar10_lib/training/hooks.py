"""Hooks of a training session: log lines, graphs beside checkpoints, checks of loss and weights.

A MonitoredTrainingSession calls its hooks before and after every `session.run`, so the training
loop itself stays one line. `signals` is what `stopping.catch_signals` yields.
"""
import contextlib
import datetime
import math
import statistics
import sys
import time

from tqdm import tqdm

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import CheckpointSaverListener, SessionRunHook, tf
from cifar10_lib.training import checkpoints, trainer_files

FILL = 'fill'  # collection of ops to run once, between the first batch and the first step
POLL_SECONDS = 0.01  # between two checks of the queues before the first step


class _StepHook(SessionRunHook):
  """Fetches the step and other scalars of each run. Subclasses override `after_step`."""

  def __init__(self, step, **numbers):
    """Takes the global step after the update (integer scalar), and float32 scalars by name."""
    self._fetches = dict(numbers, step=step)

  def before_run(self, run_context):
    return tf.train.SessionRunArgs(self._fetches)

  def after_run(self, run_context, run_values):
    self.after_step(**{name: value.item() for name, value in run_values.results.items()})


class LoggerHook(_StepHook):
  """Prints a line every so many steps, and shows a progress bar on a terminal.

  Figures are means over the steps since the last line. Rates exclude the first step after a start,
  which includes what TensorFlow does once. On a cluster, other workers make steps too, so the step
  may rise by more than one per run.
  """

  def __init__(self, step, loss, accuracy, batch_size, max_steps, every_steps):
    """Takes what to print, and how often.

    Args:
      step: integer scalar, the global step after the update.
      loss, accuracy: float32 scalars of the step.
      batch_size: pictures a step.
      max_steps: the last step.
      every_steps: steps from one line to the next.
    """
    super().__init__(step, loss=loss, accuracy=accuracy)
    self._batch_size, self._max_steps, self._every_steps = batch_size, max_steps, every_steps
    self._losses, self._accuracies = [], []

  def begin(self):
    self._since = time.perf_counter()
    self._bar = None

  def after_step(self, step, loss, accuracy):
    now = time.perf_counter()
    if self._bar is None:
      self._print('step %d, loss = %.2f (first step after %.1f sec)'
                  % (step, loss, now - self._since))
      self._bar = tqdm(total=self._max_steps, initial=step, unit='step', file=sys.stderr,
                       dynamic_ncols=True, leave=False, disable=None)  # None: off without terminal
      self._since, self._printed_step = now, step
      return
    self._bar.update(step - self._bar.n)
    self._losses.append(loss)
    self._accuracies.append(accuracy)
    passed = step // self._every_steps > self._printed_step // self._every_steps
    if (passed or step >= self._max_steps) and step > self._printed_step:
      seconds = (now - self._since) / (step - self._printed_step)  # a step
      left = datetime.timedelta(seconds=round(seconds * max(0, self._max_steps - step)))
      self._print('step %d, loss = %.2f (%.1f examples/sec; %.3f sec/batch), accuracy %.2f, %s left'
                  % (step, statistics.fmean(self._losses), self._batch_size / seconds, seconds,
                     statistics.fmean(self._accuracies), left))
      self._losses, self._accuracies, self._since, self._printed_step = [], [], now, step

  def end(self, session):
    if self._bar is not None:
      self._bar.close()

  @staticmethod
  def _print(text):
    with contextlib.suppress(BrokenPipeError):  # SIGPIPE, which comes with it, ends training
      tqdm.write('%s: %s' % (datetime.datetime.now(), text), file=sys.stdout)
      sys.stdout.flush()


class FiniteLossHook(_StepHook):
  """Stops training when the loss is NaN or infinite. It must come before the hook that saves."""

  def __init__(self, step, loss):
    super().__init__(step, loss=loss)

  def after_step(self, step, loss):
    if not math.isfinite(loss):
      raise Failure('The loss became %s at step %d; the last checkpoint is from before it. Start '
                    'again to go on from there, in another --train_dir to begin anew.'
                    % (loss, step))


class FiniteWeightsListener(CheckpointSaverListener):
  """Stops a CheckpointSaverHook from saving weights that are NaN or infinite.

  The loss of a step is computed before its update. If an update breaks the weights, only the loss
  of the next step shows it.
  """

  def begin(self):
    with tf.name_scope('finite_weights'):
      sums = [tf.reduce_sum(tf.abs(variable)) for variable in tf.trainable_variables()]
      self._finite = tf.reduce_all(tf.is_finite(tf.stack(sums)))

  def before_save(self, session, global_step_value):
    if not session.run(self._finite):
      raise Failure('The weights became NaN or infinite by step %d, which was not saved; the last '
                    'checkpoint is from before it. Start again to go on from there.'
                    % global_step_value)


class MetaGraphListener(CheckpointSaverListener):
  """Writes the graph beside each checkpoint, for `tf.train.import_meta_graph`.

  It does so before the save, so that no checkpoint is ever without it, whenever the trainer is
  killed. It exports the graph once, because the graph stays the same: this takes 17 ms, while the
  queues fill. The Saver deletes the file with its checkpoint.
  """

  def __init__(self, scaffold, directory):
    """Takes the Scaffold with the Saver of the checkpoints, and their directory."""
    self._scaffold, self._directory, self._content = scaffold, directory, None

  def before_save(self, session, global_step_value):
    if self._content is None:
      with session.graph.as_default():
        self._content = self._scaffold.saver.export_meta_graph().SerializeToString()
    trainer_files.replace(checkpoints.path_of(self._directory, global_step_value) + '.meta',
                          self._content)


class FirstBatchHook(SessionRunHook):
  """Waits for the first batch before the first step; raises Failure if none comes.

  Without it, a step would hang and ignore signals if its batch never came. After the wait it runs
  the ops of the collection FILL, which fetch batches in advance.
  """

  def __init__(self, timeout_secs, signals=None, batches=1):
    """Takes the seconds to wait, the signals that end it, and the batches that a step needs."""
    self._timeout_secs, self._signals, self._batches = timeout_secs, signals, batches

  def begin(self):
    queues = [runner.queue for runner in tf.get_collection(tf.GraphKeys.QUEUE_RUNNERS)]
    self._last = queues[-1].name  # the batch queue is built last
    with tf.name_scope('first_batch/'):  # the slash keeps the ops out of the queues' own scopes
      self._sizes = {queue.name: queue.size(queue.name.split('/')[-1]) for queue in queues}
      self._closed = queues[-1].is_closed('closed')
    self._fill = tf.get_collection(FILL)

  def after_create_session(self, session, coord):
    self._wait(session, coord)
    if not coord.should_stop():
      session.run(self._fill)

  def _wait(self, session, coord):
    give_up = time.monotonic() + self._timeout_secs
    while not coord.should_stop():
      if self._signals and self._signals.number:
        coord.request_stop()
        return
      sizes, closed = session.run([self._sizes, self._closed])
      if sizes[self._last] >= self._batches or closed:
        return
      if time.monotonic() > give_up:
        filled = ', '.join('%s holds %d' % item for item in sizes.items())
        raise Failure('No batch came into queue %s within %g seconds (%s). Is the disk that holds '
                      'the data slow? --first_batch_secs gives it longer.'
                      % (self._last, self._timeout_secs, filled))
      time.sleep(POLL_SECONDS)
