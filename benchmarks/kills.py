"""Kills training at random moments, starts it again, and checks that nothing was lost.

  python benchmarks/kills.py --data_dir cifar10_data/ --rounds=50

prints one JSON line for each signal: rounds, losses and the smallest and largest step that was
resumed. A loss is described on standard error. Each round starts a trainer that saves every second
step, ends it by the signal between 0 and 8 seconds after its start, and starts it again. It is a
loss if the second start does not go on from the last checkpoint of the first, if that checkpoint is
more than three steps before the last step of the log (after SIGTERM and SIGINT: before it at all),
if the last event is not of the last step, or if an unfinished file is left.
"""
import argparse
import glob
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from cifar10_lib.common.tf1 import tf  # noqa: E402
from cifar10_lib.training import checkpoints  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAX_SECONDS = 8.0  # from the start of a trainer to its signal; loading TensorFlow takes 2
END_SECONDS = 60  # for a trainer to end after a signal, and to make four more steps
SIGNALS = ('SIGKILL', 'SIGTERM', 'SIGINT')


def start(data_dir, train_dir, max_steps, *more):
  """Starts a trainer with small batches; returns the process, whose output is a pipe."""
  command = [sys.executable, os.path.join(ROOT, 'cifar10_train.py'), '--data_dir=' + data_dir,
             '--train_dir=' + train_dir, '--batch_size=16', '--log_frequency=1',
             '--save_checkpoint_steps=2', '--summary_steps=1', '--max_steps=%d' % max_steps, *more]
  return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def steps_of(output):
  """Returns the steps in the log lines of a trainer."""
  return [int(step) for step in re.findall(r': step (\d+), loss', output)]


def event_steps(directory):
  """Returns the steps of all summaries, file by file in the order of their names."""
  steps = []
  for path in sorted(glob.glob(os.path.join(directory, 'events.*'))):
    try:
      steps += [event.step for event in tf.train.summary_iterator(path)
                if event.HasField('summary')]
    except tf.errors.DataLossError:  # the last record of a killed writer
      pass
  return steps


def one_round(data_dir, name, draw):
  """Kills a trainer once and starts it again; returns the step that it resumed, or None.

  Raises:
    AssertionError: something was lost.
  """
  number = getattr(signal, name)
  with tempfile.TemporaryDirectory(prefix='kills-') as directory:
    train_dir = os.path.join(directory, 'train')
    process = start(data_dir, train_dir, 10**6)
    time.sleep(draw.uniform(0, MAX_SECONDS))
    process.send_signal(number)
    output, _ = process.communicate(timeout=END_SECONDS)
    assert process.returncode in (-number, 128 + number), (process.returncode, output[-500:])
    assert 'Traceback' not in output, output
    latest = checkpoints.find_latest(train_dir)
    saved = checkpoints.step_of(latest) if latest else 0
    logged = max(steps_of(output), default=0)
    if number != signal.SIGKILL:
      assert saved >= logged, 'saved step %d, made step %d' % (saved, logged)
    else:
      assert saved >= logged - 3, 'saved step %d, made step %d' % (saved, logged)
    again = start(data_dir, train_dir, saved + 4)
    output, _ = again.communicate(timeout=END_SECONDS)
    assert again.returncode == 0 and 'Traceback' not in output, output
    assert not latest or 'Continuing from %s.' % latest in output, output
    assert not glob.glob(os.path.join(train_dir, '*tempstate*')), os.listdir(train_dir)
    assert not glob.glob(os.path.join(train_dir, '*.new')), os.listdir(train_dir)
    resumed = event_steps(train_dir)
    assert resumed and resumed[-1] == saved + 4, resumed[-5:]
    return saved if latest else None


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--rounds', type=int, default=50, help='of each signal')
  parser.add_argument('--seed', type=int, default=1)
  options = parser.parse_args()
  losses = 0
  for name in SIGNALS:
    draw, saved, lost = random.Random('%s %d' % (name, options.seed)), [], 0
    for number in range(options.rounds):
      try:
        saved.append(one_round(options.data_dir, name, draw))
      except (AssertionError, subprocess.TimeoutExpired) as error:
        lost += 1
        print('%s, round %d: %s' % (name, number, error), file=sys.stderr)
    found = [step for step in saved if step is not None]
    print(json.dumps({'signal': name, 'rounds': options.rounds, 'losses': lost,
                      'before_a_checkpoint': len(saved) - len(found),
                      'resumed_at': [min(found, default=0), max(found, default=0)]}), flush=True)
    losses += lost
  return 1 if losses else 0


if __name__ == '__main__':
  sys.exit(main())
