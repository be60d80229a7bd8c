"""Trains the network on several machines, by TensorFlow's own runtime.

On each machine the same command, with TF_CONFIG in the environment saying who takes part and which
of them this process is (`clusters`):

  python cifar10_train_distributed.py --train_dir cifar10_train/ --data_dir cifar10_data/

On one machine, for trying it out:

  python cifar10_train_distributed.py --local=ps:1,worker:2 --train_dir cifar10_train/ ...

Parameter servers hold the variables. Each worker reads pictures of its own, fetches the variables,
computes gradients and sends them. With --sync, each update is of the mean of the gradients of
--replicas_to_aggregate workers, and no worker goes on before it is made; one that is late sends in
vain. With --async each worker's gradients are an update of their own. Only the chief writes files.

Any task may be killed and started again: variables outlive a worker and the chief, and if a
parameter server is lost, the chief restores all from the latest checkpoint.
"""
import glob
import logging
import math
import os
import sys
import threading
import time

from absl import flags

import cifar10
from cifar10_lib.common import programs
from cifar10_lib.training import clusters
import cifar10_eval
from cifar10_lib.training import hooks
import cifar10_train
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import reason, tf

FLAGS = flags.FLAGS
flags.DEFINE_string('local', None, 'Start a cluster on this machine, as in ps:1,worker:2.')
flags.DEFINE_boolean('sync', True, 'Average the gradients of all workers into each update.')
flags.DEFINE_boolean('async', False, 'Make an update of each gradient as it comes: --nosync.')
flags.DEFINE_integer('replicas_to_aggregate', None, 'Gradients that make an update; all workers if '
                     'not given. With fewer, the others are backup: no update waits for the '
                     'slowest.', lower_bound=1)
flags.DEFINE_float('connect_timeout_secs', 60, 'How long a task may be out of reach, at the start '
                   'or later, before this one gives up.', lower_bound=0)
flags.adopt_module_key_flags(cifar10_train)

END_SECONDS = 10  # that a parameter server waits for other workers once the chief has ended
POLL_SECONDS = 0.2
OUT_OF_REACH = tf.errors.UnavailableError, tf.errors.AbortedError


class Lost(Exception):
  """A task with a part of the session is gone."""


# The graph.


class LeastLoaded:
  """Gives each variable to the parameter server that holds the fewest bytes so far."""

  def __init__(self, count):
    self._bytes = [0] * count

  def __call__(self, op):
    shape = tf.TensorShape(op.get_attr('shape'))
    index = self._bytes.index(min(self._bytes))
    self._bytes[index] += shape.num_elements() * op.get_attr('dtype').size
    return index


def _synchroniser(replicas, workers, made):
  """Returns a function as `cifar10.train` takes it; puts the optimizer that it makes in `made`."""
  def synchronise(optimizer, averages):
    made.append(tf.train.SyncReplicasOptimizer(
        optimizer, replicas, workers, variable_averages=averages,
        variables_to_average=tf.trainable_variables()))
    return made[0]
  return synchronise


def build(options, cluster, replicas):
  """Builds the graph of one worker, with its variables on the parameter servers.

  Args:
    options: the parsed flags, or anything with their names as attributes.
    cluster: a clusters.Cluster.
    replicas: gradients that make an update; None for an update of each.

  Returns:
    The step once the update is done (int64 scalar; running it trains), the loss, and the
    tf.train.SyncReplicasOptimizer, if there is one.
  """
  recipe = cifar10_train.recipe_of(options)
  dtype = cifar10.compute_dtype(options.use_fp16)
  worker = '/job:%s/task:%d' % (cluster.job, cluster.index)
  place = tf.train.replica_device_setter(
      cluster=tf.train.ClusterSpec(cluster.addresses), worker_device=worker,
      ps_strategy=LeastLoaded(len(cluster.addresses['ps'])))
  made = []
  with tf.device(place):
    global_step = tf.train.get_or_create_global_step()
    # Queues outlive a lost session in this process's server, but closed: new ones each time.
    # Its variables count what this worker reads: they are the worker's.
    with tf.container('input-%d-%d' % (os.getpid(), time.monotonic_ns())), tf.device(worker):
      [(images, labels)], num_examples = cifar10_train.build_input(
          options, steps_a_batch=1 if replicas else len(cluster.workers))
    loss = cifar10.loss(cifar10.inference(images, recipe, dtype), labels,
                        label_smoothing=recipe.label_smoothing)
    synchronise = replicas and _synchroniser(replicas, len(cluster.workers), made)
    train_op = cifar10.train(loss, global_step, (replicas or 1) * options.batch_size, num_examples,
                             recipe, dtype, synchronise=synchronise)
    for each in made:
      each.ready_for_local_init_op.mark_used()  # the Creator below has an op of its own for it
    with tf.control_dependencies([train_op]):
      return tf.identity(global_step), loss, made[0] if made else None


# The session.


class SyncHook(tf.train.SessionRunHook):
  """Starts this worker's part of synchronous updates; the chief's thread makes the updates.

  As the optimizer's own hook, whose queue runner would close the queue on the parameter server when
  the chief ends: another chief could not go on.
  """

  def __init__(self, optimizer, creator, workers):
    """Takes a tf.train.SyncReplicasOptimizer, the Creator, and how many workers there are."""
    self._creator, self._update = creator, None
    if creator.is_chief:
      self._start = [optimizer.chief_init_op]
      self._tokens = optimizer.get_init_tokens_op(workers)
      self._update, = optimizer.get_chief_queue_runner().enqueue_ops
    else:
      self._start = [optimizer.local_step_init_op]

  def after_create_session(self, session, coord):
    session.run(self._start)
    if self._creator.resumed:  # workers wait for an update that the chief before did not finish
      session.run(self._tokens)
    if self._update is not None:
      thread = threading.Thread(target=self._make_updates, args=(session, coord), daemon=True)
      thread.start()

  def _make_updates(self, session, coord):
    try:
      while not coord.should_stop():
        session.run(self._update)
    except (tf.errors.OpError, RuntimeError) as error:  # RuntimeError: the session is closed
      if not coord.should_stop() and isinstance(error, tf.errors.OpError):
        coord.request_stop(error)


class Onward(tf.train.SessionRunHook):
  """Lets a hook that writes events see only steps beyond the last that is written."""

  def __init__(self, hook, step, last):
    """Takes the hook, the step before a run (integer scalar), and the last step that is written."""
    self._hook, self._step, self._last = hook, step, last

  def begin(self):
    self._hook.begin()

  def after_create_session(self, session, coord):
    self._beyond = session.run(self._step) > self._last
    self._hook.after_create_session(session, coord)

  def before_run(self, run_context):
    if not self._beyond:
      self._beyond = run_context.session.run(self._step) > self._last
    return self._hook.before_run(run_context) if self._beyond else None

  def after_run(self, run_context, run_values):
    if self._beyond and run_values.results is not None:
      self._hook.after_run(run_context, run_values)

  def end(self, session):
    if self._beyond:
      self._hook.end(session)


def last_written(directory):
  """Returns the highest step of a value in a directory's event files; -1 if there is none."""
  last = -1
  for path in glob.glob(os.path.join(glob.escape(directory), 'events.*')):
    try:
      for event in tf.train.summary_iterator(path):
        if event.HasField('summary'):
          last = max(last, event.step)
    except tf.errors.DataLossError:  # cut short when its writer was killed
      pass
  return last


class Creator(tf.train.SessionCreator):
  """Makes a session on the cluster once; when asked again, for the first was lost, raises Lost.

  For the graph's queues live on in this process's server, closed, and a new session of the same
  graph would find them so.

  The chief gives variables their values, unless they have them, when it was the chief alone that
  was away (`resumed`). The others wait for that.
  """

  def __init__(self, target, config, restore, seconds, signals):
    """Takes the server's target, a ConfigProto, and how long to wait for the chief.

    `restore`, of the chief alone, is a function that takes a session, as `cifar10_train.restorer`
    returns it.
    """
    self._target, self._config, self._restore = target, config, restore
    self._seconds, self._signals, self._made = seconds, signals, False
    self.is_chief, self.resumed = restore is not None, False
    with tf.device('/job:ps/task:0'):
      self._ready = tf.get_variable('ready', initializer=False, trainable=False, collections=[])
    self._lacking = tf.report_uninitialized_variables([*tf.global_variables(), self._ready])
    self._initialise = tf.global_variables_initializer()
    self._local = tf.local_variables_initializer()
    self._set_ready = self._ready.assign(True)

  def _is_ready(self, session):
    return not len(session.run(self._lacking)) and session.run(self._ready)

  def create_session(self):
    if self._made:
      raise Lost()
    self._made = True
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


def _quiet(record):
  """Keeps TensorFlow's account of a lost session from the log, which has a line of ours instead."""
  return 'when attempting to close the session' not in record.getMessage()


def _config(options, cluster):
  config = cifar10.session_config(cifar10.compute_dtype(options.use_fp16),
                                  options.log_device_placement)
  # This worker and the parameter servers: a session would wait for every other worker too.
  config.device_filters.extend(['/job:ps', '/job:%s/task:%d' % (cluster.job, cluster.index)])
  return config


def _attempt(options, cluster, target, replicas, signals):
  """Builds the graph and trains until the end, or until a task is lost.

  Raises:
    Lost, tf.errors.UnavailableError, tf.errors.AbortedError: a task is gone.
  """
  with tf.Graph().as_default():
    step, loss, synchronous = build(options, cluster, replicas)
    hooks = cifar10_train.step_hooks(options, step, loss, signals, replicas or 1)
    restore = None
    if cluster.is_chief:
      saver = cifar10_train.build_saver(options.keep_checkpoints)
      restore = cifar10_train.restorer(options.train_dir, saver)
      scaffold = tf.train.Scaffold(saver=saver)
      before = tf.identity(tf.train.get_global_step())
      last = last_written(options.train_dir)
      writer = cifar10_train.event_writer(options.train_dir, max(0, last))
      hooks += [
          Onward(tf.train.StepCounterHook(options.summary_steps, summary_writer=writer),
                 before, last),
          Onward(tf.train.SummarySaverHook(options.summary_steps, summary_writer=writer,
                                           summary_op=tf.summary.merge_all()), before, last),
          cifar10_train.save_hook(options, scaffold)]
    creator = Creator(target, _config(options, cluster), restore, options.connect_timeout_secs,
                      signals)
    if synchronous:
      hooks.append(SyncHook(synchronous, creator, len(cluster.workers)))
    hooks.append(hooks.FirstBatchHook(options.first_batch_secs, signals))
    with tf.train.MonitoredSession(creator, hooks, cifar10_train.GRACE_SECONDS) as session:
      while not session.should_stop():
        session.run(step)


def _tell_servers(cluster, target):
  """Tells every parameter server that this worker has ended; one that is gone is not told."""
  for _, index in cluster.servers:
    with tf.Graph().as_default():
      add = _ended_queue(index).enqueue([cluster.is_chief])
      config = tf.ConfigProto(device_filters=['/job:ps/task:%d' % index, '/job:%s/task:%d' % (
          cluster.job, cluster.index)])
      try:
        with tf.Session(target, config=config) as session:
          session.run(add, options=tf.RunOptions(timeout_in_ms=5000))
      except tf.errors.OpError:
        pass


def _ended_queue(index):
  """Returns the queue on a parameter server of who has ended: True for the chief, bool []."""
  with tf.device('/job:ps/task:%d' % index):
    return tf.FIFOQueue(1000, [tf.bool], [[]], shared_name='ended')


def aggregated(options, workers):
  """Returns how many of the workers' gradients make an update; None for each an update."""
  return (options.replicas_to_aggregate or workers) if options.sync else None


def end_by_epochs(options, workers):
  """Makes --num_epochs a number of steps, for no worker sees what the others have read.

  An epoch is as many pictures as the files have, whoever reads them. It counts from the first
  start, as steps do: tasks that are started again must end where the others do.

  Args:
    options: the parsed flags; `num_epochs` becomes None, and `max_steps` smaller if need be.
    workers: how many there are.
  """
  if options.num_epochs:
    _, num_examples = cifar10_train.training_part(options)
    a_step = (aggregated(options, workers) or 1) * options.batch_size  # pictures
    options.max_steps = min(options.max_steps,
                            math.ceil(options.num_epochs * num_examples / a_step))
    options.num_epochs = None


def _work(options, cluster, server, signals):
  """Trains as one worker, over as many attempts as it takes."""
  replicas = aggregated(options, len(cluster.workers))
  # Whom this task cannot do without.
  everyone = cluster.is_chief and replicas == len(cluster.workers)
  needed = [*cluster.servers, *(cluster.workers if everyone else [cluster.chief])]
  peers = [task for task in needed if task != (cluster.job, cluster.index)]
  seconds = options.connect_timeout_secs
  clusters.wait_for(cluster, peers, seconds, signals)
  with clusters.Watch(cluster, peers, seconds, signals, cifar10_train.GRACE_SECONDS):
    while not signals.number:
      try:
        _attempt(options, cluster, server.target, replicas, signals)
        break
      except (Lost, *OUT_OF_REACH):
        print('Lost the session: a task was out of reach. Connecting anew.', flush=True)
        time.sleep(clusters.LOOK_SECONDS)
        clusters.wait_for(cluster, peers, seconds, signals)


def _lead(options, cluster, server, signals):
  """Trains as the chief; returns the exit code."""
  code = cifar10_train.lead(options, signals, lambda: _work(options, cluster, server, signals))
  _tell_servers(cluster, server.target)
  return code


def _follow(options, cluster, server, signals):
  """Trains as a worker that is not the chief; returns the exit code."""
  _work(options, cluster, server, signals)
  _tell_servers(cluster, server.target)
  print('Stopped.' if signals.number else 'Done.')
  return 128 + signals.number if signals.number else 0


def _serve(options, cluster, server, signals):
  """Holds variables until all workers have ended; returns the exit code."""
  waiting, give_up = len(cluster.workers), None
  with tf.Graph().as_default():
    ended = _ended_queue(cluster.index).dequeue()
    config = tf.ConfigProto(device_filters=['/job:ps/task:%d' % cluster.index])
    chief = [cluster.chief]
    clusters.wait_for(cluster, chief, options.connect_timeout_secs, signals)
    with tf.Session(server.target, config=config) as session, clusters.Watch(
        cluster, chief, options.connect_timeout_secs, signals, cifar10_train.GRACE_SECONDS):
      while waiting and not (give_up and time.monotonic() > give_up):
        if signals.number:
          return 128 + signals.number
        try:
          chief_ended = session.run(ended, options=tf.RunOptions(timeout_in_ms=500))
        except tf.errors.DeadlineExceededError:
          continue
        waiting -= 1
        if chief_ended:
          give_up = time.monotonic() + END_SECONDS
  print('Done.')
  return 0


def _evaluate(options):
  """Scores checkpoints as they appear; returns the exit code."""
  options.checkpoint_dir = options.train_dir
  cifar10_eval.evaluate(options)
  return 0


def train(options, cluster):
  """Does what a task of a cluster does.

  Args:
    options: the parsed flags, or anything with their names as attributes.
    cluster: a clusters.Cluster.

  Returns:
    The exit code.

  Raises:
    Failure: as said in its text.
  """
  if cluster.job == 'evaluator':
    return _evaluate(options)
  workers = len(cluster.workers)
  if options.sync and (options.replicas_to_aggregate or 1) > workers:
    raise Failure('--replicas_to_aggregate=%d, but there are %d workers. Take fewer.'
                  % (options.replicas_to_aggregate, workers))
  task = cluster.job, cluster.index
  if cluster.job != 'ps':
    end_by_epochs(options, workers)
    if options.seed is not None:
      options.seed += cluster.workers.index(task)  # pictures in an order of its own
  # It listens at its port on every address of the machine: TensorFlow knows no other way.
  try:
    server = tf.train.Server(tf.train.ClusterSpec(cluster.addresses), cluster.job, cluster.index,
                             config=_config(options, cluster))
  except tf.errors.OpError as error:
    raise Failure('%s cannot listen at %s: %s. Is the port taken?' % (
        clusters.name(task), cluster.address(task), reason(error))) from error
  logging.getLogger('tensorflow').addFilter(_quiet)
  role = _serve if cluster.job == 'ps' else _lead if cluster.is_chief else _follow
  with hooks.catch_signals() as signals:
    try:
      return role(options, cluster, server, signals)
    except tf.errors.OpError as error:
      raise Failure('Training as %s failed: %s' % (
          clusters.name(task), reason(error))) from error


def main(argv):
  del argv
  cifar10_train.follow_recipe(FLAGS)
  if FLAGS['async'].value:
    FLAGS.sync = False
  if not FLAGS.local:
    cluster = clusters.parse(os.environ.get('TF_CONFIG'))
    if cluster.job != 'ps':
      cifar10.maybe_download_and_extract()
    return train(FLAGS, cluster)
  counts = clusters.parse_local(FLAGS.local)
  cifar10.maybe_download_and_extract()
  end_by_epochs(FLAGS, sum(counts.get(job, 0) for job in ('chief', 'worker')))
  if cifar10_train.begin(FLAGS)[1]:
    return 0
  command = [sys.executable, os.path.abspath(__file__),
             *sys.argv[1:], '--local=']  # the last one counts
  with hooks.catch_signals() as signals:
    return clusters.run_local(counts, command, FLAGS.train_dir, signals,
                                     2 * cifar10_train.GRACE_SECONDS)


if __name__ == '__main__':
  programs.run(main)
