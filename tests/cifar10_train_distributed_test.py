"""Tests of distributed training, with servers in this process and processes on loopback."""
import contextlib
import glob
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from concurrent import futures
from unittest import mock

import numpy as np

import cifar10
import cifar10_eval
import cifar10_train
import cifar10_train_distributed as program
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import sample
from cifar10_lib.training import (
    checkpoints, clusters, distributed, local_cluster, trainer_files,
)
from tests import testing

PROGRAM = os.path.abspath(program.__file__)
EXAMPLES = testing.TrainerTestCase.EXAMPLES
WAIT_SECONDS = 120  # a wait takes a few seconds, or more on a busy machine


def _options(**changes):
  """Returns the default flags, with `changes` applied. Without data there are ten classes."""
  return testing.defaults(cifar10, cifar10_train, cifar10_eval, program,
                          **dict({'data_dir': '/nowhere'}, **changes))


def _tensors(directory):
  """Returns a dict from variable name to array, read from the latest checkpoint."""
  return testing.tensors(checkpoints.find_latest(directory))


def _run_with(op):
  """Returns all ops that run when `op` runs: `op` itself and all that it depends on."""
  found, waiting = set(), [op]
  while waiting:
    current = waiting.pop()
    if current not in found:
      found.add(current)
      waiting += [tensor.op for tensor in current.inputs] + current.control_inputs
  return found


class PlacementTest(tf.test.TestCase):

  @contextlib.contextmanager
  def _built(self, servers=1, replicas=1, **changes):
    """Builds a worker's graph and makes it the default; yields the result of `build`."""
    addresses = {'ps': ['a:1', 'b:1'][:servers], 'worker': ['c:1']}
    batch = np.zeros([2, 24, 24, 3], np.float32), np.zeros([2], np.int32)
    with tf.Graph().as_default(), mock.patch.object(
        cifar10_train, 'build_input', return_value=([batch], EXAMPLES)):
      yield program.build(
          _options(**changes), clusters.Cluster(addresses, 'worker', 0), replicas)

  def testUpdatesRunOnTheServers(self):
    """An update runs no large op on a worker, and so no second forward pass."""
    for recipe in 'tutorial', 'fast':
      with self._built(recipe=recipe) as (_, _, synchronous):
        update, = synchronous.get_chief_queue_runner().enqueue_ops
        on_worker = [op.name for op in _run_with(update) if 'job:worker' in op.device
                     for tensor in op.outputs if tensor.shape.num_elements() != 1]
      self.assertEmpty(on_worker)

  def testAveragesAreComputedOnTheirServer(self):
    with self._built(servers=2, replicas=None):
      for variable in tf.trainable_variables():
        server = re.search(r'ps/task:\d', variable.device)[0]
        update, = [op for op in tf.get_default_graph().get_operations()
                   if op.type == 'AssignSubVariableOp'
                   and op.inputs[0].op.name == variable.op.name + '/ExponentialMovingAverage']
        self.assertIn(server, update.inputs[1].op.device)

  def testMuonUpdatesRunOnTheServers(self):
    """An asynchronous worker sends each gradient once, even if Muon skips the update."""
    with self._built(replicas=None, recipe='fast') as (step, _, _):
      count, = [v for v in tf.global_variables() if v.op.name.endswith('Updates')]
      ops = [op for op in _run_with(step.op) if '/update_' in op.name]
      switches = [op for op in ops if op.type == 'Switch']
      on_worker = [op.name for op in ops if 'job:worker' in op.device
                   for tensor in op.outputs if tensor.shape.num_elements() != 1]
    self.assertEqual(count.op.name, 'local3/weights/Updates')
    self.assertIn('/job:ps', count.device)
    self.assertNotEmpty(switches)
    self.assertEmpty(on_worker)

  def testAWorkerFetchesEachVariableOnce(self):
    with self._built() as (step, _, _):
      fetched = [op.inputs[0].op.name for op in _run_with(step.op) if op.type == 'ReadVariableOp'
                 and op.inputs[0].op.name.endswith(('weights', 'biases'))]
    self.assertLen(fetched, 10)
    self.assertLen(set(fetched), 10)

  def testAWorkerCountsItsOwnBatches(self):
    """Distortion strengths follow this count. On a server, all workers would share one count."""
    data_dir = sample.make_sample(self.get_temp_dir(), EXAMPLES, 20)
    cluster = clusters.Cluster({'ps': ['a:1'], 'worker': ['b:1', 'c:1']}, 'worker', 1)
    for replicas, steps_per_batch in (2, 1), (None, 2):
      with tf.Graph().as_default(), mock.patch.object(
          cifar10_train, 'build_input', side_effect=cifar10_train.build_input) as build_input:
        program.build(_options(data_dir=os.path.dirname(data_dir), augment='crop:4..1'),
                      cluster, replicas)
        count, = [v for v in tf.local_variables() if 'batches_made' in v.name]
      self.assertIn('/job:worker/task:1/device:CPU:0', count.device)
      self.assertEqual(build_input.call_args.kwargs, {'steps_per_batch': steps_per_batch})

  def testVariablesGoToTheServerWithFewestBytes(self):
    with self._built(servers=2):
      devices = {variable.op.name: variable.device for variable in tf.global_variables()}
      local = {variable.op.name: variable.device for variable in tf.local_variables()}
    # local3/weights has 3.5 MB, more than all others together, so they share the other server.
    local3_server = re.search(r'ps/task:\d', devices['local3/weights'])[0]
    for name in 'conv2/weights', 'local4/weights', 'softmax_linear/weights':
      self.assertNotIn(local3_server, devices[name])
      self.assertIn('/job:ps', devices[name])
    self.assertIn(local3_server, devices['local3/weights/ExponentialMovingAverage'])
    self.assertEqual([('job:worker' in device) for device in local.values()], [True])


class ExactTest(tf.test.TestCase):

  def testTwoWorkersEqualOneWithTwiceTheBatch(self):
    """Compares the weights after three steps of gradient descent from the same checkpoint.

    The servers run in this process. Muon would amplify rounding errors in small directions.
    """
    directory = tempfile.mkdtemp(dir=self.get_temp_dir())
    data_dir, alone, together = (os.path.join(directory, name) for name in 'abc')
    sample.make_sample(data_dir, EXAMPLES, 20)
    random = np.random.RandomState(1)
    images = random.normal(size=[32, 24, 24, 3]).astype(np.float32)
    labels = random.randint(10, size=32).astype(np.int32)
    def build_input(options, **_):
      queue = tf.FIFOQueue(4, [tf.float32, tf.int32])  # FirstBatchHook waits for it
      batch = images[options.part], labels[options.part]
      tf.train.add_queue_runner(tf.train.QueueRunner(queue, [queue.enqueue(batch)]))
      dequeued = queue.dequeue()
      return [tuple(tf.ensure_shape(*pair) for pair in zip(dequeued, (
          batch[0].shape, batch[1].shape), strict=True))], EXAMPLES
    signals = types.SimpleNamespace(number=None)
    with mock.patch.object(cifar10_train, 'build_input', build_input), \
         contextlib.redirect_stdout(io.StringIO()):
      options = dict(data_dir=data_dir, max_steps=3, keep_checkpoints=9)
      cifar10_train.train(_options(**options, train_dir=alone, batch_size=32, part=slice(32)))
      os.makedirs(together)
      for path in glob.glob(os.path.join(alone, 'model.ckpt-0.*')):
        shutil.copy(path, together)
      addresses = local_cluster.free_addresses({'ps': 1, 'worker': 2})
      tasks = [clusters.Cluster(addresses, *task)
               for task in (('ps', 0), ('worker', 0), ('worker', 1))]
      servers = [tf.train.Server(tf.train.ClusterSpec(addresses), task.job, task.index)
                 for task in tasks]
      def work(i):
        program.attempt(
            _options(**options, train_dir=together, batch_size=16,
                     part=slice(16 * (i - 1), 16 * i)),
            tasks[i], servers[i].target, 2, signals)
      threads = [threading.Thread(target=work, args=(i,)) for i in (1, 2)]
      for thread in threads:
        thread.start()
      for thread in threads:
        thread.join(WAIT_SECONDS)
    expected, found = _tensors(alone), _tensors(together)
    self.assertEqual(found['global_step'], 3)
    for name, value in expected.items():
      if not name.endswith('/avg'):  # smoothed losses, one for each worker
        # Rounding may change the sign of an input of a ReLU, or the maximum that a pool takes. This
        # changes one filter by 1e-5. A step of one worker alone would differ by 0.01.
        self.assertAllClose(found[name], value, rtol=0, atol=1e-4, msg=name)
        self.assertLess(np.abs(found[name] - value).mean(), 5e-6, msg=name)
    self.assertEqual(set(found), set(expected))


class EpochsTest(testing.SampleTestCase):

  def _last_step(self, workers, **changes):
    options = _options(data_dir=self.data_dir, **changes)
    program.end_by_epochs(options, workers)
    self.assertIsNone(options.num_epochs)  # else it would end a worker's own input
    return options.max_steps

  def testEpochsCountThePicturesOfAllWorkers(self):
    epochs = dict(num_epochs=7, batch_size=8)  # 350 pictures
    # A step has 24, 16 and 8 pictures.
    self.assertEqual(self._last_step(3, sync=True, **epochs), 15)
    self.assertEqual(self._last_step(3, sync=True, replicas_to_aggregate=2, **epochs), 22)
    self.assertEqual(self._last_step(3, sync=False, **epochs), 44)

  def testHeldOutPicturesDoNotCount(self):
    self.assertEqual(
        self._last_step(1, sync=True, num_epochs=1, batch_size=1, validation_examples=10), 40)

  def testMaxStepsMayEndBeforeTheEpochs(self):
    self.assertEqual(self._last_step(2, sync=True, num_epochs=100, max_steps=3), 3)

  def testRecipeFollowsTheStepsOfTheEpochs(self):
    options = _options(data_dir=self.data_dir, recipe='fast', max_steps=50000, num_epochs=1)
    self.assertEqual(cifar10_train.recipe_of(options).augment, 'crop:4,flip')
    program.end_by_epochs(options, 1)
    self.assertEqual(cifar10_train.recipe_of(options).augment, 'crop:4..1,flip')


class HangingStepTest(testing.TrainerTestCase):

  def testTheChiefSavesAStepThatHangs(self):
    """A signal comes while the other worker is gone. That worker makes 3 steps, in this process."""
    addresses = local_cluster.free_addresses({'ps': 1, 'worker': 2})
    server, chief, worker = (clusters.Cluster(addresses, *task)
                             for task in (('ps', 0), ('worker', 0), ('worker', 1)))
    servers = [tf.train.Server(tf.train.ClusterSpec(addresses), task.job, task.index)
               for task in (server, worker)]
    script = ('import cifar10_train_distributed as program; program.run.GRACE_SECONDS = 1; '
              'program.programs.run(program.main)')
    flags = dict(data_dir=self.data_dir, train_dir=self.train_dir, batch_size=4, log_frequency=1)
    process = subprocess.Popen(
        [sys.executable, '-c', script, *('--%s=%s' % flag for flag in flags.items())],
        env=dict(os.environ, PYTHONPATH=os.path.dirname(PROGRAM), TF_CONFIG=json.dumps(
            {'cluster': addresses, 'task': {'type': 'worker', 'index': 0}})),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=testing.default_signals)
    self.addCleanup(process.kill)
    self.addCleanup(process.stdout.close)
    with contextlib.redirect_stdout(io.StringIO()):
      program.attempt(_options(**flags, max_steps=3), worker, servers[1].target, 2,
                      types.SimpleNamespace(number=None))
    printed = ''
    for line in process.stdout:
      printed += line
      if ': step 3, loss' in line:  # the next step waits for the other worker
        process.send_signal(signal.SIGTERM)
    self.assertEqual(process.wait(WAIT_SECONDS), 128 + signal.SIGTERM, printed)
    self.assertRegex(printed, r'\nStopped at step 3 of \d+, saved in %s; run again to go on\.\n'
                     % re.escape(self.train_dir))
    self.assertNotIn('Traceback', printed)
    self.assertEqual(_tensors(self.train_dir)['global_step'], 3)
    self.assertEqual(trainer_files.read_status(self.train_dir)['state'], 'stopped')
    self.assertTrue(os.path.exists(checkpoints.find_latest(self.train_dir) + '.meta'))


class LeavingServerTest(testing.TrainerTestCase):

  def testTheChiefSavesBeforeAServerEnds(self):
    """A signal comes to the server alone, which holds the variables. Both run in this process."""
    addresses = local_cluster.free_addresses({'ps': 1, 'worker': 1})
    server, chief = (clusters.Cluster(addresses, job, 0) for job in ('ps', 'worker'))
    targets = [tf.train.Server(tf.train.ClusterSpec(addresses), *task.task).target
               for task in (server, chief)]
    signals = types.SimpleNamespace(number=None)
    flags = dict(data_dir=self.data_dir, train_dir=self.train_dir, batch_size=4, log_frequency=1,
                 save_checkpoint_secs=None, save_checkpoint_steps=10**6)
    with contextlib.redirect_stdout(io.StringIO()) as out, \
         futures.ThreadPoolExecutor() as threads:
      serving = threads.submit(distributed.serve, server, targets[0], WAIT_SECONDS, signals, 60)
      training = threads.submit(program.attempt, _options(**flags), chief, targets[1], 1,
                                types.SimpleNamespace(number=None))
      while ': step 3, loss' not in out.getvalue() and not training.done():
        time.sleep(0.1)
      signals.number = signal.SIGTERM
      with self.assertRaisesRegex(Failure, 'ps 0 was told to end, so training has saved'):
        training.result(WAIT_SECONDS)
      self.assertEqual(serving.result(WAIT_SECONDS), 128 + signal.SIGTERM)
    last = int(re.findall(r': step (\d+), loss', out.getvalue())[-1])
    self.assertEqual(_tensors(self.train_dir)['global_step'], last)


class ClusterTest(testing.TrainerTestCase):
  """Runs clusters of real processes."""

  def _command(self, *more):
    return [sys.executable, PROGRAM, '--data_dir=' + self.data_dir, '--allow_network',
            '--train_dir=' + self.train_dir, '--batch_size=4', '--log_frequency=1', *more]

  def _start(self, *more):
    """Starts a cluster of one server and two workers."""
    self.output = os.path.join(self.get_temp_dir(), 'output')
    with open(self.output, 'w') as output:
      self.process = subprocess.Popen(
          self._command('--local=ps:1,worker:2', *more), stdout=output, stderr=output)
    self.addCleanup(self.process.kill)

  def _log(self, name):
    with contextlib.suppress(FileNotFoundError), \
         open(os.path.join(self.train_dir, name + '.log')) as file:
      return file.read()
    return ''

  def _await(self, what, condition):
    """Waits until `condition()` is true; fails after WAIT_SECONDS with `what` and the output."""
    give_up = time.monotonic() + WAIT_SECONDS
    while not condition():
      with open(self.output) as file:
        self.assertLess(time.monotonic(), give_up, '%s: %s' % (what, file.read()))
      time.sleep(0.1)

  def _pid(self, task):
    """Returns the process id of a task's latest start."""
    with open(self.output) as file:
      return int(re.findall(r'^%s: process (\d+)' % task, file.read(), re.MULTILINE)[-1])

  def _step(self, log='worker-0'):
    """Returns the last step in a log; 0 if there is none."""
    steps = re.findall(r': step (\d+), loss', self._log(log))
    return int(steps[-1]) if steps else 0

  def _steps_seen(self, log):
    """Returns the number of steps in a log, over all starts."""
    return len(re.findall(r': step \d+, loss', self._log(log)))

  def testTrainingContinuesWhenAnyTaskIsKilled(self):
    self._start('--max_steps=100000', '--save_checkpoint_steps=5', '--summary_steps=1',
                '--connect_timeout_secs=%d' % WAIT_SECONDS)
    self._await('begin', lambda: self._step() >= 6 and self._step('worker-1') >= 6)
    for victim in 'worker 1', 'ps 0', 'worker 0':
      checkpoint = checkpoints.step_of(checkpoints.find_latest(self.train_dir))
      before = {log: self._steps_seen(log) for log in ('worker-0', 'worker-1')}
      os.kill(self._pid(victim), signal.SIGKILL)
      self._await('after %s' % victim, lambda before=before: all(
          self._steps_seen(log) > seen + 12 for log, seen in before.items()))
      self.assertGreaterEqual(self._step(), checkpoint)
    self.assertEqual(self.process.poll(), None)
    self.process.send_signal(signal.SIGTERM)
    self.assertEqual(self.process.wait(WAIT_SECONDS), 128 + signal.SIGTERM)
    self.assertIn('Going on with what the parameter servers hold.', self._log('worker-0'))
    self.assertIn('Lost the session', self._log('worker-0'))
    self.assertNotIn('Traceback', self._log('worker-0') + self._log('worker-1'))
    steps = testing.steps_of_events(self.train_dir)
    self.assertEqual(steps, sorted(steps))
    self.assertGreater(len(set(steps)), 5)  # a killed chief loses its last values
    self.assertEqual(trainer_files.read_status(self.train_dir)['state'], 'stopped')
    # The last checkpoint has the step that the log ends with.
    self.assertEqual(_tensors(self.train_dir)['global_step'], self._step())

  def _trains_to(self, last, *more):
    """Runs a cluster to its end; returns the step of the last checkpoint."""
    self._start(*more)
    self.assertEqual(self.process.wait(WAIT_SECONDS), 0)
    step = _tensors(self.train_dir)['global_step']
    self.assertBetween(step, last, last + 2)  # other workers may be in a step
    for log in 'ps-0', 'worker-1':
      self.assertIn('Done.', self._log(log))
    return step

  def testAsynchronousTrainingWithAnEvaluator(self):
    """The data set has three classes."""
    data_dir = os.path.join(self.get_temp_dir(), 'three')
    testing.relabel(self.data_dir, list('abc'), data_dir)
    self.data_dir = data_dir
    step = self._trains_to(
        12, '--local=ps:1,worker:2,evaluator:1', '--async', '--max_steps=12', '--num_examples=20',
        '--eval_interval_secs=1', '--eval_dir=' + self.train_dir + '/eval')
    self.assertIn('at step %d' % step, self._log('evaluator-0'))
    self.assertIn('\nc  ', self._log('evaluator-0'))
    self.assertEqual(_tensors(self.train_dir)['softmax_linear/biases'].shape, (3,))

  def testBackupWorkerWithEpochs(self):
    epoch = '--num_epochs=1', '--replicas_to_aggregate=1'
    self._trains_to(EXAMPLES // 4, *epoch)
    done = subprocess.run(self._command('--local=ps:1,worker:2', *epoch),
                          capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    self.assertEqual(done.returncode, 0)
    self.assertIn('Nothing to do', done.stdout)

  def _task(self, cluster, job, index, *more):
    environment = dict(os.environ, TF_CONFIG=json.dumps(
        {'cluster': cluster, 'task': {'type': job, 'index': index}}))
    return subprocess.run(self._command(*more), env=environment, capture_output=True, text=True,
                          timeout=WAIT_SECONDS, check=False)

  def testUnreachablePeerIsNamed(self):
    cluster = local_cluster.free_addresses({'ps': 1, 'worker': 1})
    done = self._task(cluster, 'worker', 0, '--connect_timeout_secs=1')
    self.assertEqual(done.returncode, 1)
    self.assertRegex(done.stderr, '^Error: ps 0 at %s was not reached within 1 seconds[^\n]*\n$'
                     % cluster['ps'][0])

  def testUnknownTaskAndTooManyReplicasAreRefused(self):
    cluster = local_cluster.free_addresses({'ps': 1, 'worker': 2})
    for done, text in (
        (self._task(cluster, 'worker', 2), 'TF_CONFIG says that this is worker 2'),
        (self._task(cluster, 'worker', 0, '--replicas_to_aggregate=3'), 'there are 2 workers')):
      self.assertEqual(done.returncode, 1)
      self.assertRegex(done.stderr, '^Error: [^\n]*%s[^\n]*\n$' % text)


if __name__ == '__main__':
  tf.test.main()
