"""Lets programs run for long, and checks scores, memory and open files.

  python benchmarks/soak.py --part=load --minutes=30

prints one JSON line for each row. A loss is described on standard error. Parts:

  load           A trainer that saves every second, two evaluators that watch it, a loop of
                 predictions and TensorBoard, on one directory. Every score that an evaluator prints
                 is rescored from a copy of its checkpoint; the other evaluator must print the same.
  long_training  --steps of the sample data in batches of 2.
  evaluations    --count checkpoints, scored by one evaluator.

Memory and open files are read every few seconds. It is a loss if the median over the last tenth of
the time is more than 5% above that over the second tenth.
"""
import argparse
import os
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import attacks, soak_load  # noqa: E402

SUMMARY_STEPS = 100  # of the long training
MOST = 1.05  # growth of memory and of open files from the second tenth to the last


class Watch:
  """Reads the memory and the open files of a process, until it ends."""

  def __init__(self, process, seconds):
    self._pid, self._seconds = process.pid, seconds
    self.samples = []  # (megabytes, open files)
    self._end = threading.Event()
    self._thread = threading.Thread(target=self._read, daemon=True)
    self._thread.start()

  def _read(self):
    while not self._end.wait(self._seconds):
      try:
        with open('/proc/%d/statm' % self._pid) as file:
          pages = int(file.read().split()[1])
        handles = len(os.listdir('/proc/%d/fd' % self._pid))
      except (OSError, IndexError):
        return
      if pages:  # 0: a zombie
        self.samples.append((pages * os.sysconf('SC_PAGE_SIZE') / 1e6, handles))

  def end(self):
    self._end.set()
    self._thread.join()

  def growth(self):
    """Returns a dict: samples, and what the second tenth and the last tenth took (medians)."""
    count = len(self.samples)
    tenth = max(1, count // 10)
    parts = self.samples[tenth:2 * tenth], self.samples[-tenth:]
    if count < 4 or not all(parts):
      return {'samples': count, 'flat': False}
    megabytes, handles = ([round(statistics.median(each[kind] for each in part), 1)
                           for part in parts] for kind in (0, 1))
    return {'samples': count, 'megabytes': megabytes, 'handles': handles,
            'flat': megabytes[1] <= MOST * megabytes[0] and handles[1] <= MOST * handles[0]}


def _watched(argv, seconds, timeout):
  """Runs a program to its end; returns its output and what it took over time."""
  with attacks.running(argv) as process:
    watch = Watch(process, seconds)
    output, _ = process.communicate(timeout=timeout)
    watch.end()
  assert process.returncode == 0 and 'Traceback' not in output, output[-2000:]
  return output, watch.growth()


def long_training(directory, options):
  """Trains many steps in batches of 2."""
  data_dir, train_dir = attacks.draw_sample(directory, 2000, 50), os.path.join(directory, 'train')
  output, found = _watched(attacks.trainer(
      'cifar10_train', data_dir, train_dir, options.steps, batch_size=2, log_frequency=100,
      save_checkpoint_steps=1000, summary_steps=SUMMARY_STEPS), options.sample_seconds, None)
  assert attacks.steps_of(output)[-1] == options.steps, output[-500:]
  steps = attacks.event_steps(train_dir)[-1]
  assert steps[-1] > options.steps - SUMMARY_STEPS, steps[-1]
  return {'steps': options.steps, 'trainer': found}, found['flat']


def evaluations(directory, options):
  """Scores many checkpoints in one process: one checkpoint, linked under many numbers."""
  data_dir, source = attacks.draw_sample(directory), os.path.join(directory, 'source')
  many = os.path.join(directory, 'many')
  attacks.run(attacks.trainer('cifar10_train', data_dir, source, 4))
  os.mkdir(many)
  for number in range(1, options.count + 1):
    for ending in '.data-00000-of-00001', '.index':
      os.link(os.path.join(source, 'model.ckpt-4' + ending),
              os.path.join(many, 'model.ckpt-%d%s' % (number, ending)))
  with open(os.path.join(many, 'trainer.json'), 'w') as file:
    file.write('{"state": "finished"}')
  eval_dir = os.path.join(directory, 'eval')
  output, found = _watched(attacks.command(
      'cifar10_eval', data_dir=data_dir, checkpoint_dir=many, eval_dir=eval_dir, batch_size=50,
      predictions_csv=os.path.join(directory, 'rows.csv')),
      min(0.5, options.sample_seconds), None)
  scores = [score for score, _ in soak_load.scores_of(output)]
  assert len(scores) == options.count and len({*scores}) == 1, (len(scores), {*scores})
  assert len(attacks.event_steps(eval_dir)[-1]) >= options.count
  return {'evaluations': len(scores), 'evaluator': found}, found['flat']


def load(directory, options):
  """All programs on one directory; see `soak_load`."""
  return soak_load.load(directory, options, Watch)


PARTS = {'load': load, 'long_training': long_training, 'evaluations': evaluations}


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--part', choices=PARTS, required=True)
  parser.add_argument('--minutes', type=float, default=30, help='of the load')
  parser.add_argument('--steps', type=int, default=50000, help='of the long training')
  parser.add_argument('--count', type=int, default=200, help='of the evaluations')
  parser.add_argument('--data_dir', help='of the load; if not given, a sample of 1,200 pictures')
  parser.add_argument('--num_examples', type=int, default=200, help='scored under load')
  parser.add_argument('--sample_seconds', type=float, default=5)
  options = parser.parse_args()
  began, well = time.monotonic(), True
  with attacks.workplace('soak') as directory:
    try:
      figures, well = PARTS[options.part](directory, options)
    except attacks.LOSSES as error:
      print('%s: %s' % (options.part, error), file=sys.stderr)
      figures, well = {}, False
  attacks.report('soak, ' + options.part, **figures, losses=int(not well),
                 seconds=round(time.monotonic() - began))
  return 0 if well else 1


if __name__ == '__main__':
  sys.exit(main())
