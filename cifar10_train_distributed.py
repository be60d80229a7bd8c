"""Trains the network on several machines, with TensorFlow's own runtime.

Run the same command on each machine. TF_CONFIG in the environment names all tasks and says which
of them this process is (cifar10_lib/training/clusters.py):

  python cifar10_train_distributed.py --train_dir cifar10_train/ --data_dir cifar10_data/

To try it on one machine:

  python cifar10_train_distributed.py --local=ps:1,worker:2 --train_dir cifar10_train/ ...

Parameter servers hold the variables. Each worker reads its own batches, fetches the variables,
computes gradients and sends them. With --sync, each update applies the mean of the gradients of
--replicas_to_aggregate workers, and every worker waits for it. Gradients that arrive late are
dropped. With --async, each worker's gradients are an update of their own. Only the chief, which is
one of the workers, writes files.

Any task may be killed and restarted. The variables survive the loss of a worker or of the chief. If
a parameter server is lost, the chief restores all variables from the latest checkpoint.

`options` are the parsed flags, or anything with their names as attributes. `cluster` is a
clusters.Cluster, `signals` what `stopping.catch_signals` yields.
"""
import contextlib
import logging
import math
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from cifar10_lib.common import programs  # first: it handles signals while the rest loads

from absl import flags

import cifar10
import cifar10_eval
import cifar10_input
import cifar10_train
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import reason, tf
from cifar10_lib.network import precision
from cifar10_lib.training import (
    checkpoints, clusters, distributed, hooks, local_cluster, recipes, run,
    stopping, transfer)

FLAGS = flags.FLAGS
flags.DEFINE_string('local', None, 'Start a cluster on this machine, as in ps:1,worker:2.')
flags.DEFINE_boolean('sync', True, 'Average the gradients of all workers into each update.')
flags.DEFINE_boolean('async', False, 'Apply the gradients of each worker at once, as --nosync.')
flags.DEFINE_integer('replicas_to_aggregate', None, 'Workers whose gradients make an update; all '
                     'if not given. With fewer, no update waits for the slowest.', lower_bound=1,
                     upper_bound=1000)
flags.DEFINE_float('connect_timeout_secs', 60, 'How long a task may be out of reach, at the start '
                   'or later, before this one gives up.', lower_bound=0, upper_bound=10**6)
flags.DEFINE_boolean('allow_network', False, 'Start the cluster of --local even if the kernel '
                     'cannot close its ports to others. With TF_CONFIG, do not warn of this.')
programs.check_flag('local', lambda text: not text or local_cluster.parse(text))
flags.adopt_module_key_flags(cifar10_train)


def aggregated(options, workers):
  """Returns how many workers' gradients make an update; None if each is an update of its own."""
  return (options.replicas_to_aggregate or workers) if options.sync else None


def end_by_epochs(options, workers):
  """Turns --num_epochs into a number of steps, because no worker knows what the others have read.

  An epoch is as many pictures as the training files have, whichever worker reads them. It counts
  from the first start, as steps do, so that restarted tasks end where the others do. `num_epochs`
  of the options becomes None, and `max_steps` smaller if necessary.
  """
  if options.num_epochs:
    _, num_examples = cifar10_train.training_split(options)
    pictures_per_step = (aggregated(options, workers) or 1) * options.batch_size
    options.max_steps = min(options.max_steps,
                            math.ceil(options.num_epochs * num_examples / pictures_per_step))
    options.num_epochs = None


def build(options, cluster, replicas):
  """Builds the graph of one worker, with its variables on the parameter servers.

  Args:
    replicas: gradients that make an update, as `aggregated` returns it.

  Returns:
    The global step after the update (int64 scalar; running it makes one step), the loss, and the
    tf.train.SyncReplicasOptimizer, if there is one.
  """
  recipe = cifar10_train.recipe_of(options)
  dtype = precision.compute_dtype(options.use_fp16)
  workers, synchronous = len(cluster.workers), None

  def synchronise(optimizer, averages):
    nonlocal synchronous
    synchronous = tf.train.SyncReplicasOptimizer(
        optimizer, replicas, workers, variable_averages=averages,
        variables_to_average=tf.trainable_variables())
    return synchronous

  worker = '/job:%s/task:%d' % cluster.task
  # Variables go to the parameter servers, all else to this worker.
  with tf.device(tf.train.replica_device_setter(
      cluster=tf.train.ClusterSpec(cluster.addresses), worker_device=worker,
      ps_strategy=distributed.LeastLoaded(len(cluster.servers)))):
    global_step = tf.train.get_or_create_global_step()
    # The input's variables count what this worker reads, so they stay on the worker. When a session
    # is lost, its queues stay in this process's server, closed. A new container makes new ones.
    with tf.container('input-%d-%d' % (os.getpid(), time.monotonic_ns())), tf.device(worker):
      [(images, labels)], num_examples = cifar10_train.build_input(
          options, steps_per_batch=1 if replicas else workers)
    logits = cifar10.inference(
        images, recipe, dtype, len(cifar10_input.class_names(options.data_dir)))
    loss = cifar10.loss(logits, labels, label_smoothing=recipe.label_smoothing)
    train_op = cifar10.train(
        loss, global_step, (replicas or 1) * options.batch_size, num_examples, recipe, dtype,
        recipes.Parallel(synchronise=synchronise if replicas else None))
    if synchronous:
      synchronous.ready_for_local_init_op.mark_used()  # the SessionCreator has its own op for this
    with tf.control_dependencies([train_op]):
      return tf.identity(global_step), loss, synchronous


def _config(options, cluster):
  """Returns the ConfigProto of a session on this task and the parameter servers."""
  config = precision.session_config(precision.compute_dtype(options.use_fp16),
                                    options.log_device_placement)
  config.MergeFrom(distributed.device_filters(('ps', None), cluster.task))
  return config


def _chief_hooks(options, scaffold):
  """Returns the hooks that write events and checkpoints."""
  step = tf.identity(tf.train.get_global_step())  # at the start of a run; NewStepsHook compares it
  last = distributed.last_written(options.train_dir)
  return [*(distributed.NewStepsHook(hook, step, last)
            for hook in run.event_hooks(options, max(0, last))),
          run.save_hook(options, scaffold)]


class Chief(NamedTuple):
  """What only the chief has for its attempts to train."""
  source: str | None  # as for `transfer.starter`
  rescue: distributed.Rescue  # saves from a second session while the first one hangs
  save: Callable  # as for `clusters.watching`: uses `rescue`


def attempt(options, cluster, target, replicas, signals, chief=None):
  """Builds the graph and trains until the end, or until a task is lost.

  Args:
    target: address of this process's tf.train.Server.
    replicas: as for `build`.
    chief: the chief's Chief; without it, nothing is taken over or rescued.

  Raises:
    One of distributed.lost(): a task is gone.
    Failure: a parameter server is about to end; the chief has saved.
  """
  with tf.Graph().as_default():
    step, loss, synchronous = build(options, cluster, replicas)
    if signals.number:  # creating and saving the variables would take seconds
      return
    session_hooks = run.step_hooks(options, signals, step, loss, cifar10.accuracy(), replicas or 1)
    restore, saving, leaving = None, contextlib.nullcontext(), None
    if cluster.is_chief:
      saver = checkpoints.build_saver(options.keep_checkpoints)
      restore = transfer.starter(options.train_dir, saver, chief and chief.source)
      session_hooks += _chief_hooks(options, tf.train.Scaffold(saver=saver))
      saving = chief.rescue.using(session_hooks[-1]) if chief else saving
      leaving = distributed.LeavingHook(cluster)
      session_hooks.append(leaving)
    creator = distributed.SessionCreator(target, _config(options, cluster), restore,
                                         options.connect_timeout_secs, signals)
    if synchronous:
      session_hooks.append(distributed.SyncHook(synchronous, creator, len(cluster.workers)))
    session_hooks.append(hooks.FirstBatchHook(options.first_batch_secs, signals))
    with tf.train.MonitoredSession(creator, session_hooks, run.GRACE_SECONDS) as session, saving:
      while not session.should_stop():
        session.run(step)
    if leaving:
      leaving.require_all(target)


def _work(options, cluster, target, signals, chief=None):
  """Trains as one worker, over as many attempts as it takes; `chief` is as for `attempt`."""
  replicas = aggregated(options, len(cluster.workers))
  # The tasks that this one depends on. If an update needs all gradients, the chief needs all tasks.
  needs_all = cluster.is_chief and replicas == len(cluster.workers)
  needed = [*cluster.servers, *(cluster.workers if needs_all else [cluster.chief])]
  peers = [task for task in needed if task != cluster.task]
  seconds = options.connect_timeout_secs
  clusters.wait_for(cluster, peers, seconds, signals)
  with clusters.watching(cluster, peers, seconds, signals, run.GRACE_SECONDS,
                         chief and chief.save):
    while not signals.number:
      try:
        attempt(options, cluster, target, replicas, signals, chief)
        break
      except distributed.lost():
        print('Lost the session: a task was out of reach. Connecting anew.', flush=True)
        time.sleep(clusters.POLL_SECONDS)
        clusters.wait_for(cluster, peers, seconds, signals)


def _train_as_chief(options, cluster, target, signals):
  """Trains and writes files; returns the exit code."""
  names = cifar10_input.class_names(options.data_dir)
  with run.open_run(options, cifar10_train.recipe_of(options), signals, names,
                    cifar10_train.note_of(options)) as training:
    if not training.finished:
      rescue = distributed.Rescue(target, _config(options, cluster))

      def save():
        try:
          with run.failures('Saving in %s' % options.train_dir):
            rescue.save()
        finally:
          training.report_end(is_lost=True)
          distributed.report_end(cluster, target)
      _work(options, cluster, target, signals, Chief(training.source, rescue, save))
  return training.exit_code


def _train_as_worker(options, cluster, target, signals):
  """Trains as a worker that is not the chief; returns the exit code."""
  _work(options, cluster, target, signals)
  print('Stopped.' if signals.number else 'Done.')
  return 128 + signals.number if signals.number else 0


def train(options, cluster):
  """Does the work of a parameter server, the chief or another worker; returns the exit code."""
  workers = len(cluster.workers)
  if options.sync and (options.replicas_to_aggregate or 1) > workers:
    raise Failure('--replicas_to_aggregate=%d, but there are %d workers. Take fewer.'
                  % (options.replicas_to_aggregate, workers))
  if cluster.job != 'ps':
    end_by_epochs(options, workers)
    if options.seed is not None:
      options.seed += cluster.workers.index(cluster.task)  # each worker has an order of its own
  # It listens at its port on every address of the machine: TensorFlow offers no other way.
  try:
    server = tf.train.Server(tf.train.ClusterSpec(cluster.addresses), *cluster.task,
                             config=_config(options, cluster))
  except tf.errors.OpError as error:
    raise Failure('%s cannot listen at %s: %s. Is the port taken?' % (
        clusters.name(cluster.task), cluster.address(cluster.task), reason(error))) from error
  if not options.allow_network:
    clusters.warn_of_strangers(cluster)
  logging.getLogger('tensorflow').addFilter(distributed.is_no_lost_session)
  with stopping.catch_signals() as signals, \
       run.failures('Training as %s in %s' % (clusters.name(cluster.task), options.train_dir)):
    if cluster.job == 'ps':
      return distributed.serve(cluster, server.target, options.connect_timeout_secs, signals,
                               run.GRACE_SECONDS)
    train_task = _train_as_chief if cluster.is_chief else _train_as_worker
    code = train_task(options, cluster, server.target, signals)
    distributed.report_end(cluster, server.target)
    return code


def train_locally(options):
  """Starts the cluster of --local on this machine; returns the exit code of its chief."""
  counts = local_cluster.parse(options.local)
  cifar10.maybe_download_and_extract()
  end_by_epochs(options, sum(counts.get(job, 0) for job in ('chief', 'worker')))
  if run.Run(options, None, cifar10_input.class_names(options.data_dir)).report_finished():
    return 0
  # The empty --local at the end overrides the given one. Each task gets TF_CONFIG instead.
  command = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], '--local=']
  with stopping.catch_signals() as signals, run.failures('Training in %s' % options.train_dir):
    return local_cluster.run(counts, command, options.train_dir, signals, 2 * run.GRACE_SECONDS,
                             options.allow_network)


def main(argv):
  del argv
  cifar10_train.follow_recipe(FLAGS)
  if FLAGS['async'].value:
    FLAGS.sync = False
  if FLAGS.local:
    return train_locally(FLAGS)
  cluster = clusters.parse(os.environ.get('TF_CONFIG'))
  if cluster.job != 'ps':
    cifar10.maybe_download_and_extract()
  if cluster.job == 'evaluator':
    FLAGS.checkpoint_dir = FLAGS.train_dir
    return cifar10_eval.evaluate(FLAGS)
  return train(FLAGS, cluster)


if __name__ == '__main__':
  programs.run(main)
