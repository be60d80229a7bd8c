"""What watches a training session: the log line, the stop on a signal, guards of input and loss.

A `tf.train.SessionRunHook` is asked before and told after every `session.run` of a
MonitoredTrainingSession, so the training loop itself stays one line.
"""
import contextlib
import datetime
import math
import os
import signal
import socket
import statistics
import sys
import threading
import time

from tqdm import tqdm

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf

FILL = 'fill'  # collection of ops to run once before the first step, when batches are ready
POLL_SECONDS = 0.01  # between two looks at a queue that fills


class _StepHook(tf.train.SessionRunHook):
  """Knows the step of each run, and some numbers. Subclasses override `after_step`."""

  def __init__(self, step, **numbers):
    """Takes integer and float32 scalars: the step once the run is done, and the run's numbers."""
    self._fetches = dict(numbers, step=step)

  def before_run(self, run_context):
    return tf.train.SessionRunArgs(self._fetches)

  def after_run(self, run_context, run_values):
    self.after_step(**{name: value.item() for name, value in run_values.results.items()})


class LoggerHook(_StepHook):
  """Prints how training goes: a line every so many steps, and a bar where there is a terminal.

  Figures are means over the steps since the last line. The first step after a start is left out
  of rates, for it includes what TensorFlow does once. Where others train too, a run of this process
  may be several steps after the one before.
  """

  def __init__(self, step, loss, accuracy, batch_size, max_steps, every_steps):
    """Takes scalars: the step once a run is done, the run's loss, and the share that it named
    right; then pictures a step, the last step, and steps a line."""
    super().__init__(step, loss=loss, accuracy=accuracy)
    self._batch_size, self._max_steps, self._every_steps = batch_size, max_steps, every_steps
    self._losses, self._accuracies = [], []

  def begin(self):
    self._begun = self._since = time.perf_counter()
    self._bar = None

  def after_step(self, step, loss, accuracy):
    now = time.perf_counter()
    if self._bar is None:
      self._print('step %d, loss = %.2f (first step after %.1f sec)'
                  % (step, loss, now - self._begun))
      self._bar = tqdm(total=self._max_steps, initial=step, unit='step', file=sys.stderr,
                       dynamic_ncols=True, leave=False, disable=None)  # None: off without terminal
      self._since, self._told = now, step
      return
    self._bar.update(step - self._bar.n)
    self._losses.append(loss)
    self._accuracies.append(accuracy)
    passed = step // self._every_steps > self._told // self._every_steps
    if (passed or step >= self._max_steps) and step > self._told:
      seconds = (now - self._since) / (step - self._told)  # a step
      left = datetime.timedelta(seconds=round(seconds * max(0, self._max_steps - step)))
      self._print('step %d, loss = %.2f (%.1f examples/sec; %.3f sec/batch), accuracy %.2f, %s left'
                  % (step, statistics.fmean(self._losses), self._batch_size / seconds, seconds,
                     statistics.fmean(self._accuracies), left))
      self._losses, self._accuracies, self._since, self._told = [], [], now, step

  def end(self, session):
    if self._bar is not None:
      self._bar.close()

  @staticmethod
  def _print(text):
    tqdm.write('%s: %s' % (datetime.datetime.now(), text), file=sys.stdout)
    sys.stdout.flush()


class FiniteLossHook(_StepHook):
  """Stops training at a loss that is NaN or infinite. List it before the hook that saves."""

  def __init__(self, step, loss):
    super().__init__(step, loss=loss)

  def after_step(self, step, loss):
    if not math.isfinite(loss):
      raise Failure('The loss became %s at step %d; the last checkpoint is from before it. Start '
                    'again to go on from there, in another --train_dir to begin anew.'
                    % (loss, step))


class FiniteWeightsListener(tf.train.CheckpointSaverListener):
  """Keeps a CheckpointSaverHook from saving weights that are NaN or infinite.

  The loss of a step is computed before its update; an update that breaks the weights shows in the
  loss of the next step only.
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


class MetaGraphListener(tf.train.CheckpointSaverListener):
  """Writes the graph beside each checkpoint, as `tf.train.import_meta_graph` reads it.

  The graph is the same all the time: a thread writes it once a run, and later checkpoints get a
  hard link. The Saver deletes the link with its checkpoint.
  """

  def __init__(self, directory, scaffold):
    """Takes the directory of the checkpoints, and the Scaffold with their Saver."""
    self._directory, self._scaffold = directory, scaffold
    self._thread = self._latest = None

  def begin(self):
    self._graph = tf.get_default_graph()

  def after_save(self, session, global_step_value):
    path = os.path.join(self._directory, 'model.ckpt-%d.meta' % global_step_value)
    if self._thread is None:
      self._thread = threading.Thread(target=self._write, args=(path,))
      self._thread.start()
    else:
      self._thread.join()
      self._link(path)
    self._latest = path

  def end(self, session, global_step_value):
    if self._thread is not None:
      self._thread.join()

  def _write(self, path):
    with self._graph.as_default():
      meta_graph = self._scaffold.saver.export_meta_graph()
    with open(path + '.new', 'wb') as file:
      file.write(meta_graph.SerializeToString())
    os.replace(path + '.new', path)

  def _link(self, path):
    if path == self._latest:
      return
    try:
      os.link(self._latest, path)
    except FileExistsError:  # of a run before
      os.remove(path)
      os.link(self._latest, path)
    except OSError:  # a file system without hard links, or the file was moved away
      self._write(path)


class _Signals:
  """Which signal came, if any."""
  number = None


@contextlib.contextmanager
def catch_signals():
  """Holds SIGTERM and SIGINT back within a block: the first is noted, the second ends at once.

  Yields:
    An object whose `number` is that of the signal, or None.
  """
  signals = _Signals()

  def note(number, frame):
    signals.number = number
    begin = '\n' if sys.stderr.isatty() else ''  # the bar stands in the line
    print('%sCaught %s: finishing the step, then saving; once more ends at once.'
          % (begin, signal.Signals(number).name), flush=True)
    signal.signal(number, signal.SIG_DFL)

  # A job that a script started in the background has SIGINT ignored, and means it.
  numbers = [number for number in (signal.SIGTERM, signal.SIGINT)
             if signal.getsignal(number) is not signal.SIG_IGN]
  before = {number: signal.signal(number, note) for number in numbers}
  # Python calls `note` between two of its own instructions, never inside a step that hangs. What
  # the interpreter writes to this socket when a signal comes, a thread can read at once.
  reader, writer = socket.socketpair()
  writer.setblocking(False)
  wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

  def watch():
    came = 0
    while True:
      byte = reader.recv(1)
      if not byte:
        return
      came += byte[0] in numbers
      if came == 2:
        os._exit(128 + byte[0])
  thread = threading.Thread(target=watch, daemon=True)
  thread.start()
  try:
    yield signals
  finally:
    signal.set_wakeup_fd(wakeup)
    writer.close()
    thread.join()
    reader.close()
    for number, handler in before.items():
      signal.signal(number, handler)


class StopOnSignalHook(tf.train.SessionRunHook):
  """Ends training after the step in which a signal came."""

  def __init__(self, signals):
    """Takes what `catch_signals` yields."""
    self._signals = signals

  def after_create_session(self, session, coord):
    if self._signals.number:
      coord.request_stop()

  def after_run(self, run_context, run_values):
    if self._signals.number:
      run_context.request_stop()


class FirstBatchHook(tf.train.SessionRunHook):
  """Waits for the first batch before the first step, and says which queue it waits for in vain.

  A step that needs a batch which never comes would hang without a word, deaf to signals. Then it
  runs the ops of the collection FILL, which take batches beforehand.
  """

  def __init__(self, timeout_secs, signals=_Signals, batches=1):
    """Takes how long to wait, what `catch_signals` yields, and how many batches a step takes."""
    self._timeout_secs, self._signals, self._batches = timeout_secs, signals, batches

  def begin(self):
    queues = [runner.queue for runner in tf.get_collection(tf.GraphKeys.QUEUE_RUNNERS)]
    self._last = queues[-1].name  # of ready batches: the one built last
    with tf.name_scope('first_batch/'):  # with a slash: not within the queues' own scopes
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
      if self._signals.number:
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
