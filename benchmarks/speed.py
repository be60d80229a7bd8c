"""Measures how fast this project trains, reads and scores, and compares it with other programs.

  python benchmarks/speed.py --data_dir cifar10_data/ --out speed/

Runs the programs in turn for several rounds, each in its own process. It prints a table of medians
and ranges, then ratios, and writes a line of JSON for each run to speed.jsonl in --out. The machine
should be otherwise idle. Machines differ and drift, so only the ratios carry over to another
machine. Programs whose libraries are not installed are skipped. The table and the picture of
docs/speed.md come from the stored runs:

  python benchmarks/speed.py --runs=benchmarks/results/speed.jsonl --out=docs
"""
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from typing import NamedTuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # finds cifar10

from absl import flags  # noqa: E402

import cifar10  # noqa: E402
from benchmarks import chart, runs  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.common.programs import Failure  # noqa: E402
from cifar10_lib.network import precision  # noqa: E402

FLAGS = flags.FLAGS
PEERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'peers')
PARTS = ('training', 'input', 'evaluation')
COLUMNS = [('training', 'images/s'), ('input', 'images/s'), ('evaluation', 'images/s'),
           ('training', 'first step s'), ('training', 'peak MiB')]
SHARE = "input: share of a step's processor time"


def define_flags():
  """Defines the flags of this program. An import does not, so that flags do not clash."""
  flags.DEFINE_string('out', 'speed', 'Directory for the results and the chart.')
  flags.DEFINE_integer('rounds', 3, 'Number of runs of each program.', lower_bound=1)
  flags.DEFINE_integer('warmup', 50, 'Steps before timing starts.', lower_bound=10)
  flags.DEFINE_integer('steps', 250, 'Number of timed steps.', lower_bound=10)
  flags.DEFINE_string('runs', None, 'File of stored runs to show, instead of measuring.')
  flags.DEFINE_string('torch_python', sys.executable, 'The Python interpreter that has PyTorch.')
  flags.adopt_module_key_flags(cifar10)


class Program(NamedTuple):
  """One program to measure: a row of the table."""
  name: str
  script: str
  dtype: str = 'float32'
  environment: dict = {}
  parts: tuple = PARTS
  library: str = 'tensorflow'


PROJECT = 'this project'
TUTORIAL = "the tutorial's structure"
PROGRAMS = [
    Program(PROJECT, 'project.py'),
    Program(TUTORIAL, 'tutorial.py'),
    Program(TUTORIAL + ', oneDNN on', 'tutorial.py', environment={'TF_ENABLE_ONEDNN_OPTS': '1'}),
    Program('Keras fit', 'keras_fit.py', library='keras'),
    Program('Keras fit, oneDNN on', 'keras_fit.py', library='keras',
            environment={'TF_ENABLE_ONEDNN_OPTS': '1'}),
    Program('PyTorch', 'torch_loop.py', library='torch'),
]
SIXTEEN_BITS = [
    Program(PROJECT + ', --use_fp16', 'project.py', 'bfloat16', parts=('training',)),
    Program('PyTorch, bfloat16', 'torch_loop.py', 'bfloat16', parts=('training',),
            library='torch'),
]
LIMIT = Program("the machine's products", 'limit.py', parts=('training',))


def python_of(program, torch_python):
  """Returns the path of the Python interpreter that runs a program."""
  return torch_python if program.library == 'torch' else sys.executable


def installed(program, torch_python):
  """Returns whether a program's library is installed.

  Raises:
    Failure: the Python interpreter does not exist.
  """
  found = 'import importlib.util, sys; sys.exit(importlib.util.find_spec(%r) is None)'
  python = python_of(program, torch_python)
  if not shutil.which(python):
    raise Failure('%s: no such program. --torch_python takes the Python that has PyTorch.' % python)
  return not subprocess.call([python, '-c', found % program.library])


def measure(program, part, data_dir, warmup, steps, torch_python=sys.executable, more=()):
  """Runs one part of a program in its own process.

  Args:
    program: a Program.
    part: one of PARTS.
    data_dir: directory of the data set.
    warmup, steps: numbers of steps before timing starts, and of timed steps.
    torch_python: the Python interpreter that has PyTorch.
    more: further command-line arguments.

  Returns:
    The dict of measurements that the process printed.

  Raises:
    Failure: the process failed.
  """
  command = [python_of(program, torch_python), os.path.join(PEERS, program.script), part,
             '--data_dir', data_dir, '--warmup', str(warmup), '--steps', str(steps),
             '--dtype', program.dtype, *more]
  environment = dict(os.environ, **program.environment)
  if 'TF_ENABLE_ONEDNN_OPTS' not in program.environment:
    environment.pop('TF_ENABLE_ONEDNN_OPTS', None)  # our own modules set it on import
  done = subprocess.run(command, env=environment, capture_output=True, text=True)
  if done.returncode or not done.stdout.strip():
    why = (done.stderr.strip().splitlines() or ['no output'])[-1]
    raise Failure('%s failed: %s. Run it by itself to see more: %s'
                  % (program.name, why, ' '.join(command)))
  return json.loads(done.stdout.strip().splitlines()[-1])


def measure_all(programs, options, path):
  """Runs all programs in turn, round by round.

  Args:
    programs: list of Program.
    options: the flags.
    path: file that gets a line of JSON for each run.

  Returns:
    As `read` does.
  """
  for number in range(options.rounds):
    for part in PARTS:
      for program in programs:
        if part in program.parts:
          result = measure(program, part, options.data_dir, options.warmup, options.steps,
                           options.torch_python)
          runs.add_line(
              path, {'program': program.name, 'part': part, 'round': number + 1, **result})
          print('round %d %-10s %-38s %8.0f images/s' % (number + 1, part, program.name,
                                                         result['images/s']), flush=True)
  return read(path)


def read(path):
  """Returns stored runs: a dict from (name, part) to a list of dicts, one for each round."""
  results = {}
  for line in runs.read_stored(path):
    results.setdefault((line['program'], line['part']), []).append(line)
  return results


def values(results, name, part, what):
  """Returns the number of each round that has it; an empty list if the program lacks the part."""
  return [result[what] for result in results.get((name, part), []) if what in result]


def cell(numbers):
  """Returns median and range as text, for example '1,234 (1,200-1,250)'."""
  if not numbers:
    return '-'
  form = '{:,.0f}' if min(numbers) >= 20 else '{:.1f}'
  return '{} ({}-{})'.format(*(form.format(number) for number in (
      statistics.median(numbers), min(numbers), max(numbers))))


def table(results, programs):
  """Returns medians and ranges as a Markdown table."""
  lines = ['| | ' + ' | '.join(['%s: %s' % column for column in COLUMNS] + [SHARE]) + ' |',
           '| --- ' * (len(COLUMNS) + 2) + '|']
  for program in programs:
    cells = [cell(values(results, program.name, *column)) for column in COLUMNS]
    lines.append('| %s | %s | %s |' % (program.name, ' | '.join(cells),
                                       input_share(results, program.name)))
  return '\n'.join(lines)


def input_share(results, name):
  """Returns the processor time of the input by that of training, for a picture, as text."""
  of_input, of_training = (values(results, name, part, 'processor ms')
                           for part in ('input', 'training'))
  if not of_input or not of_training:
    return '-'
  return f'{statistics.median(of_input) / statistics.median(of_training):.1%}'


def ratios(results, programs):
  """Returns lines of text: this project's medians divided by those of each peer."""
  lines = []
  for program in programs:
    if program.script == 'project.py':
      continue
    ours = PROJECT if program.dtype == 'float32' else SIXTEEN_BITS[0].name
    for part, what in COLUMNS:
      mine, theirs = values(results, ours, part, what), values(results, program.name, part, what)
      if mine and theirs:
        lines.append('%-38s %-10s %-12s %.2f' % (
            program.name, part, what, statistics.median(mine) / statistics.median(theirs)))
  return '\n'.join(lines)


def draw(results, programs, path):
  """Draws the speed of each part as bars, with the range of the rounds, into a PNG file."""
  with chart.panels(path, len(PARTS), size=(13, 3.6)) as axes:
    for panel, part in zip(axes, PARTS, strict=True):
      shown = [program for program in programs if (program.name, part) in results][::-1]
      for place, program in enumerate(shown):
        numbers = values(results, program.name, part, 'images/s')
        middle = statistics.median(numbers)
        panel.barh(place, middle, color='#3572b0' if program.script == 'project.py' else '#b8b8b8',
                   xerr=[[middle - min(numbers)], [max(numbers) - middle]])
        panel.text(middle, place, f' {middle:,.0f}', va='bottom', fontsize=8)
      panel.set(yticks=range(len(shown)), yticklabels=[program.name for program in shown],
                title=part, xlabel='images/s')
      panel.set_xlim(right=1.25 * panel.get_xlim()[1])  # room for the numbers
      panel.tick_params(labelsize=8)


def present(programs, torch_python):
  """Returns the programs whose libraries are installed, and prints which it skips."""
  there = []
  for program in programs:
    if installed(program, torch_python):
      there.append(program)
    else:
      print('%s is left out: no %s here.' % (program.name, program.library))
  return there


def measured():
  """Measures the programs that are installed; returns what `read` does."""
  cifar10.maybe_download_and_extract()
  sixteen_bits = SIXTEEN_BITS if precision.compute_dtype(True) != 'float32' else []
  programs = present(PROGRAMS + sixteen_bits, FLAGS.torch_python)
  limits = [measure(LIMIT, 'training', FLAGS.data_dir, 0, 1)]
  results = measure_all(programs, FLAGS, os.path.join(FLAGS.out, 'speed.jsonl'))
  limits.append(measure(LIMIT, 'training', FLAGS.data_dir, 0, 1))
  print('\n%d cores, %s, Python %s' % (os.cpu_count(), platform.machine(),
                                       platform.python_version()))
  print('Products of matrices: %.0f to %.0f GFLOP/s, %.0f images/s of training if plain sums were '
        'all of it; memory: %.1f GB/s.\n' % (
            min(limit['GFLOP/s'] for limit in limits), max(limit['GFLOP/s'] for limit in limits),
            max(limit['images/s'] for limit in limits), max(limit['GB/s'] for limit in limits)))
  return results


def main(argv):
  del argv
  os.makedirs(FLAGS.out, exist_ok=True)
  results = read(FLAGS.runs) if FLAGS.runs else measured()
  names = {name for name, _ in results}
  programs = [program for program in PROGRAMS + SIXTEEN_BITS if program.name in names]
  print(table(results, programs))
  print('\nThis project by each of the others:\n' + ratios(results, programs))
  path = os.path.join(FLAGS.out, 'speed.png')
  draw(results, programs, path)
  print('Bars: %s' % path)


if __name__ == '__main__':
  define_flags()
  programs.run(main)
