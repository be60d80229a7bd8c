"""Tests of local_cluster: the flag --local, restarts, signals, the division of the cores."""
import contextlib
import io
import os
import sys
import tempfile
import time
import types
from unittest import mock

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import local_cluster


class ParseTest(tf.test.TestCase):

  def testCountsAreParsed(self):
    self.assertEqual(local_cluster.parse('ps:2,worker:3'), {'ps': 2, 'worker': 3})
    for text in '', 'ps', 'ps:1', 'worker:1', 'ps:0,worker:1', 'ps:1,worker:x', 'ps:1,ps:1', \
        'ps:1,worker:1,chief:2', 'ps:1,wroker:1':
      with self.assertRaisesRegex(Failure, '--local='):
        local_cluster.parse(text)
    addresses = local_cluster.free_addresses({'ps': 2, 'worker': 3})
    self.assertLen(set(addresses['ps'] + addresses['worker']), 5)


class RunLocalTest(tf.test.TestCase):

  def _run(self, program, counts, signals=None):
    logs = tempfile.mkdtemp(dir=self.get_temp_dir())
    signals = signals or types.SimpleNamespace(number=None)
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), 'utf-8')):
      code = local_cluster.run(counts, [sys.executable, '-c', program], logs, signals, 5)
    return code, {name: self._read(os.path.join(logs, name)) for name in sorted(os.listdir(logs))}

  @staticmethod
  def _read(path):
    with open(path) as file:
      return file.read()

  def testStartsAllTasksAndRestartsKilledOnes(self):
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
    self.assertLess(time.monotonic() - began, 50)  # the other tasks were stopped
    self.assertEqual(logs, {'ps-0.log': 'ps 0 2\n', 'worker-0.log': 'worker 0 2\n',
                            'worker-1.log': 'worker 1 2\n' * 2})

  def testWorkersDivideTheCores(self):
    program = 'import os; print(os.environ.get("TF_NUM_INTRAOP_THREADS"), flush=True)'
    with mock.patch.object(os, 'cpu_count', return_value=7), mock.patch.dict(os.environ):
      os.environ.pop('TF_NUM_INTRAOP_THREADS', None)
      _, logs = self._run(program, {'ps': 1, 'worker': 3})
      self.assertEqual([logs[name] for name in sorted(logs)], ['None\n'] + ['2\n'] * 3)
      os.environ['TF_NUM_INTRAOP_THREADS'] = '5'  # the user's setting
      _, logs = self._run(program, {'ps': 1, 'worker': 1})
      self.assertEqual(logs['worker-0.log'], '5\n')

  def testSignalGoesToTheChief(self):
    program = '''
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
time.sleep(100)
'''
    code, _ = self._run(program, {'ps': 1, 'worker': 1}, _SignalSoon())
    self.assertIn(code, (143, -15))  # -15: the signal came before the handler was set


class _SignalSoon:
  """Stands in for signals: SIGTERM comes after ten reads of `number`."""

  def __init__(self):
    self._reads = 0

  @property
  def number(self):
    self._reads += 1
    return 15 if self._reads > 10 else None


if __name__ == '__main__':
  tf.test.main()
