"""Tests of --local: who can connect to the cluster, and how it ends with its launcher."""
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
import unittest
from unittest import mock

import cifar10
import cifar10_train
import cifar10_train_distributed as program
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import (
    checkpoints, clusters, isolation, isolation_test, local_cluster, trainer_files)
from tests import testing

PROGRAM = os.path.abspath(program.__file__)
STOP_SECONDS = 9  # at most 3 are usual; a worker that waits in its step for the chief takes 10 more

# A launcher of tasks that start at once and ignore all signals but SIGKILL.
LAUNCHER = '''
import sys
from cifar10_lib.training import local_cluster, stopping
task = """
import signal, time
for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP:
  signal.signal(number, signal.SIG_IGN)
print('ready', flush=True)
time.sleep(200)
"""
with stopping.catch_signals() as signals:
  command = [sys.executable, '-c', task]
  counts = {'ps': 1, 'worker': 2}
  sys.exit(local_cluster.run(counts, command, sys.argv[1], signals, 100, allow_network=True))
'''


class _LauncherTestCase(testing.TrainerTestCase):

  def _start(self, *command):
    """Starts a launcher whose output goes to a file."""
    self.output = os.path.join(self.get_temp_dir(), self.id())
    with open(self.output, 'w') as output:
      self.process = subprocess.Popen([sys.executable, *command], cwd=os.path.dirname(PROGRAM),
                                      preexec_fn=testing.default_signals,
                                      stdout=output, stderr=output)
    self.addCleanup(self._end)

  def _end(self):
    """Ends the launcher, and the tasks in case it left them."""
    for pid in [self.process.pid, *self._pids()]:
      with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    self.process.wait()

  def _printed(self):
    with open(self.output) as file:
      return file.read()

  def _pids(self):
    return [int(pid) for pid in re.findall(r'^\w+ \d: process (\d+)', self._printed(), re.M)]

  def _logs(self):
    """Returns the texts of the tasks' logs."""
    texts = []
    for task in 'ps-0', 'worker-0', 'worker-1':
      with contextlib.suppress(FileNotFoundError), \
           open(os.path.join(self.train_dir, task + '.log')) as file:
        texts.append(file.read())
    return texts

  def _await(self, what, condition):
    """Waits until `condition()` is true, unless the launcher ends first."""
    def check():
      if self.process.poll() is not None:
        self.fail('%s: the launcher ended: %s' % (what, self._printed()))
      return condition()
    isolation_test.wait_until(self, what, check)

  def _no_task_runs(self):
    for pid in self._pids():
      isolation_test.wait_until(self, 'process %d runs' % pid,
                                lambda pid=pid: not isolation_test.runs(pid))


@unittest.skipUnless(sys.platform == 'linux', 'reads /proc')
class EndTest(_LauncherTestCase):

  def _start_tasks(self):
    self._start('-c', LAUNCHER, self.train_dir)
    self._await('ready', lambda: [text for text in self._logs() if 'ready' in text][2:])

  def testKilledLauncherLeavesNoTask(self):
    self._start_tasks()
    self.process.kill()
    self._no_task_runs()

  def testSecondSignalLeavesNoTask(self):
    self._start_tasks()
    self.process.terminate()
    self._await('first', lambda: 'Caught SIGTERM' in self._printed())
    self.process.terminate()
    # The second signal ends the launcher by itself, or by the thread that watches for it.
    self.assertIn(self.process.wait(isolation_test.WAIT_SECONDS), (-15, 143))
    self._no_task_runs()


class ClosedTest(_LauncherTestCase):

  def testClusterIsClosedAndStopsSoon(self):
    isolation_test.namespace_or_skip(self)
    self._start(PROGRAM, '--data_dir=' + self.data_dir, '--train_dir=' + self.train_dir,
                '--batch_size=4', '--log_frequency=1', '--local=ps:1,worker:2')
    self._await('begin', lambda: all('step 3, loss' in text for text in self._logs()[1:])
                and len(self._logs()) == 3)
    first, *_ = self._pids()
    with open('/proc/%d/environ' % first) as file:
      config = re.search('(?<=TF_CONFIG=)[^\0]+', file.read())[0]
    addresses = sum(json.loads(config)['cluster'].values(), [])
    ports = {int(address.rpartition(':')[2]) for address in addresses}
    self.assertLen(ports, 3)
    self.assertContainsSubset(ports, isolation_test.listening_ports(first))
    self.assertEmpty(ports & isolation_test.listening_ports())
    self.assertNotIn('Whoever connects', ''.join(self._logs()))
    self.assertEqual({os.stat(os.path.join(self.train_dir, name)).st_uid
                      for name in os.listdir(self.train_dir)}, {os.geteuid()})
    began = time.monotonic()
    self.process.send_signal(signal.SIGINT)
    self.assertEqual(self.process.wait(isolation_test.WAIT_SECONDS), 128 + signal.SIGINT)
    self.assertLess(time.monotonic() - began, STOP_SECONDS)
    self.assertGreater(checkpoints.step_of(checkpoints.find_latest(self.train_dir)), 2)
    self._no_task_runs()


class LauncherTest(testing.TrainerTestCase):

  def testADirectoryThatCannotBeMadeIsNamed(self):
    file = os.path.join(self.get_temp_dir(), 'file')
    with open(file, 'w'):
      pass
    options = testing.defaults(cifar10, cifar10_train, program, data_dir=self.data_dir,
                               train_dir=os.path.join(file, 'train'), local='ps:1,worker:1',
                               allow_network=True)
    with mock.patch.object(cifar10, 'maybe_download_and_extract'), \
         self.assertRaisesRegex(Failure, '^Training in [^\n]*train: Not a directory$'):
      program.train_locally(options)


class ChiefTest(testing.TrainerTestCase):

  def testSignalBeforeTheFirstCheckpoint(self):
    """A signal comes while the chief waits for a parameter server, so there is no checkpoint."""
    cluster = clusters.Cluster(local_cluster.free_addresses({'ps': 1, 'worker': 1}), 'worker', 0)
    options = testing.defaults(cifar10, cifar10_train, program, data_dir=self.data_dir,
                               train_dir=self.train_dir)
    signals = types.SimpleNamespace(number=signal.SIGTERM)
    with mock.patch.object(program.tf.train, 'Server'), \
         mock.patch.object(program.distributed, 'report_end'), \
         mock.patch.object(program.stopping, 'catch_signals',
                           return_value=contextlib.nullcontext(signals)), \
         contextlib.redirect_stdout(io.StringIO()) as printed:
      self.assertEqual(program.train(options, cluster), 143)
    self.assertIn('Stopped before the first checkpoint in %s' % self.train_dir, printed.getvalue())
    self.assertEqual(trainer_files.read_status(self.train_dir)['state'], 'stopped')

  def testAChiefThatMissesAWorkerNamesTheLastCheckpoint(self):
    """A thread calls `save`, and then the process ends. Here an exception ends it."""
    cluster = clusters.Cluster(local_cluster.free_addresses({'ps': 1, 'worker': 2}), 'worker', 0)
    options = testing.defaults(cifar10, cifar10_train, program, data_dir=self.data_dir,
                               train_dir=self.train_dir, max_steps=100)

    def miss(options, cluster, target, signals, chief):
      chief.save()
      with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable('x', initializer=1.0)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, os.path.join(self.train_dir, 'model.ckpt'), 62)
      chief.save()
      states.append(trainer_files.read_status(self.train_dir)['state'])
      raise SystemExit(1)
    states = []
    with mock.patch.object(program.tf.train, 'Server'), \
         mock.patch.object(program, '_work', side_effect=miss), \
         mock.patch.object(program.distributed, 'report_end'), \
         contextlib.redirect_stderr(io.StringIO()) as errors, \
         contextlib.redirect_stdout(io.StringIO()) as printed, self.assertRaises(SystemExit):
      program.train(options, cluster)
    self.assertEndsWith(printed.getvalue(), (
        'There is no checkpoint in %s yet.\nThe last checkpoint in %s is of step 62 of 100.\n'
        % (self.train_dir, self.train_dir)))
    self.assertEqual(errors.getvalue(), '')
    self.assertEqual(states, ['failed'])


class WarningTest(tf.test.TestCase):

  def testPortIsNamedOnce(self):
    cluster = clusters.Cluster(local_cluster.free_addresses({'ps': 1, 'worker': 1}), 'ps', 0)
    port = cluster.address(('ps', 0)).rpartition(':')[2]
    for is_closed, allow_network, count in ((False, False, 1), (True, False, 0), (False, True, 0)):
      options = testing.defaults(cifar10, cifar10_train, program, allow_network=allow_network)
      with mock.patch.object(program.distributed, 'serve', return_value=0), \
           mock.patch.object(program.tf.train, 'Server'), \
           mock.patch.object(isolation, 'is_closed', return_value=is_closed), \
           contextlib.redirect_stdout(io.StringIO()) as printed:
        self.assertEqual(program.train(options, cluster), 0)
      lines = re.findall(r'^ps 0 listens on port %s .*docs/distributed\.md' % port,
                         printed.getvalue(), re.MULTILINE)
      self.assertLen(lines, count)


if __name__ == '__main__':
  tf.test.main()
