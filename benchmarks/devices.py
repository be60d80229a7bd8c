"""Compares the speed and accuracy of training on one device, with towers and with workers.

  python benchmarks/devices.py --data_dir cifar10_data/ --out devices/

Runs all programs in turn, with a user's command line, for several rounds, and scores each last
checkpoint. The machine should be otherwise idle. Each update uses the mean gradient of 128
pictures, so precision should differ only by chance. All devices share the cores of one machine. So
this measures what each method costs, not what it gains on more hardware.
"""
import functools
import os
import re
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # finds cifar10

from absl import flags  # noqa: E402

import cifar10  # noqa: E402
from benchmarks import runs  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.common.programs import Failure  # noqa: E402
from cifar10_lib.training import checkpoints  # noqa: E402

FLAGS = flags.FLAGS
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PICTURES = 128  # in a step, over all devices
ALONE = 'one device'
PROGRAMS = {
    ALONE: ('cifar10_train.py', '--batch_size=128'),
    '2 towers of 64': ('cifar10_train_multi_gpu.py', '--num_gpus=2', '--tower_device=cpu',
                       '--batch_size=64'),
    '1 worker of 128, 1 server': ('cifar10_train_distributed.py', '--local=ps:1,worker:1',
                                  '--batch_size=128'),
    '2 workers of 64, 1 server': ('cifar10_train_distributed.py', '--local=ps:1,worker:2',
                                  '--batch_size=64'),
}


def define_flags():
  """Defines the flags of this program. An import does not, so that flags do not clash."""
  flags.DEFINE_string('out', 'devices', 'Directory for runs.')
  flags.DEFINE_string('results', None, 'File of results, one JSON line a run; by default '
                      'results.jsonl in --out. Runs that are there are not repeated.')
  flags.DEFINE_integer('rounds', 3, 'Number of runs of each program.', lower_bound=1)
  flags.DEFINE_integer('steps', 600, 'Number of steps in a run.', lower_bound=100)
  flags.DEFINE_enum('recipe', 'fast', sorted(cifar10.RECIPES), 'Recipe to train with.')
  flags.DEFINE_integer('warmup', 50, 'Steps before timing starts.', lower_bound=10)
  flags.adopt_module_key_flags(cifar10)


def rate(log, warmup):
  """Returns images/s from a trainer's first log line at or after `warmup` steps to its last."""
  at = runs.times(log)
  first, last = min(step for step in at if step >= warmup), max(at)
  return PICTURES * (last - first) / (at[last] - at[first])


def run(arguments, directory, options, scorer):
  """Runs one program and scores its last checkpoint.

  Returns:
    A dict of 'images/s' and 'precision'.

  Raises:
    Failure: the program failed.
  """
  command = [sys.executable, os.path.join(ROOT, arguments[0]), *arguments[1:],
             '--data_dir=' + options.data_dir, '--train_dir=' + directory,
             '--recipe=' + options.recipe, '--max_steps=%d' % options.steps,
             '--use_fp16=%s' % options.use_fp16]
  done = subprocess.run(command, capture_output=True, text=True)
  if done.returncode:
    raise Failure('%s failed: %s' % (' '.join(command), done.stderr.strip() or done.stdout))
  return {'images/s': rate(done.stdout, options.warmup),
          'precision': scorer.accuracy(checkpoints.find_latest(directory))}


def table(results):
  """Returns a Markdown table: medians and ranges, ratios to one device, and precisions."""
  lines = ['| | images/s | ratio to one device | precision @ 1, each run |',
           '| --- | --- | --- | --- |']
  alone = [result['images/s'] for result in results[ALONE]]
  for name, repeats in results.items():
    rates = [result['images/s'] for result in repeats]
    ratios = [mine / theirs for mine, theirs in zip(rates, alone, strict=True)]
    lines.append('| %s | %.0f (%.0f-%.0f) | %.2f (%.2f-%.2f) | %s |' % (
        name, statistics.median(rates), min(rates), max(rates),
        statistics.median(ratios), min(ratios), max(ratios),
        ', '.join('%.3f' % result['precision'] for result in repeats)))
  return '\n'.join(lines)


def main(argv):
  del argv
  cifar10.maybe_download_and_extract()
  scorer = runs.Scorer(data_dir=FLAGS.data_dir, views='1', eval_data='test')
  os.makedirs(FLAGS.out, exist_ok=True)
  path = FLAGS.results or os.path.join(FLAGS.out, 'results.jsonl')
  results = {}
  for number in range(FLAGS.rounds):
    for name, arguments in PROGRAMS.items():
      key = dict(program=name, recipe=FLAGS.recipe, steps=FLAGS.steps, use_fp16=FLAGS.use_fp16,
                 round=number + 1)
      directory = os.path.join(FLAGS.out, re.sub(r'\W+', '_', ' '.join(map(str, key.values()))))
      result = runs.stored_line(path, key,
                                functools.partial(run, arguments, directory, FLAGS, scorer))
      results.setdefault(name, []).append(result)
      print('round %d %-28s %6.0f images/s, precision %.3f' % (
          number + 1, name, result['images/s'], result['precision']), flush=True)
  print(table(results))


if __name__ == '__main__':
  define_flags()
  programs.run(main)
