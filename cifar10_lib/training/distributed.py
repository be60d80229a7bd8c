"""What TensorFlow's runtime needs so that tasks of a cluster may come and go during training.

`cluster` is a clusters.Cluster, `target` the address of this process's tf.train.Server, and
`signals` what `stopping.catch_signals` yields.
"""
import contextlib
import glob
import os
import sys
import threading
import time

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import SessionRunHook, tf
from cifar10_lib.training import clusters

END_SECONDS = 10  # that a parameter server waits for the other workers once the chief has ended
POLL_SECONDS = 0.2  # between two checks whether the variables have values


class SessionLost(Exception):
  """A task that holds a part of the session is gone."""


def lost():
  """Returns the errors after which another attempt to train may succeed, for `except`."""
  return SessionLost, tf.errors.UnavailableError, tf.errors.AbortedError


def device_filters(*tasks):
  """Returns a ConfigProto for a session of these tasks alone: it does not wait for any other.

  A task is (job, index); index None stands for all tasks of the job.
  """
  return tf.ConfigProto(device_filters=[
      '/job:%s' % job if index is None else '/job:%s/task:%d' % (job, index)
      for job, index in tasks])


class LeastLoaded:
  """Places each variable on the parameter server that holds the fewest bytes so far."""

  def __init__(self, count):
    """Takes the number of parameter servers."""
    self._bytes = [0] * count

  def __call__(self, op):
    """Returns the index of the server for the op that makes a variable."""
    shape = tf.TensorShape(op.get_attr('shape'))
    index = self._bytes.index(min(self._bytes))
    self._bytes[index] += shape.num_elements() * op.get_attr('dtype').size
    return index


class SyncHook(SessionRunHook):
  """Starts this worker's part of synchronous updates. A thread of the chief makes the updates.

  It replaces the optimizer's own hook. That one closes the queue on the parameter server when the
  chief ends, so that a restarted chief could not continue.
  """

  def __init__(self, optimizer, creator, workers):
    """Takes a tf.train.SyncReplicasOptimizer, the SessionCreator, and the number of workers."""
    self._creator = creator
    if creator.is_chief:
      self._start = optimizer.chief_init_op
      self._tokens = optimizer.get_init_tokens_op(workers)
      self._update, = optimizer.get_chief_queue_runner().enqueue_ops
    else:
      self._start = optimizer.local_step_init_op

  def after_create_session(self, session, coord):
    session.run(self._start)
    if self._creator.resumed:  # workers wait for an update that the previous chief did not finish
      session.run(self._tokens)
    if self._creator.is_chief:
      threading.Thread(target=self._make_updates, args=(session, coord), daemon=True).start()

  def _make_updates(self, session, coord):
    try:
      while not coord.should_stop():
        session.run(self._update)
    except (tf.errors.OpError, RuntimeError) as error:  # RuntimeError: the session is closed
      if not coord.should_stop() and isinstance(error, tf.errors.OpError):
        coord.request_stop(error)


class NewStepsHook(SessionRunHook):
  """Hides from a hook that writes events all steps that are already in the event files."""

  def __init__(self, hook, step, last):
    """Takes the hook, the step before a run (integer scalar), and the last step in the files."""
    self._hook, self._step, self._last = hook, step, last

  def begin(self):
    self._hook.begin()

  def after_create_session(self, session, coord):
    self._is_new = session.run(self._step) > self._last
    self._hook.after_create_session(session, coord)

  def before_run(self, run_context):
    if not self._is_new:
      self._is_new = run_context.session.run(self._step) > self._last
    return self._hook.before_run(run_context) if self._is_new else None

  def after_run(self, run_context, run_values):
    if self._is_new and run_values.results is not None:
      self._hook.after_run(run_context, run_values)

  def end(self, session):
    if self._is_new:
      self._hook.end(session)


def last_written(directory):
  """Returns the highest step of a value in a directory's event files; -1 if there is none."""
  tf.summary.FileWriterCache.get(directory).flush()  # an attempt before this one has written, too
  last = -1
  for path in glob.glob(os.path.join(glob.escape(directory), 'events.*')):
    with contextlib.suppress(tf.errors.DataLossError):  # truncated when its writer was killed
      for event in tf.train.summary_iterator(path):
        if event.HasField('summary'):
          last = max(last, event.step)
  return last


class SessionCreator:
  """Creates a session on the cluster once. Asked again, because it was lost, it raises SessionLost.

  A new session of the same graph would find the graph's queues closed: they outlive the lost
  session in this process's server.

  The chief initialises the variables, unless the parameter servers still hold them because only
  the chief was restarted (`resumed`). The other workers wait for that.
  """

  def __init__(self, target, config, restore, seconds, signals):
    """Adds the ops to the graph.

    Args:
      config: a ConfigProto.
      restore: function that takes a session, as `transfer.starter` returns it; None for a
        worker that is not the chief.
      seconds: time to wait for the chief.
    """
    self._target, self._config, self._restore = target, config, restore
    self._seconds, self._signals, self._created = seconds, signals, False
    self.is_chief, self.resumed = restore is not None, False
    with tf.device('/job:ps/task:0'):
      self._ready = tf.get_variable('ready', initializer=False, trainable=False, collections=[])
    self._uninitialised = tf.report_uninitialized_variables([*tf.global_variables(), self._ready])
    self._initialise = tf.global_variables_initializer()
    self._local = tf.local_variables_initializer()
    self._set_ready = self._ready.assign(True)

  def _is_ready(self, session):
    return not len(session.run(self._uninitialised)) and session.run(self._ready)

  def create_session(self):
    if self._created:
      raise SessionLost()
    self._created = True
    session = tf.Session(self._target, config=self._config)
    if not self.is_chief:
      self._wait(session)
    elif self._is_ready(session):
      self.resumed = True
      print('Going on with what the parameter servers hold.', flush=True)
    else:
      session.run(self._ready.initializer)
      session.run(self._initialise)
      self._restore(session)
      session.run(self._set_ready)
    session.run(self._local)
    return session

  def _wait(self, session):
    give_up = time.monotonic() + self._seconds
    while not self._is_ready(session):
      if self._signals.number:
        sys.exit(128 + self._signals.number)
      if time.monotonic() > give_up:
        raise Failure('The chief gave the variables no values within %g seconds. Look at its log.'
                      % self._seconds)
      time.sleep(POLL_SECONDS)


class Rescue:
  """Saves the variables while a step of the chief hangs, because a worker is gone.

  The variables are on the parameter servers. So another session of the same graph reaches them.
  """

  def __init__(self, target, config):
    """Takes what a tf.Session of the chief takes."""
    self._target, self._config, self._used = target, config, None

  @contextlib.contextmanager
  def using(self, hook):
    """Makes `save` use this tf.train.CheckpointSaverHook of the default graph, in the block."""
    self._used = hook, tf.get_default_graph()
    try:
      yield
    finally:
      self._used = None

  def save(self):
    """Saves a checkpoint, unless the step is saved already, or no session has begun."""
    if self._used:
      hook, graph = self._used
      with graph.as_default(), tf.Session(self._target, config=self._config) as session:
        hook.end(session)


def is_no_lost_session(record):
  """Logging filter: drops TensorFlow's report of a lost session. The trainer prints its own."""
  return 'when attempting to close the session' not in record.getMessage()


# A parameter server ends after its workers. Each worker reports its end to a queue on each server.
# A server that a signal ends reports this in another queue, and stays until the chief has saved.


def _queue(name, index):
  """Returns a queue of parameter server `index`, bool []. In 'ended', True is the chief's end."""
  with tf.device('/job:ps/task:%d' % index):
    return tf.FIFOQueue(1000, [tf.bool], [[]], shared_name=name)


class LeavingHook(SessionRunHook):
  """Stops the chief, which then saves, once a parameter server has been told to end."""

  def __init__(self, cluster):
    """Adds ops to the graph."""
    self._cluster, self._leaving = cluster, None
    self._sizes = [_queue('leaving', index).size() for _, index in cluster.servers]

  def before_run(self, run_context):
    return tf.train.SessionRunArgs(self._sizes)

  def after_run(self, run_context, run_values):
    for server, size in zip(self._cluster.servers, run_values.results, strict=True):
      if size:
        self._leaving = server
        run_context.request_stop()

  def require_all(self, target):
    """Raises Failure if a server is about to end, and tells the servers that the chief ends."""
    if self._leaving:
      report_end(self._cluster, target)
      raise Failure('%s was told to end, so training has saved and stopped. Start both again.'
                    % clusters.name(self._leaving))


def report_end(cluster, target):
  """Reports this worker's end to every parameter server that can be reached."""
  for server in cluster.servers:
    with tf.Graph().as_default(), contextlib.suppress(tf.errors.OpError):
      report = _queue('ended', server[1]).enqueue([cluster.is_chief])
      with tf.Session(target, config=device_filters(server, cluster.task)) as session:
        session.run(report, options=tf.RunOptions(timeout_in_ms=5000))


def serve(cluster, target, seconds, signals, grace_seconds):
  """Holds variables, as a parameter server, until all workers have ended; returns the exit code.

  After a signal it ends with the chief, or after `grace_seconds`.

  Args:
    seconds: time that the chief may be out of reach.
  """
  running, give_up, leaving = len(cluster.workers), None, False
  with tf.Graph().as_default():
    ended = _queue('ended', cluster.index).dequeue()
    leave = _queue('leaving', cluster.index).enqueue([True])
    clusters.wait_for(cluster, [cluster.chief], seconds, signals)
    with tf.Session(target, config=device_filters(cluster.task)) as session, clusters.watching(
        cluster, [cluster.chief], seconds, signals, 2 * grace_seconds):
      while running and not (give_up and time.monotonic() > give_up):
        if signals.number and not leaving:
          if not clusters.reachable(cluster.address(cluster.chief)):
            break
          session.run(leave)
          leaving, give_up = True, time.monotonic() + grace_seconds
        try:
          chief_ended = session.run(ended, options=tf.RunOptions(timeout_in_ms=500))
        except tf.errors.DeadlineExceededError:
          continue
        running -= 1
        if chief_ended and leaving:
          break
        if chief_ended:
          give_up = time.monotonic() + END_SECONDS
  if signals.number:
    return 128 + signals.number
  print('Done.')
  return 0
