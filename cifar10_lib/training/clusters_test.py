"""Tests of who takes part in training on several machines."""
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import types
from unittest import mock

from cifar10_lib.training import clusters
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf

THREE = {'ps': ['a:1'], 'chief': ['b:1'], 'worker': ['c:1', 'd:1']}


def config(cluster=None, job='worker', index=0):
  return json.dumps({'cluster': cluster or THREE, 'task': {'type': job, 'index': index}})


@contextlib.contextmanager
def listening():
  """Yields an address at which something answers."""
  with socket.socket() as server:
    server.bind(('127.0.0.1', 0))
    server.listen()
    yield '127.0.0.1:%d' % server.getsockname()[1]


def unused():
  return clusters.free_addresses({'ps': 1})['ps'][0]


class ParseTest(tf.test.TestCase):

  def testTasks(self):
    cluster = clusters.parse(config(index=1))
    self.assertEqual((cluster.job, cluster.index, cluster.is_chief), ('worker', 1, False))
    self.assertEqual(cluster.workers, [('chief', 0), ('worker', 0), ('worker', 1)])
    self.assertEqual(cluster.servers, [('ps', 0)])
    self.assertEqual(cluster.address(('worker', 1)), 'd:1')
    self.assertTrue(clusters.parse(config(job='chief')).is_chief)
    self.assertEqual(clusters.parse(config(index='1')).index, 1)  # as some services write
    self.assertEqual(clusters.parse(config(job='evaluator')).job, 'evaluator')

  def testFirstWorkerIsChiefWhereNoneIsNamed(self):
    two = {'ps': ['a:1'], 'worker': ['[::1]:2', 'd:1']}
    self.assertTrue(clusters.parse(config(two)).is_chief)
    self.assertFalse(clusters.parse(config(two, index=1)).is_chief)

  def testWhatIsRefused(self):
    for text, why in (
        (None, 'is not set'), ('', 'is not set'), ('{', 'is not JSON'), ('[]', 'has no "cluster"'),
        ('{"cluster": {}}', 'has no "cluster" or no "task"'),
        (config({'ps': ['a:1']}), 'needs at least one ps and one worker'),
        (config({'worker': ['a:1']}), 'needs at least one ps'),
        (config(dict(THREE, chef=['a:2'])), "names a job 'chef'"),
        (config(dict(THREE, ps='a:1')), 'gives ps no list'),
        (config(dict(THREE, ps=['a'])), "the address 'a', which is not HOST:PORT"),
        (config(dict(THREE, ps=['a:70000'])), 'not HOST:PORT'),
        (config(dict(THREE, ps=[7])), 'the address 7'),
        (config(dict(THREE, ps=['c:1'])), 'gives c:1 to two tasks'),
        (config(dict(THREE, chief=['x:1', 'y:1'])), 'more than one chief'),
        (config(index=2), 'says that this is worker 2, which the cluster does not have'),
        (config(index=-1), 'worker -1'), (config(index=True), 'worker True'),
        (config(job='master'), 'master 0'), (config(job=['ps']), 'does not have')):
      with self.assertRaisesRegex(Failure, '^TF_CONFIG .*' + why) as raised:
        clusters.parse(text)
      self.assertNotIn('\n', str(raised.exception))

  def testLocal(self):
    self.assertEqual(clusters.parse_local('ps:2,worker:3'), {'ps': 2, 'worker': 3})
    for text in '', 'ps', 'ps:1', 'worker:1', 'ps:0,worker:1', 'ps:1,worker:x', 'ps:1,ps:1', \
        'ps:1,worker:1,chief:2', 'ps:1,wroker:1':
      with self.assertRaisesRegex(Failure, '--local='):
        clusters.parse_local(text)
    addresses = clusters.free_addresses({'ps': 2, 'worker': 3})
    self.assertLen(set(addresses['ps'] + addresses['worker']), 5)


class ReachTest(tf.test.TestCase):

  def testWaitsForAllAndNamesTheOneThatIsAway(self):
    with listening() as here:
      away = unused()
      cluster = clusters.Cluster({'ps': [here, away], 'worker': [here]}, 'worker', 0)
      clusters.wait_for(cluster, [('ps', 0)], 10)
      with contextlib.redirect_stdout(io.StringIO()) as out, self.assertRaisesRegex(
          Failure, 'ps 1 at %s was not reached within 0.1 seconds' % away):
        clusters.wait_for(cluster, cluster.servers, 0.1)
      self.assertEqual(out.getvalue(), 'Waiting for ps 1 at %s.\n' % away)

  def testWatchEndsTheProcess(self):
    """When a peer is away for too long; when a step does not end after a signal."""
    program = '''
import signal, sys, time, types
from cifar10_lib.training import clusters
cluster = clusters.Cluster({'ps': [sys.argv[1]], 'worker': ['x:1']}, 'worker', 0)
signals = types.SimpleNamespace(number=int(sys.argv[2]) or None)
with clusters.Watch(cluster, cluster.servers, 0.5, signals, 0.5):
  time.sleep(100)
'''
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(clusters.__file__))))
    with listening() as here:
      for address, number, code, text in (unused(), 0, 1, 'ps 0 at .* has been away for 0.5'), \
          (here, 15, 143, 'The step did not end within 0.5 seconds'):
        done = subprocess.run([sys.executable, '-c', program, address, str(number)], cwd=root,
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, code)
        self.assertRegex(done.stderr, text)


class RunLocalTest(tf.test.TestCase):

  def _run(self, program, counts, signals=None):
    logs = tempfile.mkdtemp(dir=self.get_temp_dir())
    signals = signals or types.SimpleNamespace(number=None)
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), 'utf-8')):
      code = clusters.run_local(counts, [sys.executable, '-c', program], logs, signals, 5)
    return code, {name: self._read(os.path.join(logs, name)) for name in sorted(os.listdir(logs))}

  @staticmethod
  def _read(path):
    with open(path) as file:
      return file.read()

  def testStartsAllAndStartsAgainWhatIsKilled(self):
    marker = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), 'killed')
    program = '''
import json, os, time
config = json.loads(os.environ['TF_CONFIG'])
job, index = config['task']['type'], config['task']['index']
print(job, index, len(config['cluster']['worker']), flush=True)
if (job, index) == ('worker', 1) and not os.path.exists(%r):
  open(%r, 'w').close()
  os.kill(os.getpid(), 9)
deadline = time.time() + 30
while not os.path.exists(%r) and time.time() < deadline:
  time.sleep(0.1)
if job == 'worker' and index == 0:
  time.sleep(1)
  raise SystemExit(7)
time.sleep(100)
''' % (marker, marker, marker)
    began = time.monotonic()
    code, logs = self._run(program, {'ps': 1, 'worker': 2})
    self.assertEqual(code, 7)
    self.assertLess(time.monotonic() - began, 50)  # the others were ended, not waited for
    self.assertEqual(logs, {'ps-0.log': 'ps 0 2\n', 'worker-0.log': 'worker 0 2\n',
                            'worker-1.log': 'worker 1 2\n' * 2})

  def testWorkersDivideTheCores(self):
    program = 'import os; print(os.environ.get("TF_NUM_INTRAOP_THREADS"), flush=True)'
    with mock.patch.object(os, 'cpu_count', return_value=7), mock.patch.dict(os.environ):
      os.environ.pop('TF_NUM_INTRAOP_THREADS', None)
      _, logs = self._run(program, {'ps': 1, 'worker': 3})
      self.assertEqual([logs[name] for name in sorted(logs)], ['None\n'] + ['2\n'] * 3)
      os.environ['TF_NUM_INTRAOP_THREADS'] = '5'  # the user's own
      _, logs = self._run(program, {'ps': 1, 'worker': 1})
      self.assertEqual(logs['worker-0.log'], '5\n')

  def testSignalGoesToTheChief(self):
    program = '''
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
time.sleep(100)
'''
    code, _ = self._run(program, {'ps': 1, 'worker': 1}, _SignalSoon())
    self.assertIn(code, (143, -15))  # -15: before the program had begun


class _SignalSoon:
  """As if a signal came after some looks."""

  def __init__(self):
    self._looks = 0

  @property
  def number(self):
    self._looks += 1
    return 15 if self._looks > 10 else None


if __name__ == '__main__':
  tf.test.main()
