"""Tests of isolation: the namespace, file owners, and children that end with their parent.

They do not load TensorFlow, because one test starts another in a new process.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

from cifar10_lib.training import isolation

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(isolation.__file__))))
WAIT_SECONDS = 60  # a wait takes milliseconds, or more on a busy machine
PR_CAPBSET_DROP, CAP_SYS_ADMIN = 24, 21


def namespace_or_skip(test):
  """Returns a new namespace that is closed after the test; skips the test where there is none."""
  try:
    namespace = isolation.make_namespace()
  except OSError as error:
    test.skipTest('no network namespace: %s' % error)
  for descriptor in namespace:
    test.addCleanup(os.close, descriptor)
  return namespace


def runs(pid):
  """Returns whether a process exists and has not ended. Linux only."""
  try:
    with open('/proc/%d/stat' % pid) as file:
      return file.read().rpartition(')')[2].split()[0] not in 'ZX'
  except (FileNotFoundError, ProcessLookupError):
    return False


def wait_until(test, what, condition):
  """Waits until `condition()` is true; fails with `what` after WAIT_SECONDS."""
  give_up = time.monotonic() + WAIT_SECONDS
  while not condition():
    test.assertLess(time.monotonic(), give_up, what)
    time.sleep(0.05)


def listening_ports(pid='self'):
  """Returns the ports of the kernel's table on which processes in the network of `pid` listen."""
  ports = set()
  for name in 'tcp', 'tcp6':
    with open('/proc/%s/net/%s' % (pid, name)) as file:
      for line in file.readlines()[1:]:
        _, address, _, state, *_ = line.split()
        if state == '0A':  # LISTEN
          ports.add(int(address.rpartition(':')[2], 16))
  return ports


# Listens, connects to itself, prints what it finds, and ends when its input does.
TASK = '''
import os, socket, sys
from cifar10_lib.training import isolation
server = socket.create_server(('', 0))
socket.create_connection(('127.0.0.1', server.getsockname()[1])).close()
open(sys.argv[1], 'w').close()
print(os.getpid(), server.getsockname()[1], isolation.is_closed(), os.geteuid(), os.getegid(),
      os.readlink('/proc/self/ns/net'), len(os.listdir('/proc/self/fd')), flush=True)
sys.stdin.read()
'''


class NamespaceTest(unittest.TestCase):

  def _start(self, namespace, path):
    command, passed = isolation.command_of([sys.executable, '-c', TASK, path], namespace)
    process = subprocess.Popen(command, pass_fds=passed, cwd=ROOT, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    self.addCleanup(process.communicate)
    return process, process.stdout.readline().split()

  def testTasksShareANetworkWithoutOthers(self):
    namespace = namespace_or_skip(self)
    directory = tempfile.TemporaryDirectory()
    self.addCleanup(directory.cleanup)
    path = os.path.join(directory.name, 'written')
    networks = set()
    for _ in range(2):
      process, (pid, port, closed, user, group, network, opened) = self._start(namespace, path)
      self.assertEqual(int(pid), process.pid)
      self.assertIn(int(port), listening_ports(pid))
      self.assertNotIn(int(port), listening_ports())
      self.assertEqual((closed, int(user), int(group)), ('True', os.geteuid(), os.getegid()))
      self.assertEqual(opened, '5')  # 0 to 2, the server, the listing itself
      self.assertEqual(os.stat(path).st_uid, os.geteuid())
      os.remove(path)
      networks.add(network)
    self.assertEqual(len(networks), 1)
    self.assertNotIn(os.readlink('/proc/self/ns/net'), networks)

  @unittest.skipUnless(sys.platform == 'linux' and os.geteuid() == 0, 'needs root')
  def testWithoutRootsPower(self):
    """Runs the test above without the right that makes a user namespace unnecessary."""
    program = ('import ctypes, os, sys; ctypes.CDLL(None).prctl(%d, %d, 0, 0, 0); '
               'os.execv(sys.executable, [sys.executable, *sys.argv[1:]])'
               % (PR_CAPBSET_DROP, CAP_SYS_ADMIN))
    name = 'NamespaceTest.testTasksShareANetworkWithoutOthers'
    done = subprocess.run(
        [sys.executable, '-c', program, '-m', 'cifar10_lib.training.isolation_test', name],
        cwd=ROOT, capture_output=True, text=True, check=False)
    self.assertEqual(done.returncode, 0, done.stderr)
    if 'skipped=1' in done.stderr:
      self.skipTest('no user namespace')

  def testRefusalIsAnOSError(self):
    with mock.patch.object(isolation.sys, 'platform', 'darwin'), self.assertRaises(OSError):
      isolation.make_namespace()
    for program in 'raise SystemExit', 'import os; os.kill(os.getpid(), 9)':
      with mock.patch.object(isolation, 'PROGRAM', (sys.executable, '-c', program)), \
           self.assertRaises(OSError):
        isolation.make_namespace()


# Starts a task that ignores all but SIGKILL, and prints its process id.
PARENT = '''
import subprocess, sys, time
from cifar10_lib.training import isolation
isolation._has_prctl = lambda: %s
command, passed = isolation.command_of([sys.executable, '-c', """
import os, signal, time
for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP:
  signal.signal(number, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(%d)
"""])
process = subprocess.Popen(command, pass_fds=passed, start_new_session=True,
                           stdin=subprocess.DEVNULL)
process.wait()
'''


@unittest.skipUnless(sys.platform == 'linux', 'reads /proc')
class ParentTest(unittest.TestCase):

  def testTaskEndsWithItsParent(self):
    for has_prctl in True, False:
      for number in signal.SIGKILL, signal.SIGTERM:
        parent = subprocess.Popen([sys.executable, '-c', PARENT % (has_prctl, 100)], cwd=ROOT,
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(parent.kill)
        task = int(parent.stdout.readline())
        self.assertTrue(runs(task))
        parent.send_signal(number)
        parent.wait()
        wait_until(self, 'the task outlived its parent', lambda task=task: not runs(task))
        self.assertEqual(parent.stdout.read(), '')
        parent.stdout.close()

  def testOutputEndsWithTheTask(self):
    """The process that watches the pipe keeps the task's output open for nobody."""
    done = subprocess.run([sys.executable, '-c', PARENT % (False, 0)], cwd=ROOT, text=True,
                          timeout=WAIT_SECONDS, capture_output=True, check=False)
    self.assertEqual((done.returncode, done.stderr), (0, ''))

  def testNoTaskIfTheParentHasEnded(self):
    ended = subprocess.Popen(['true'])
    ended.wait()
    done = subprocess.run(
        [*isolation.PROGRAM, 'become', str(ended.pid), '', '', '/bin/echo', 'ran'],
        capture_output=True, text=True, check=False)
    self.assertEqual((done.returncode, done.stdout, done.stderr), (0, '', ''))

  def testAnErrorIsOneLine(self):
    for words, text in ((['', '77', '/bin/true'], 'Bad file descriptor'),
                        (['', '', '/no/program'], 'No such file')):
      done = subprocess.run([*isolation.PROGRAM, 'become', str(os.getpid()), *words],
                            capture_output=True, text=True, check=False)
      self.assertEqual(done.returncode, 1)
      self.assertRegex(done.stderr, '^Error: cannot start /[a-z/]+: %s[^\n]*\n$' % text)


if __name__ == '__main__':
  unittest.main()
