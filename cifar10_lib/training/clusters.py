"""The tasks that take part in training on several machines, and whether they can be reached.

The environment variable TF_CONFIG describes a cluster, as Kubernetes' TFJob and cloud services set
it. Every process finds its own task in it:

  {"cluster": {"chief": ["a:2222"], "worker": ["b:2222"], "ps": ["c:2222"]},
   "task": {"type": "worker", "index": 0}}

  ps         (parameter server) holds the variables
  worker     computes gradients
  chief      a worker that also saves checkpoints and writes events; worker 0, if none is named
  evaluator  scores checkpoints; it needs only the files and is not part of the cluster

This module does not load TensorFlow, so that waiting processes stay small.
"""
import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
from typing import NamedTuple

from cifar10_lib.common.programs import Failure, printable
from cifar10_lib.training import isolation

JOBS = 'chief', 'worker', 'ps'
POLL_SECONDS = 0.5  # between two checks whether peers can be reached
CONNECT_SECONDS = 2.0  # for one connection
SAVE_SECONDS = 5  # for a last save before the process ends
_ADDRESS = re.compile(r'^(\[[0-9a-fA-F:]+\]|[^\s:/]+):(\d{1,5})$')


class Cluster(NamedTuple):
  """Addresses of all tasks, and which task this process is. A task is a pair (job, index)."""
  addresses: dict  # from job to a list of 'host:port'
  job: str  # one of JOBS, or 'evaluator'
  index: int

  @property
  def task(self):
    """The task of this process."""
    return self.job, self.index

  @property
  def chief(self):
    """The task of the chief."""
    return ('chief' if self.addresses.get('chief') else 'worker'), 0

  @property
  def is_chief(self):
    """Whether this process is the chief."""
    return self.task == self.chief

  @property
  def workers(self):
    """The tasks that compute gradients, the chief first."""
    return [(job, index) for job in ('chief', 'worker')
            for index in range(len(self.addresses.get(job, [])))]

  @property
  def servers(self):
    """The tasks of the parameter servers."""
    return [('ps', index) for index in range(len(self.addresses['ps']))]

  def address(self, task):
    """Returns 'host:port' of a task."""
    job, index = task
    return self.addresses[job][index]


def _refuse(what):
  """Raises Failure for TF_CONFIG."""
  raise Failure('TF_CONFIG %s. It reads {"cluster": {"ps": ["HOST:PORT"], "worker": [...]}, '
                '"task": {"type": "worker", "index": 0}}.' % what)


def parse(text):
  """Parses TF_CONFIG; returns a Cluster.

  Args:
    text: JSON, or None if the variable is not set.

  Raises:
    Failure: it does not describe a cluster and a task in it.
  """
  if not text:
    _refuse('is not set, and --local is not given')
  try:
    config = json.loads(text)
  except (ValueError, RecursionError) as error:
    _refuse('is not JSON (%s)' % error)
  parts = [config.get(name) if isinstance(config, dict) else None for name in ('cluster', 'task')]
  if not all(isinstance(part, dict) for part in parts):
    _refuse('has no "cluster" or no "task"')
  addresses, task = parts
  for job, listed in addresses.items():
    if job not in (*JOBS, 'evaluator'):
      _refuse('names a job %.80r; there are %s' % (job, ', '.join(JOBS)))
    if not isinstance(listed, list):
      _refuse('gives %s no list of addresses' % job)
    for address in listed:
      found = isinstance(address, str) and _ADDRESS.match(address)
      if not found or not 0 < int(found[2]) < 65536:
        _refuse('gives %s the address %.80r, which is not HOST:PORT' % (job, address))
  addresses = {job: listed for job, listed in addresses.items() if job in JOBS and listed}
  every_address = sum(addresses.values(), [])
  for address in every_address:
    if every_address.count(address) > 1:
      _refuse('gives %s to two tasks' % address)
  if 'ps' not in addresses or not ('chief' in addresses or 'worker' in addresses):
    _refuse('needs at least one ps and one worker')
  if len(addresses.get('chief', [])) > 1:
    _refuse('names more than one chief')
  job, index = task.get('type'), task.get('index', 0)
  if isinstance(index, str) and index.isdigit():
    index = int(index)
  count = 1 if job == 'evaluator' else len(addresses.get(str(job), []))
  if type(index) is not int or not 0 <= index < count:  # a bool is not an index
    _refuse('says that this is %s %s, which the cluster does not have'
            % (printable(str(job), 80), printable(str(index), 80)))
  return Cluster(addresses, job, index)


def name(task):
  """Returns the name of a task, such as 'worker 0' for ('worker', 0)."""
  return '%s %d' % task


def warn_of_strangers(cluster):
  """Prints on which port strangers could connect to this task, unless it has a network of its own.

  Args:
    cluster: a Cluster.
  """
  if not isolation.is_closed():
    print('%s listens on port %s of every address of this machine. Whoever connects can read and '
          'write files as its user: docs/distributed.md tells how to keep strangers out.'
          % (name(cluster.task), cluster.address(cluster.task).rpartition(':')[2]), flush=True)


def reachable(address):
  """Returns whether a process listens at 'host:port'."""
  host, _, port = address.rpartition(':')
  try:
    socket.create_connection((host.strip('[]'), int(port)), CONNECT_SECONDS).close()
    return True
  except OSError:
    return False


def wait_for(cluster, tasks, seconds, signals=None):
  """Waits until all tasks can be reached, or until `stopping.catch_signals` has caught a signal.

  Raises:
    Failure: a task cannot be reached within so many seconds.
  """
  give_up, is_reported = time.monotonic() + seconds, False
  for task in tasks:
    while not reachable(cluster.address(task)):
      if signals and signals.number:
        return
      if time.monotonic() > give_up:
        raise Failure('%s at %s was not reached within %g seconds. Is it running, and does the '
                      'network let this process connect? --connect_timeout_secs waits longer.'
                      % (name(task), cluster.address(task), seconds))
      if not is_reported:
        print('Waiting for %s at %s.' % (name(task), cluster.address(task)), flush=True)
        is_reported = True
      time.sleep(POLL_SECONDS)


def _end(text, code, save=None):
  """Calls `save`, if given, and ends the process: no thread that hangs can hold this up."""
  print(text, file=sys.stderr, flush=True)
  if save:
    def try_to_save():
      try:
        save()
      except Exception as error:  # the process ends whatever happens
        print('Error: %s' % printable(str(error)), file=sys.stderr, flush=True)
    thread = threading.Thread(target=try_to_save, daemon=True)
    thread.start()
    thread.join(SAVE_SECONDS)
  sys.stdout.flush()
  os._exit(code)


def _watch(cluster, tasks, seconds, signals, grace_seconds, save, done):
  """Does the work of `watching`, until the event `done`."""
  seen = dict.fromkeys(tasks, time.monotonic())
  signalled = None
  while not done.wait(POLL_SECONDS):
    for task in tasks:
      if reachable(cluster.address(task)):
        seen[task] = time.monotonic()
      elif time.monotonic() - seen[task] > seconds and not done.is_set():
        _end('Error: %s at %s has been away for %g seconds. Start it again, then this task.'
             % (name(task), cluster.address(task), seconds), 1,
             save if task[0] != 'ps' else None)  # the variables are on the parameter servers
    if signals.number:
      signalled = signalled or time.monotonic()
      if time.monotonic() - signalled > grace_seconds and not done.is_set():
        _end('The step did not end within %g seconds.' % grace_seconds, 128 + signals.number, save)


@contextlib.contextmanager
def watching(cluster, tasks, seconds, signals, grace_seconds, save=None):
  """Ends the process if a peer is out of reach for too long, or if a step hangs after a signal.

  A step that waits for a lost machine would hang for ever without an exception.

  Args:
    cluster, tasks: a Cluster, and a list of its tasks to watch.
    seconds: longest time that one of them may be out of reach.
    signals: what `stopping.catch_signals` yields.
    grace_seconds: longest time that a step may take after a signal.
    save: function to call in a thread before the process ends because of a signal, or because a
      worker is out of reach; it has SAVE_SECONDS.
  """
  done = threading.Event()
  threading.Thread(target=_watch, args=(cluster, tasks, seconds, signals, grace_seconds, save,
                                        done), daemon=True).start()
  try:
    yield
  finally:
    done.set()
