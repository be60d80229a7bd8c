"""Kills one process of a local cluster at a random moment, and checks that nothing was lost.

  python benchmarks/kills_cluster.py --rounds=20

prints one JSON line for each kind of process: launcher, chief, worker, ps, evaluator. The cluster
is `--local=ps:1,chief:1,worker:1,evaluator:1`, with batches of 16 sample pictures; it saves every
second step. One of three signals, by lot, goes to the process between the start of the processes
and a while after the first steps. docs/distributed.md says what must happen:

  goes on   The launcher starts a killed process again, and the chief makes more steps.
  ends      The launcher ends, because it or the chief was told to, or because a task that a
            signal ended in order is missed for longer than --connect_timeout_secs.

In both cases the launcher is told to end, unless it has, and no process may be left 12 seconds
later. The last checkpoint is not before the chief's last line; after SIGKILL to the launcher or the
parameter server it is at most three steps before it. A second start goes on from it.
"""
import argparse
import collections
import contextlib
import os
import random
import re
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import attacks  # noqa: E402
from cifar10_lib.training import checkpoints  # noqa: E402

KINDS = {'launcher': None, 'chief': 'chief', 'worker': 'worker', 'ps': 'ps',
         'evaluator': 'evaluator'}
CLUSTER = 'ps:1,chief:1,worker:1,evaluator:1'
TIMEOUT_SECONDS = 20    # --connect_timeout_secs; a task that starts again loads TensorFlow first
START_SECONDS = 120     # for all processes to start, and for the first steps
GO_ON_SECONDS = 120     # for a process to load TensorFlow again, and more steps
STOP_SECONDS = 30       # for the launcher to end after a signal; its own time of grace is 20
LEFT_SECONDS = 12       # for processes that outlive it
POLL_SECONDS = 0.1
MORE_STEPS = 6  # a chief that ends in order may log two more


def processes(text):
  """Returns the processes that a launcher has said it started: dict from job to the last pid."""
  return {job: int(pid) for job, pid in re.findall(r'^(\w+) \d+: process (\d+)', text, re.M)}


def pids(text):
  return [int(pid) for pid in re.findall(r'^\w+ \d+: process (\d+)', text, re.M)]


def runs(pid):
  """Returns whether a process is there and is no zombie."""
  try:
    with open('/proc/%d/stat' % pid) as file:
      return file.read().rpartition(')')[2].split()[0] != 'Z'
  except (FileNotFoundError, ProcessLookupError):
    return False


class Cluster:
  """A launcher whose output goes to a file."""

  def __init__(self, data_dir, place, process):
    self.process, self.log = process, os.path.join(place, 'launcher.log')
    self.train_dir, self.data_dir = os.path.join(place, 'train'), data_dir

  @staticmethod
  def argv(data_dir, place, max_steps):
    return attacks.trainer(
        'cifar10_train_distributed', data_dir, os.path.join(place, 'train'), max_steps,
        local=CLUSTER, connect_timeout_secs=TIMEOUT_SECONDS, eval_interval_secs=1,
        eval_dir=os.path.join(place, 'eval'))

  def printed(self):
    with open(self.log, errors='replace') as file:
      return file.read()

  def steps(self):
    """Returns the steps that the chief has logged: its own log has them all."""
    try:
      with open(os.path.join(self.train_dir, 'chief-0.log'), errors='replace') as file:
        return attacks.steps_of(file.read())
    except FileNotFoundError:
      return []

  def wait(self, condition, seconds):
    """Waits until a condition is true or the launcher has ended; returns whether it is true."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
      if condition():
        return True
      if self.process.poll() is not None:
        return False
      time.sleep(POLL_SECONDS)
    raise AssertionError('nothing happened for %d s:\n%s' % (seconds, self.printed()[-3000:]))


@contextlib.contextmanager
def started(data_dir, place):
  """Yields a Cluster; kills what is left of it at the end."""
  with open(os.path.join(place, 'launcher.log'), 'w') as output, attacks.running(
      Cluster.argv(data_dir, place, 10**6), output) as process:
    cluster = Cluster(data_dir, place, process)
    try:
      yield cluster
    finally:
      process.kill()
      for pid in pids(cluster.printed()):
        if runs(pid):
          with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _strike(cluster, kind, name, after_steps, seconds):
  """Sends the signal so many seconds after all processes exist, or after so many steps."""
  assert cluster.wait(lambda: len(processes(cluster.printed())) == 4, START_SECONDS)
  if after_steps:
    assert cluster.wait(lambda: len(cluster.steps()) >= after_steps, START_SECONDS)
  time.sleep(seconds)
  pid = cluster.process.pid if kind == 'launcher' else processes(cluster.printed())[kind]
  assert runs(pid), 'the %s ended by itself' % kind
  os.kill(pid, getattr(signal, name))


def _goes_on(cluster):
  """Returns whether the chief makes more steps; False if the launcher ends."""
  time.sleep(POLL_SECONDS)
  before = len(cluster.steps())
  return cluster.wait(lambda: len(cluster.steps()) >= before + MORE_STEPS, GO_ON_SECONDS)


def _all_end(cluster):
  """Waits until no process is left."""
  give_up = time.monotonic() + LEFT_SECONDS
  while any(map(runs, pids(cluster.printed()))):
    assert time.monotonic() < give_up, 'processes are left:\n' + cluster.printed()[-3000:]
    time.sleep(POLL_SECONDS)


def one_round(data_dir, place, kind, draw):
  """Kills one process of a cluster; returns what happened."""
  name = draw.choice(attacks.SIGNALS)
  after_steps = draw.choice([0, 1, 1, 1])
  with started(data_dir, place) as cluster:
    _strike(cluster, kind, name, after_steps, draw.uniform(0, 3 if after_steps else 6))
    went_on = kind != 'launcher' and _goes_on(cluster)
    if cluster.process.poll() is None:
      if kind != 'launcher':
        cluster.process.terminate()
      cluster.process.wait(STOP_SECONDS)
    code = cluster.process.returncode
    _all_end(cluster)
    printed, logged = cluster.printed(), max(cluster.steps(), default=0)
  what = '%s to the %s, exit code %d' % (name, kind, code)
  assert 'Traceback' not in printed, printed[-5000:]
  if kind == 'launcher':
    number = getattr(signal, name)
    assert code in (-number, 128 + number), what
  elif went_on:
    assert code == 128 + signal.SIGTERM, what
  elif name == 'SIGKILL':
    raise AssertionError('%s: the cluster did not go on:\n%s' % (what, printed[-3000:]))
  latest = checkpoints.find_latest(cluster.train_dir)
  saved = checkpoints.step_of(latest) if latest else 0
  may_lose = 3 if kind in ('launcher', 'ps') and name == 'SIGKILL' else 0
  assert saved >= logged - may_lose, '%s: saved step %d, made step %d' % (what, saved, logged)
  output = attacks.run(Cluster.argv(data_dir, place, saved + 4), seconds=START_SECONDS)
  assert not latest or 'Continuing from %s.' % latest in output, output[-3000:]
  assert not attacks.leftovers(cluster.train_dir), os.listdir(cluster.train_dir)
  steps = attacks.event_steps(cluster.train_dir)
  assert max(steps[-1]) == saved + 4, steps[-1]
  return '%s: %s' % (name, 'went on' if went_on else 'ended with %d' % code)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--kinds', default=','.join(KINDS), help='with commas between')
  parser.add_argument('--rounds', type=int, default=20, help='of each kind of process')
  parser.add_argument('--seed', type=int, default=1)
  options = parser.parse_args()
  total = 0
  with attacks.workplace('kills') as directory:
    data_dir = attacks.draw_sample(directory)
    for kind in options.kinds.split(','):
      draw = random.Random('%s %d' % (kind, options.seed))

      def strike(number, kind=kind, draw=draw):
        place = os.path.join(directory, '%s-%d' % (kind, number))
        os.mkdir(place)
        return one_round(data_dir, place, kind, draw)
      began = time.monotonic()
      results, losses = attacks.repeat('cluster, ' + kind, options.rounds, strike)
      attacks.report('cluster, ' + kind, rounds=options.rounds, losses=losses,
                     found=collections.Counter(results), seconds=round(time.monotonic() - began))
      total += losses
  return 1 if total else 0


if __name__ == '__main__':
  sys.exit(main())
