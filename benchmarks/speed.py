"""How fast this project trains, reads and scores, beside what one would run instead.

  python benchmarks/speed.py --data_dir cifar10_data/ --out speed/

Runs each program in turn, several rounds, each in a process of its own on an otherwise idle
machine, and prints a table of medians with their spread, then ratios. Machines differ and drift, so
only the ratios mean something elsewhere. Programs whose libraries are not installed are left out.
"""
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from typing import NamedTuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # the rooms

from absl import flags  # noqa: E402

import cifar10  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from benchmarks import chart  # noqa: E402
from cifar10_lib.common.programs import Failure  # noqa: E402

FLAGS = flags.FLAGS
PEERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'peers')
PARTS = ('training', 'input', 'evaluation')
COLUMNS = [('training', 'images/s'), ('input', 'images/s'), ('evaluation', 'images/s'),
           ('training', 'first step s'), ('training', 'peak MiB')]


def define_flags():
  """Defines the flags of this program; where it is only imported, they might clash with others'."""
  flags.DEFINE_string('out', 'speed', 'Directory of results and the chart.')
  flags.DEFINE_integer('rounds', 3, 'Times that each program runs.', lower_bound=1)
  flags.DEFINE_integer('warmup', 50, 'Steps that are not timed.', lower_bound=10)
  flags.DEFINE_integer('steps', 250, 'Steps that are.', lower_bound=10)
  flags.DEFINE_string('torch_python', sys.executable, 'The Python that has PyTorch.')
  flags.adopt_module_key_flags(cifar10)


class Program(NamedTuple):
  """One row of the table."""
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
  """Returns the Python that runs a program."""
  return torch_python if program.library == 'torch' else sys.executable


def installed(program, torch_python):
  """Returns whether a program's library is there.

  Raises:
    Failure: there is no such Python.
  """
  found = 'import importlib.util, sys; sys.exit(importlib.util.find_spec(%r) is None)'
  python = python_of(program, torch_python)
  if not shutil.which(python):
    raise Failure('%s: no such program. --torch_python takes the Python that has PyTorch.' % python)
  return not subprocess.call([python, '-c', found % program.library])


def measure(program, part, data_dir, warmup, steps, torch_python=sys.executable, more=()):
  """Runs one part of a program in a process of its own.

  Args:
    program: a Program.
    part: one of PARTS.
    data_dir: of the data set.
    warmup, steps: not timed, and timed.
    torch_python: the Python that has PyTorch.
    more: further arguments.

  Returns:
    The dict that it printed.

  Raises:
    Failure: it failed.
  """
  command = [python_of(program, torch_python), os.path.join(PEERS, program.script), part,
             '--data_dir', data_dir, '--warmup', str(warmup), '--steps', str(steps),
             '--dtype', program.dtype, *more]
  environment = dict(os.environ, **program.environment)
  if not program.environment:
    environment.pop('TF_ENABLE_ONEDNN_OPTS', None)  # which our own rooms set when imported
  done = subprocess.run(command, env=environment, capture_output=True, text=True)
  if done.returncode or not done.stdout.strip():
    why = (done.stderr.strip().splitlines() or ['no output'])[-1]
    raise Failure('%s failed: %s. Run it by itself to see more: %s'
                  % (program.name, why, ' '.join(command)))
  return json.loads(done.stdout.strip().splitlines()[-1])


def measure_all(programs, options):
  """Runs all programs in turn, round by round.

  Returns:
    A dict of (name, part) to a list of dicts, one a round.
  """
  results = {}
  for number in range(options.rounds):
    for part in PARTS:
      for program in programs:
        if part in program.parts:
          result = measure(program, part, options.data_dir, options.warmup, options.steps,
                           options.torch_python)
          results.setdefault((program.name, part), []).append(result)
          print('round %d %-10s %-38s %8.0f images/s' % (number + 1, part, program.name,
                                                         result['images/s']), flush=True)
  return results


def values(results, name, part, what):
  """Returns one number of each round; none, where the program has no such part."""
  return [each[what] for each in results.get((name, part), [])]


def cell(numbers):
  """Returns median and range, as in '1,234 (1,200-1,250)'."""
  if not numbers:
    return '-'
  form = '{:,.0f}' if min(numbers) >= 20 else '{:.1f}'
  return '{} ({}-{})'.format(*(form.format(number) for number in (
      statistics.median(numbers), min(numbers), max(numbers))))


def table(results, programs):
  """Returns medians and ranges as a Markdown table."""
  lines = ['| | ' + ' | '.join('%s: %s' % column for column in COLUMNS) + ' |',
           '| --- ' * (len(COLUMNS) + 1) + '|']
  for program in programs:
    cells = [cell(values(results, program.name, *column)) for column in COLUMNS]
    lines.append('| %s | %s |' % (program.name, ' | '.join(cells)))
  return '\n'.join(lines)


def ratios(results, programs):
  """Returns lines: each of this project's medians divided by each peer's."""
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
  """Draws training, input and evaluation as bars, with the range of the rounds, into a PNG file."""
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
  """Returns the programs whose libraries are there; says which are left out."""
  there = []
  for program in programs:
    if installed(program, torch_python):
      there.append(program)
    else:
      print('%s is left out: no %s here.' % (program.name, program.library))
  return there


def main(argv):
  del argv
  cifar10.maybe_download_and_extract()
  os.makedirs(FLAGS.out, exist_ok=True)
  sixteen_bits = SIXTEEN_BITS if cifar10.compute_dtype(True) != 'float32' else []
  programs = present(PROGRAMS + sixteen_bits, FLAGS.torch_python)
  limits = [measure(LIMIT, 'training', FLAGS.data_dir, 0, 1)]
  results = measure_all(programs, FLAGS)
  limits.append(measure(LIMIT, 'training', FLAGS.data_dir, 0, 1))
  with open(os.path.join(FLAGS.out, 'speed.json'), 'w') as file:
    json.dump([[*key, numbers] for key, numbers in results.items()], file)
  print('\n%d cores, %s, Python %s' % (os.cpu_count(), platform.machine(),
                                       platform.python_version()))
  print('Products of matrices: %.0f to %.0f GFLOP/s, %.0f images/s of training if plain sums were '
        'all of it; memory: %.1f GB/s.\n' % (
            min(each['GFLOP/s'] for each in limits), max(each['GFLOP/s'] for each in limits),
            max(each['images/s'] for each in limits), max(each['GB/s'] for each in limits)))
  print(table(results, programs))
  print('\nThis project by each of the others:\n' + ratios(results, programs))
  path = os.path.join(FLAGS.out, 'speed.png')
  draw(results, programs, path)
  print('Bars: %s' % path)


if __name__ == '__main__':
  define_flags()
  programs.run(main)
