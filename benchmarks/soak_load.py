"""The part of `soak` in which all programs work on one directory."""
import contextlib
import glob
import os
import re
import signal
import socket
import sys
import threading
import time
import urllib.request

import numpy as np
from PIL import Image

import cifar10_eval
from benchmarks import attacks, runs
from cifar10_lib.training import checkpoints

POLL_SECONDS = 0.2
PICTURES = 5
SCORE = re.compile(r'precision @ 1 = (\S+ \(\d+/\d+\)) at step (\d+), mean loss = (\S+)')


def scores_of(output):
  """Returns a list of (score, step), in the order an evaluator printed them."""
  return [('%s, %s' % (score, loss), int(step)) for score, step, loss in SCORE.findall(output)]


class _Copies(threading.Thread):
  """Links the files of each checkpoint into another directory before the trainer deletes them."""

  def __init__(self, source, target):
    super().__init__(daemon=True)
    self._source, self._target, self.end = source, target, threading.Event()
    os.mkdir(target)

  def run(self):
    while not self.end.wait(POLL_SECONDS):
      self.copy()

  def copy(self):
    for path in checkpoints.find_all(self._source):
      for file in glob.glob(path + '.data-*') + glob.glob(path + '.index'):
        with contextlib.suppress(FileExistsError, FileNotFoundError):
          os.link(file, os.path.join(self._target, os.path.basename(file)))


def _pictures(directory):
  """Writes a few pictures; returns their directory."""
  folder = os.path.join(directory, 'pictures')
  os.mkdir(folder)
  for number in range(PICTURES):
    pixels = np.random.RandomState(number).randint(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(pixels).save(os.path.join(folder, '%d.png' % number))
  return folder


class _Predictions(threading.Thread):
  """Predicts pictures again and again; keeps how often, and the outputs of failures."""

  def __init__(self, argv):
    super().__init__(daemon=True)
    self._argv, self.end = argv, threading.Event()
    self.count, self.failures = 0, []

  def run(self):
    while not self.end.is_set():
      try:
        output = attacks.run(self._argv)
        assert output.count('.png: ') == PICTURES, output
      except attacks.LOSSES as error:
        self.failures.append(str(error))
      self.count += 1


def _free_port():
  with socket.socket() as held:
    held.bind(('127.0.0.1', 0))
    return held.getsockname()[1]


def _answers(port):
  """Returns whether TensorBoard answers with the runs of its directory."""
  try:
    with urllib.request.urlopen('http://127.0.0.1:%d/data/runs' % port, timeout=30) as answer:
      return answer.status == 200 and len(answer.read()) > 4
  except OSError:
    return False


def _rescored(copies, data_dir, num_examples, printed):
  """Scores the copies of all checkpoints that were scored; returns (number, problems)."""
  evaluation = cifar10_eval.Evaluation(runs.options(
      cifar10_eval, data_dir=data_dir, num_examples=num_examples, batch_size=50))
  number, problems = 0, []
  for step, scores in sorted(printed.items()):
    path = os.path.join(copies, 'model.ckpt-%d' % step)
    if checkpoints.exists(path):
      found = evaluation.scores(path)
      right, total = found.right.sum(), evaluation.num_examples
      again = '%.3f (%d/%d), %.3f' % (right / total, right, total, found.loss)
      number += 1
      if {*scores} != {again}:
        problems.append('step %d: printed %s, rescored %s' % (step, scores, again))
    elif len({*scores}) != 1:
      problems.append('step %d: printed %s' % (step, scores))
  return number, problems


def load(directory, options, watch):
  """Runs all programs for so many minutes; returns the figures, and whether all is well.

  Args:
    options: minutes, data_dir, num_examples, sample_seconds.
    watch: the class soak.Watch.
  """
  data_dir = options.data_dir or attacks.draw_sample(directory, 1000, 200)
  train_dir, copies = os.path.join(directory, 'train'), os.path.join(directory, 'copies')
  port = _free_port()
  argvs = {'trainer': attacks.trainer(
      'cifar10_train', data_dir, train_dir, 10**6, save_checkpoint_steps='', log_frequency=100,
      summary_steps=20)}
  argvs['trainer'] = [each for each in argvs['trainer'] if 'save_checkpoint_steps' not in each]
  argvs['trainer'].append('--save_checkpoint_secs=1')
  for name in 'evaluator 1', 'evaluator 2':
    argvs[name] = attacks.command(
        'cifar10_eval', data_dir=data_dir, checkpoint_dir=train_dir, eval_interval_secs=1,
        eval_dir=os.path.join(directory, name), num_examples=options.num_examples, batch_size=50)
  argvs['TensorBoard'] = [sys.executable, '-m', 'tensorboard.main', '--logdir', directory,
                          '--host=127.0.0.1', '--port=%d' % port]
  linker = None
  with contextlib.ExitStack() as stack:
    processes, watches = {}, {}
    for name, argv in argvs.items():
      output = stack.enter_context(open(os.path.join(directory, name + '.log'), 'w'))
      processes[name] = stack.enter_context(attacks.running(argv, output))
      watches[name] = watch(processes[name], options.sample_seconds)
      if name == 'trainer':
        linker = _Copies(train_dir, copies)
        linker.start()
    while not checkpoints.find_latest(train_dir):
      assert processes['trainer'].poll() is None, 'the trainer ended'
      time.sleep(POLL_SECONDS)
    predictions = _Predictions(attacks.command('cifar10_predict', _pictures(directory),
                                               checkpoint_dir=train_dir))
    predictions.start()
    ended = threading.Event()
    ended.wait(60 * options.minutes)
    early = [name for name, process in processes.items() if process.poll() is not None]
    board = _answers(port)
    predictions.end.set()
    predictions.join()
    processes['trainer'].send_signal(signal.SIGTERM)  # saves; evaluators go on after 'stopped'
    processes['trainer'].wait(attacks.END_SECONDS)
    time.sleep(5)
    linker.end.set()
    linker.join()
    linker.copy()
    for each in watches.values():
      each.end()
  return _judge(directory, data_dir, options, watches, predictions, early, board)


def _judge(directory, data_dir, options, watches, predictions, early, board):
  """Returns the figures, and whether all is well; describes what is not."""
  problems = ['%s ended by itself' % name for name in early] + predictions.failures
  if not board:
    problems.append('TensorBoard does not answer')
  printed, counts = {}, {}
  for name in watches:
    with open(os.path.join(directory, name + '.log')) as file:
      output = file.read()
    if 'Traceback' in output and name != 'TensorBoard':
      problems.append('%s: %s' % (name, output[-2000:]))
    scores = scores_of(output)
    counts[name] = len(scores)
    for score, step in scores:
      printed.setdefault(step, []).append(score)
  number, wrong = _rescored(os.path.join(directory, 'copies'), data_dir, options.num_examples,
                            printed)
  for name in 'train', 'evaluator 1', 'evaluator 2':
    try:
      attacks.event_steps(os.path.join(directory, name))
    except AssertionError as error:
      problems.append(str(error))
  growths = {name: each.growth() for name, each in watches.items()}
  problems += wrong + ['%s grows: %s' % (name, growth) for name, growth in growths.items()
                       if name != 'TensorBoard' and not growth['flat']]
  for problem in problems:
    print('load: %s' % problem, file=sys.stderr)
  return {'scores': sum(counts.values()), 'checkpoints': len(printed), 'rescored': number,
          'predictions': predictions.count, **growths}, not problems
