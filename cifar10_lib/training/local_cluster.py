"""Runs a cluster on this machine: one process for each task, restarted when it is killed."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

from cifar10_lib.common.programs import Failure
from cifar10_lib.training import isolation
from cifar10_lib.training.clusters import JOBS, Cluster, name

MAX_TASKS = 100  # each is a process of about 700 MB
POLL_SECONDS = 0.1  # between two checks of the processes
COPY_SECONDS = 2  # for the chief's last lines to reach the terminal, once the chief has ended
STOP_SECONDS = 1  # for the other processes to end, once training is stopped and the chief has ended


def parse(text):
  """Parses the flag --local, such as 'ps:1,worker:2'; returns a dict from job to count.

  Raises:
    Failure: the text does not describe a cluster.
  """
  counts = {}
  for item in text.split(','):
    job, _, count = item.partition(':')
    if job not in (*JOBS, 'evaluator') or job in counts or not re.fullmatch('[1-9][0-9]*', count):
      raise Failure('--local=%.80r: %.80r is not JOB:COUNT. It reads as ps:1,worker:2; jobs are '
                    '%s, evaluator.' % (text, item, ', '.join(JOBS)))
    # Python raises ValueError for a number of 5,000 digits.
    counts[job] = int(count) if len(count) < 4 else MAX_TASKS + 1
  if sum(counts.values()) > MAX_TASKS:
    raise Failure('--local=%.80s is too large: a cluster on one machine has at most %d tasks.'
                  % (text, MAX_TASKS))
  if 'ps' not in counts or not ('worker' in counts or 'chief' in counts):
    raise Failure('--local=%s needs at least ps:1 and worker:1.' % text)
  for job in 'chief', 'evaluator':
    if counts.get(job, 1) > 1:
      raise Failure('--local=%s: there is one %s at most.' % (text, job))
  return counts


def free_addresses(counts):
  """Returns a dict from job to loopback addresses, each with a different free port."""
  with contextlib.ExitStack() as sockets:  # all open at once, so that no port comes twice
    addresses = {}
    for job, count in counts.items():
      for _ in range(count):
        held = sockets.enter_context(socket.socket())
        held.bind(('127.0.0.1', 0))
        addresses.setdefault(job, []).append('127.0.0.1:%d' % held.getsockname()[1])
  return addresses


class _Process:
  """A task's process. Its output goes to a log, and the chief's to the terminal too."""

  def __init__(self, task, command, environment, log, shown):
    self.task, (self._command, self._passed), self._environment = task, command, environment
    self._log, self._shown = log, shown
    self.start()

  def start(self):
    with open(self._log, 'ab') as log:
      # In a process group of its own: a Ctrl-C at the terminal reaches only this program.
      self.process = subprocess.Popen(
          self._command, env=self._environment, pass_fds=self._passed, start_new_session=True,
          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if self._shown else log,
          stderr=subprocess.STDOUT)
    if self._shown:
      self._copier = threading.Thread(target=self._copy, args=(self.process.stdout,), daemon=True)
      self._copier.start()
    print('%s: process %d, log %s' % (name(self.task), self.process.pid, self._log), flush=True)

  def _copy(self, output):
    with open(self._log, 'ab') as log, output:
      for line in output:
        log.write(line)
        log.flush()
        sys.stdout.buffer.write(line)
        sys.stdout.flush()

  def finish_copy(self):
    """Waits until all output of the process, which has ended, is copied; COPY_SECONDS at most."""
    if self._shown:
      self._copier.join(COPY_SECONDS)  # a reader that stands still must not hold this up

  def end(self, number):
    """Sends a signal, unless the process has ended."""
    if self.process.poll() is None:
      self.process.send_signal(number)

  def wait(self, seconds):
    """Waits for the end of the process, and kills it after `seconds`; returns the exit code."""
    try:
      return self.process.wait(seconds)
    except subprocess.TimeoutExpired:
      self.process.kill()
      return self.process.wait()


def _await_chief(processes, chief, signals, grace_seconds):
  """Restarts killed processes until the chief ends or a signal comes; returns the chief's code.

  If a signal ended the chief, the code is that of the signal which the launcher caught.
  """
  while True:
    code, number = chief.process.poll(), signals.number
    if number and code is None:
      chief.end(signal.SIGTERM)
      code = chief.wait(grace_seconds)
    if number and (code < 0 or code == 128 + signal.SIGTERM):
      return 128 + number
    if code is not None and code >= 0:
      return code
    for each in processes:
      code = each.process.poll()
      if code is not None and code < 0:
        print('%s was killed by signal %d; starting it again.' % (name(each.task), -code),
              flush=True)
        each.start()
    time.sleep(POLL_SECONDS)


def _await_others(processes, is_stopped, grace_seconds):
  """Waits for the end of all processes, and kills the rest after the time of grace.

  Once training is stopped, as `is_stopped` returns, it asks them to end. It then waits STOP_SECONDS
  at most: a worker may be in a step that needs the chief, and only the chief writes checkpoints.
  """
  give_up = time.monotonic() + grace_seconds
  while not is_stopped() and time.monotonic() < give_up:
    if all(each.process.poll() is not None for each in processes):
      return
    time.sleep(POLL_SECONDS)
  if is_stopped():
    give_up = min(give_up, time.monotonic() + STOP_SECONDS)
    for each in processes:
      each.end(signal.SIGTERM)
  for each in processes:
    each.wait(max(0.0, give_up - time.monotonic()))


def _environment(task, cluster):
  """Returns the environment of a task. The workers divide the cores of this machine.

  If each worker had threads for all cores, threads would wait for one another within an op.
  """
  job, index = task
  environment = dict(os.environ, TF_CONFIG=json.dumps(
      {'cluster': cluster.addresses, 'task': {'type': job, 'index': index}}))
  if task in cluster.workers:
    threads = max(1, (os.cpu_count() or 1) // len(cluster.workers))
    environment.setdefault('TF_NUM_INTRAOP_THREADS', str(threads))  # read by TensorFlow
  return environment


def _close_network(addresses, allow_network):
  """Returns what `isolation.make_namespace` does, or [] if the cluster may stay open to others.

  Args:
    addresses: dict from job to addresses.
    allow_network: whether the cluster may be open to others.

  Raises:
    Failure: it would be open to others, and may not be.
  """
  try:
    return isolation.make_namespace()
  except OSError as error:
    ports = ', '.join(address.rpartition(':')[2] for address in sum(addresses.values(), []))
    problem = ('--local: whoever reaches this machine could connect to ports %s, and then read and '
               'write files as you. A network namespace would prevent this, but the system refuses '
               'one: %s.' % (ports, error.strerror))
    if not allow_network:
      raise Failure('%s --allow_network starts the cluster all the same. docs/distributed.md tells '
                    'how to close the ports.' % problem) from error
    print('Warning: %s' % problem, flush=True)
    return []


def run(counts, command, log_dir, signals, grace_seconds, allow_network=False):
  """Starts a cluster on this machine, and restarts processes that are killed.

  Args:
    counts: dict from job to count.
    command: argv of a task, which reads TF_CONFIG.
    log_dir: directory of the logs, one for each process; an existing log is appended to.
    signals: what `stopping.catch_signals` yields; a signal is passed on to the chief first.
    grace_seconds: time for the other processes to end after the chief has ended.
    allow_network: whether to go on if the kernel cannot close the ports to others.

  Returns:
    The chief's exit code; 128 + n if signal n stopped it.

  Raises:
    Failure: the kernel cannot close the ports to others, and `allow_network` is false.
  """
  addresses = free_addresses(counts)
  evaluators = addresses.pop('evaluator', [])
  cluster = Cluster(addresses, 'ps', 0)
  namespace = _close_network(addresses, allow_network)
  command = isolation.command_of(command, namespace)
  os.makedirs(log_dir, exist_ok=True)
  tasks = [*cluster.servers, *cluster.workers, *(('evaluator', i) for i in range(len(evaluators)))]
  processes = {}
  try:
    for task in tasks:
      processes[task] = _Process(task, command, _environment(task, cluster),
                                 os.path.join(log_dir, '%s-%d.log' % task), task == cluster.chief)
    code = _await_chief(processes.values(), processes[cluster.chief], signals, grace_seconds)
    _await_others(processes.values(), lambda: code or signals.number, grace_seconds)
    processes[cluster.chief].finish_copy()
    return code
  finally:
    for each in processes.values():
      each.end(signal.SIGKILL)
    for descriptor in namespace:
      os.close(descriptor)
