"""Tests of local_cluster: the flag --local, restarts, signals, the division of the cores."""
import contextlib
import io
import os
import signal
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
        'ps:1,worker:1,chief:2', 'ps:1,wroker:1', 'ps:1,worker:²', 'ps:1,worker:١', \
        'ps:1,worker:+1', 'ps:1,worker:2000000', 'ps:50,worker:51', \
        'ps:1,worker:' + '9' * 5000, 'ps:1,\x1b' * 5000:
      with self.assertRaisesRegex(Failure, '^--local=[ -~²١]{1,300}$'):
        local_cluster.parse(text)
    addresses = local_cluster.free_addresses({'ps': 2, 'worker': 3})
    self.assertLen(set(addresses['ps'] + addresses['worker']), 5)


class RunLocalTest(tf.test.TestCase):

  def _run(self, program, counts, signals=None):
    logs = tempfile.mkdtemp(dir=self.get_temp_dir())
    signals = signals or types.SimpleNamespace(number=None)
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), 'utf-8')):
      code = local_cluster.run(counts, [sys.executable, '-c', program], logs, signals, 5,
                               allow_network=True)
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
    """The launcher's code is that of the signal which it caught, unless the chief ended by itself.

    The chief receives SIGTERM. It saves and ends with 143, or just then it is done or fails.
    """
    for number, chief, expected in ((signal.SIGTERM, 143, 143), (signal.SIGINT, 143, 130),
                                    (signal.SIGINT, 0, 0), (signal.SIGINT, 1, 1)):
      marker = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), 'ready')
      program = '''
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(%d))
if 'worker' in os.environ['TF_CONFIG'].split('task')[1]:
  open(%r, 'w').close()
time.sleep(100)
''' % (chief, marker)
      code, _ = self._run(program, {'ps': 1, 'worker': 1}, _SignalWhen(marker, number))
      self.assertEqual(code, expected)

  def testSignalBeforeTheChiefIsReady(self):
    """SIGTERM ends a chief that has no handler yet. The launcher's code is 128 + 2, not -15."""
    code, _ = self._run('import time; time.sleep(100)', {'ps': 1, 'worker': 1},
                        types.SimpleNamespace(number=signal.SIGINT))
    self.assertEqual(code, 130)

  def testTheLastLinesOfTheChiefAreShown(self):
    """The terminal may be slower than the chief, which ends meanwhile."""
    class Slow(io.BytesIO):

      def write(self, data):
        time.sleep(0.02 if data.startswith(b'line') else 0)
        return super().write(data)
    program = 'for number in range(30): print("line", number)'
    logs = tempfile.mkdtemp(dir=self.get_temp_dir())
    with contextlib.redirect_stdout(io.TextIOWrapper(Slow(), 'utf-8')) as out:
      local_cluster.run({'ps': 1, 'worker': 1}, [sys.executable, '-c', program], logs,
                        types.SimpleNamespace(number=None), 5, allow_network=True)
      lines = [line for line in out.buffer.getvalue().splitlines() if line.startswith(b'line')]
    self.assertEqual(lines, [b'line %d' % number for number in range(30)])

  def testOpenPortsAreRefused(self):
    refused = mock.patch.object(local_cluster.isolation, 'make_namespace',
                                side_effect=PermissionError(1, 'Operation not permitted'))
    addresses = {'ps': ['127.0.0.1:71'], 'worker': ['127.0.0.1:72']}
    with refused, mock.patch.object(local_cluster, 'free_addresses', return_value=addresses):
      logs = os.path.join(self.get_temp_dir(), 'refused')
      with self.assertRaisesRegex(Failure, '^--local: .* ports 71, 72, .*--allow_network[^\n]*$'):
        local_cluster.run({'ps': 1, 'worker': 1}, ['/bin/true'], logs, None, 5)
      self.assertFalse(os.path.exists(logs))
      code, logs = self._run('print(1)', {'ps': 1, 'worker': 1})
    self.assertEqual((code, logs['worker-0.log']), (0, '1\n'))


class _SignalWhen:
  """Stands in for signals: a signal comes once a file exists."""

  def __init__(self, path, number):
    self._path, self._number = path, number

  @property
  def number(self):
    return self._number if os.path.exists(self._path) else None


if __name__ == '__main__':
  tf.test.main()
