"""Tests of clusters: TF_CONFIG, waiting for peers, watching them."""
import contextlib
import io
import json
import os
import socket
import subprocess
import sys

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import clusters, local_cluster

THREE = {'ps': ['a:1'], 'chief': ['b:1'], 'worker': ['c:1', 'd:1']}


def config(cluster=None, job='worker', index=0):
  """Returns the text of a TF_CONFIG."""
  return json.dumps({'cluster': cluster or THREE, 'task': {'type': job, 'index': index}})


@contextlib.contextmanager
def listening():
  """Yields an address that accepts connections."""
  with socket.socket() as server:
    server.bind(('127.0.0.1', 0))
    server.listen()
    yield '127.0.0.1:%d' % server.getsockname()[1]


def unused():
  """Returns an address that accepts no connections."""
  return local_cluster.free_addresses({'ps': 1})['ps'][0]


class ParseTest(tf.test.TestCase):

  def testJobsAndTasksAreParsed(self):
    cluster = clusters.parse(config(index=1))
    self.assertEqual((cluster.job, cluster.index, cluster.is_chief), ('worker', 1, False))
    self.assertEqual(cluster.workers, [('chief', 0), ('worker', 0), ('worker', 1)])
    self.assertEqual(cluster.servers, [('ps', 0)])
    self.assertEqual(cluster.address(('worker', 1)), 'd:1')
    self.assertTrue(clusters.parse(config(job='chief')).is_chief)
    self.assertEqual(clusters.parse(config(index='1')).index, 1)  # as some services write
    self.assertEqual(clusters.parse(config(job='evaluator')).job, 'evaluator')

  def testFirstWorkerIsChiefWithoutAChiefJob(self):
    two = {'ps': ['a:1'], 'worker': ['[::1]:2', 'd:1']}
    self.assertTrue(clusters.parse(config(two)).is_chief)
    self.assertFalse(clusters.parse(config(two, index=1)).is_chief)

  def testWrongConfigIsRefused(self):
    for text, message in (
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
      with self.assertRaisesRegex(Failure, '^TF_CONFIG .*' + message) as raised:
        clusters.parse(text)
      self.assertNotIn('\n', str(raised.exception))


class ReachTest(tf.test.TestCase):

  def testWaitsForAllAndNamesTheUnreachablePeer(self):
    with listening() as answering:
      closed = unused()
      cluster = clusters.Cluster({'ps': [answering, closed], 'worker': [answering]}, 'worker', 0)
      clusters.wait_for(cluster, [('ps', 0)], 10)
      with contextlib.redirect_stdout(io.StringIO()) as out, self.assertRaisesRegex(
          Failure, 'ps 1 at %s was not reached within 0.1 seconds' % closed):
        clusters.wait_for(cluster, cluster.servers, 0.1)
      self.assertEqual(out.getvalue(), 'Waiting for ps 1 at %s.\n' % closed)

  def testWatchEndsTheProcess(self):
    """Ends it if a peer is away for too long, or if a step does not end after a signal."""
    program = '''
import signal, sys, time, types
sys.argv[0] = 'cifar10_train_distributed.py'  # a program: it does not load TensorFlow for this
from cifar10_lib.training import clusters
cluster = clusters.Cluster({'ps': [sys.argv[1]], 'worker': [sys.argv[1], 'x:1']}, 'worker', 1)
signals = types.SimpleNamespace(number=int(sys.argv[2]) or None)
clusters.SAVE_SECONDS = 1
save = {'none': None, 'saves': lambda: print('saved'), 'fails': lambda: 1 // 0,
        'hangs': lambda: time.sleep(100)}[sys.argv[3]]
with clusters.watching(cluster, [(sys.argv[4], 0)], 0.5, signals, 0.5, save):
  time.sleep(100)
'''
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(clusters.__file__))))
    late = '^The step did not end within 0.5 seconds.\n'
    with listening() as answering:
      for address, number, save, job, code, out, error in (
          (unused(), 0, 'saves', 'ps', 1, '', 'ps 0 at .* has been away for 0.5'),
          (unused(), 0, 'saves', 'worker', 1, 'saved\n', 'worker 0 at .* has been away for 0.5'),
          (answering, 15, 'none', 'ps', 143, '', late + '$'),
          (answering, 2, 'saves', 'ps', 130, 'saved\n', late + '$'),
          (answering, 15, 'fails', 'ps', 143, '', late + 'Error: [^\n]*zero\n$'),
          (answering, 15, 'hangs', 'ps', 143, '', late + '$')):
        done = subprocess.run(
            [sys.executable, '-c', program, address, str(number), save, job], cwd=root,
            capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stdout), (code, out))
        self.assertRegex(done.stderr, error)


if __name__ == '__main__':
  tf.test.main()
