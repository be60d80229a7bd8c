"""Measures the cost of a step as the step count, the data and the batch size grow.

  python benchmarks/growth.py --data_dir cifar10_data/ --out growth/

Trains with this project's trainer, each time in its own process, and prints three Markdown tables.
The machine should be otherwise idle. The enlarged data repeats the training files ten times. The
program writes it to --out (1.5 GB) and removes it at the end.
"""
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # finds cifar10

from absl import flags  # noqa: E402

import cifar10  # noqa: E402
from benchmarks import speed  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.dataset import records  # noqa: E402

FLAGS = flags.FLAGS
BATCH_SIZES = (32, 64, 128, 256, 512, 1024)
TIMES = 10  # factor by which the data grows
PARTS_OF_LONG = 10  # rows of the long run's table


def define_flags():
  """Defines the flags of this program. An import does not, so that flags do not clash."""
  flags.DEFINE_string('out', 'growth', 'Directory for the enlarged data.')
  flags.DEFINE_integer('long_steps', 10000, 'Number of steps in the long run.', lower_bound=100)
  flags.DEFINE_integer('short_steps', 200, 'Number of steps in every other run.', lower_bound=20)
  flags.adopt_module_key_flags(cifar10)


def enlarge(data_dir, target):
  """Writes the training files TIMES times and the test file once; returns the directory."""
  os.makedirs(os.path.join(target, records.DIRECTORY), exist_ok=True)
  for kind, times in (False, TIMES), (True, 1):
    for source, path in zip(records.data_files(data_dir, kind),
                            records.data_files(target, kind), strict=True):
      with open(path, 'wb') as file:
        for _ in range(times):
          with open(source, 'rb') as part:
            shutil.copyfileobj(part, file)
  return target


def train(data_dir, steps, warmup, *more):
  """Trains in its own process; returns the dict of measurements that it printed."""
  return speed.measure(speed.PROGRAMS[0], 'training', data_dir, warmup, steps, more=more)


def between(result, begin, end):
  """Returns the milliseconds a step between two steps that the log contains."""
  def total(step):  # milliseconds since the first step
    return result['ms by step'][str(step)] * (step - 1) if step > 1 else 0.0
  return (total(end) - total(begin)) / (end - begin)


def over_steps(result, steps):
  """Returns the Markdown table of the long run."""
  part = steps // PARTS_OF_LONG // 10 * 10
  lines = ['| steps | ms a step |', '| --- | --- |']
  for end in range(part, PARTS_OF_LONG * part + 1, part):
    begin = max(1, end - part)
    lines.append('| %d to %d | %.1f |' % (begin, end, between(result, begin, end)))
  return '\n'.join(lines + ['', 'Peak memory %.0f MiB.' % result['peak MiB']])


def row(name, result, batch_size):
  """Returns a table row: ms a step, us a picture, seconds to the first step, peak MiB."""
  picture = 1e6 / result['images/s']
  return '| %s | %.1f | %.0f | %.1f | %.0f |' % (
      name, picture * batch_size / 1e3, picture, result['first step s'], result['peak MiB'])


def head(what):
  """Returns the two head lines of a table of rows."""
  return '| %s | ms a step | us a picture | first step s | peak MiB |\n%s|' % (what, '| --- ' * 5)


def main(argv):
  del argv
  cifar10.maybe_download_and_extract()
  short = FLAGS.short_steps
  print(head('batch size'), flush=True)
  for size in BATCH_SIZES:
    result = train(FLAGS.data_dir, short, 20, '--batch_size', str(size))
    print(row(str(size), result, size), flush=True)
  large = os.path.join(FLAGS.out, 'large')
  try:
    enlarge(FLAGS.data_dir, large)
    print('\n' + head('data'), flush=True)
    for name, data_dir in ('as it is', FLAGS.data_dir), ('%d times' % TIMES, large):
      print(row(name, train(data_dir, short, 20), cifar10.BATCH_SIZE), flush=True)
  finally:
    shutil.rmtree(large, ignore_errors=True)
  result = train(FLAGS.data_dir, FLAGS.long_steps, 0)
  print('\n' + over_steps(result, FLAGS.long_steps))


if __name__ == '__main__':
  define_flags()
  programs.run(main)
