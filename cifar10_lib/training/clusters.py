"""Who takes part in training on several machines, who can be reached, and a cluster on this one.

A cluster is named by the environment variable TF_CONFIG, as Kubernetes' TFJob and cloud services
set it; every process has its own task in it:

  {"cluster": {"chief": ["a:2222"], "worker": ["b:2222"], "ps": ["c:2222"]},
   "task": {"type": "worker", "index": 0}}

  ps         (parameter server) holds the variables
  worker     computes gradients
  chief      a worker that saves checkpoints and writes events too; worker 0, if none is named
  evaluator  scores checkpoints; not part of the cluster, it needs the files alone

No TensorFlow here: a process that waits for others should wait lightly.
"""
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
from typing import NamedTuple

from cifar10_lib.common.programs import Failure

JOBS = 'chief', 'worker', 'ps'
LOOK_SECONDS = 0.5  # from one look for peers to the next
CONNECT_SECONDS = 2.0  # for one of them
_ADDRESS = re.compile(r'^(\[[0-9a-fA-F:]+\]|[^\s:/]+):(\d{1,5})$')


class Cluster(NamedTuple):
  """Addresses of all tasks, and which task this process is."""
  addresses: dict  # of job to a list of 'host:port'
  job: str  # of JOBS, or 'evaluator'
  index: int

  @property
  def is_chief(self):
    return (self.job, self.index) == self.chief

  @property
  def chief(self):
    """Job and index of the chief."""
    return ('chief' if self.addresses.get('chief') else 'worker'), 0

  @property
  def workers(self):
    """(job, index) of all tasks that compute gradients, the chief first."""
    return [(job, index) for job in ('chief', 'worker')
            for index in range(len(self.addresses.get(job, [])))]

  @property
  def servers(self):
    """(job, index) of all parameter servers."""
    return [('ps', index) for index in range(len(self.addresses['ps']))]

  def address(self, task):
    """Returns 'host:port' of a (job, index)."""
    job, index = task
    return self.addresses[job][index]


def _refuse(what):
  raise Failure('TF_CONFIG %s. It reads {"cluster": {"ps": ["HOST:PORT"], "worker": [...]}, '
                '"task": {"type": "worker", "index": 0}}.' % what)


def parse(text):
  """Reads TF_CONFIG.

  Args:
    text: JSON, or None where it is not set.

  Returns:
    A Cluster.

  Raises:
    Failure: it is no such thing.
  """
  if not text:
    _refuse('is not set, and --local not given')
  try:
    config = json.loads(text)
  except ValueError as error:
    _refuse('is not JSON (%s)' % error)
  parts = [config.get(name) if isinstance(config, dict) else None for name in ('cluster', 'task')]
  if not all(isinstance(part, dict) for part in parts):
    _refuse('has no "cluster" or no "task"')
  addresses, task = parts
  for job, listed in addresses.items():
    if job not in (*JOBS, 'evaluator'):
      _refuse('names a job %r; there are %s' % (job, ', '.join(JOBS)))
    if not isinstance(listed, list):
      _refuse('gives %s no list of addresses' % job)
    for address in listed:
      found = isinstance(address, str) and _ADDRESS.match(address)
      if not found or not 0 < int(found[2]) < 65536:
        _refuse('gives %s the address %r, which is not HOST:PORT' % (job, address))
  addresses = {job: listed for job, listed in addresses.items() if job in JOBS and listed}
  all_of_them = [address for listed in addresses.values() for address in listed]
  for address in all_of_them:
    if all_of_them.count(address) > 1:
      _refuse('gives %s to two tasks' % address)
  if 'ps' not in addresses or not ('chief' in addresses or 'worker' in addresses):
    _refuse('needs at least one ps and one worker')
  if len(addresses.get('chief', [])) > 1:
    _refuse('names more than one chief')
  job, index = task.get('type'), task.get('index', 0)
  if isinstance(index, str) and index.isdigit():
    index = int(index)
  count = 1 if job == 'evaluator' else len(addresses.get(job, [])) if isinstance(job, str) else 0
  if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
    _refuse('says that this is %s %s, which the cluster does not have' % (job, index))
  return Cluster(addresses, job, index)


def name(task):
  """Returns 'worker 0' of ('worker', 0)."""
  return '%s %d' % task


def reachable(address):
  """Returns whether something answers at 'host:port'."""
  host, _, port = address.rpartition(':')
  try:
    socket.create_connection((host.strip('[]'), int(port)), CONNECT_SECONDS).close()
    return True
  except OSError:
    return False


def wait_for(cluster, tasks, seconds, signals=None):
  """Waits until all tasks can be reached.

  Args:
    cluster: a Cluster.
    tasks: list of (job, index).
    seconds: how long.
    signals: what `hooks.catch_signals` yields; a signal ends the wait.

  Raises:
    Failure: one cannot.
  """
  give_up, told = time.monotonic() + seconds, False
  for task in tasks:
    while not reachable(cluster.address(task)):
      if signals and signals.number:
        return
      if time.monotonic() > give_up:
        raise Failure('%s at %s was not reached within %g seconds. Is it running, and does the '
                      'network let this process connect? --connect_timeout_secs waits longer.'
                      % (name(task), cluster.address(task), seconds))
      if not told:
        print('Waiting for %s at %s.' % (name(task), cluster.address(task)), flush=True)
        told = True
      time.sleep(LOOK_SECONDS)


class Watch:
  """Ends the process when a peer stays away for too long, or when a signal's step does not end.

  A step that waits for a machine that is gone waits for ever, and no exception comes.
  """

  def __init__(self, cluster, tasks, seconds, signals, grace_seconds):
    """Takes the peers, how long one may be away, and how long a step may last after a signal."""
    self._cluster, self._tasks, self._seconds = cluster, tasks, seconds
    self._signals, self._grace_seconds = signals, grace_seconds
    self._done = threading.Event()

  def __enter__(self):
    self._thread = threading.Thread(target=self._watch, daemon=True)
    self._thread.start()
    return self

  def __exit__(self, *_):
    self._done.set()

  def _watch(self):
    seen = dict.fromkeys(self._tasks, time.monotonic())
    signalled = None
    while not self._done.wait(LOOK_SECONDS):
      for task in self._tasks:
        if reachable(self._cluster.address(task)):
          seen[task] = time.monotonic()
        elif time.monotonic() - seen[task] > self._seconds and not self._done.is_set():
          self._end('Error: %s at %s has been away for %g seconds. Start it again, then this task.'
                    % (name(task), self._cluster.address(task), self._seconds), 1)
      if self._signals.number:
        signalled = signalled or time.monotonic()
        if time.monotonic() - signalled > self._grace_seconds and not self._done.is_set():
          self._end('The step did not end within %g seconds.' % self._grace_seconds,
                    128 + self._signals.number)

  @staticmethod
  def _end(text, code):
    print(text, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)  # no thread of TensorFlow that waits can hold this up


# On one machine.


def parse_local(text):
  """Reads 'ps:1,worker:2' as --local takes it; returns a dict of job to count.

  Raises:
    Failure: it reads otherwise.
  """
  counts = {}
  for item in text.split(','):
    job, _, count = item.partition(':')
    if job not in (*JOBS, 'evaluator') or not count.isdigit() or not int(count) or job in counts:
      raise Failure('--local=%s: %r is not JOB:COUNT. It reads as ps:1,worker:2; jobs are %s, '
                    'evaluator.' % (text, item, ', '.join(JOBS)))
    counts[job] = int(count)
  if 'ps' not in counts or not ('worker' in counts or 'chief' in counts):
    raise Failure('--local=%s needs at least ps:1 and worker:1.' % text)
  for job in 'chief', 'evaluator':
    if counts.get(job, 1) > 1:
      raise Failure('--local=%s: there is one %s at most.' % (text, job))
  return counts


def free_addresses(counts):
  """Returns a dict of job to addresses on loopback, all of ports that are free now."""
  with contextlib.ExitStack() as sockets:  # held together, so that no port comes twice
    addresses = {}
    for job, count in counts.items():
      for _ in range(count):
        held = sockets.enter_context(socket.socket())
        held.bind(('127.0.0.1', 0))
        addresses.setdefault(job, []).append('127.0.0.1:%d' % held.getsockname()[1])
  return addresses


class _Process:
  """One task as a process; its output goes to a log, the chief's to the terminal too."""

  def __init__(self, task, command, environment, log, shown):
    self.task, self._command, self._environment = task, command, environment
    self._log, self._shown = log, shown
    self.start()

  def start(self):
    with open(self._log, 'ab') as log:
      # In a group of its own, so that a Ctrl-C at the terminal comes from here alone.
      self.process = subprocess.Popen(
          self._command, env=self._environment, start_new_session=True,
          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if self._shown else log,
          stderr=subprocess.STDOUT)
    if self._shown:
      threading.Thread(target=self._copy, args=(self.process.stdout,), daemon=True).start()
    print('%s: process %d, log %s' % (name(self.task), self.process.pid, self._log), flush=True)

  def _copy(self, output):
    with open(self._log, 'ab') as log, output:
      for line in output:
        log.write(line)
        log.flush()
        sys.stdout.buffer.write(line)
        sys.stdout.flush()

  def end(self, number):
    if self.process.poll() is None:
      self.process.send_signal(number)

  def wait(self, seconds):
    """Waits so long at most; then kills it. Returns the exit code."""
    try:
      return self.process.wait(seconds)
    except subprocess.TimeoutExpired:
      self.process.kill()
      return self.process.wait()


def _await_chief(processes, chief, signals, grace_seconds):
  """Starts again what is killed, until the chief ends or a signal comes; returns its exit code."""
  while True:
    code = chief.process.poll()
    if code is not None and (code >= 0 or signals.number):
      return code
    if signals.number:
      chief.end(signal.SIGTERM)
      return chief.wait(grace_seconds)
    for each in processes:
      code = each.process.poll()
      if code is not None and code < 0:
        print('%s was killed by signal %d; starting it again.' % (name(each.task), -code),
              flush=True)
        each.start()
    time.sleep(0.1)


def _await_others(processes, stopped, grace_seconds):
  """Waits until all have ended, asked to if training was stopped; kills what takes longer."""
  if stopped:
    for each in processes:
      each.end(signal.SIGTERM)
  give_up = time.monotonic() + grace_seconds
  for each in processes:
    each.wait(max(0.0, give_up - time.monotonic()))


def _environment(task, cluster):
  """Returns the environment of a task on this machine, whose cores the workers divide.

  With threads for all cores in each worker, these would wait for one another in the midst of an op.
  """
  job, index = task
  environment = dict(os.environ, TF_CONFIG=json.dumps(
      {'cluster': cluster.addresses, 'task': {'type': job, 'index': index}}))
  if task in cluster.workers:
    threads = max(1, (os.cpu_count() or 1) // len(cluster.workers))
    environment.setdefault('TF_NUM_INTRAOP_THREADS', str(threads))  # as TensorFlow reads it
  return environment


def run_local(counts, command, log_dir, signals, grace_seconds):
  """Starts a cluster on this machine, and starts again what is killed.

  Args:
    counts: a dict of job to count.
    command: argv of a task, which reads TF_CONFIG.
    log_dir: for one log a process, added to.
    signals: what `hooks.catch_signals` yields; a signal goes on to the chief first.
    grace_seconds: that the others have when the chief has ended.

  Returns:
    The chief's exit code.
  """
  addresses = free_addresses(counts)
  evaluators = addresses.pop('evaluator', [])
  cluster = Cluster(addresses, 'ps', 0)
  os.makedirs(log_dir, exist_ok=True)
  tasks = [*cluster.servers, *cluster.workers, *(('evaluator', i) for i in range(len(evaluators)))]
  processes = {}
  try:
    for task in tasks:
      processes[task] = _Process(task, command, _environment(task, cluster),
                                 os.path.join(log_dir, '%s-%d.log' % task), task == cluster.chief)
    code = _await_chief(processes.values(), processes[cluster.chief], signals, grace_seconds)
    _await_others(processes.values(), code != 0, grace_seconds)
    return code
  finally:
    for each in processes.values():
      each.end(signal.SIGKILL)
