"""Measures what each shortcut of this project saves of a training step, by leaving it out.

  python benchmarks/speed_parts.py --data_dir cifar10_data/ --out speed/

Trains with all shortcuts and without one, in turn, each in its own process, for several rounds. It
writes a line of JSON for each run to speed_parts.jsonl in --out, and prints a Markdown table of
medians and ranges, the largest saving first. The machine should be otherwise idle. The table of
docs/speed.md comes from the stored runs:

  python benchmarks/speed_parts.py --runs=benchmarks/results/speed_parts.jsonl
"""
import os
import statistics
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # finds cifar10

from absl import flags  # noqa: E402

import cifar10  # noqa: E402
from benchmarks import runs, speed  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.network import precision  # noqa: E402

FLAGS = flags.FLAGS
WHOLE = 'all shortcuts'
PROJECT = speed.PROGRAMS[0]
NO_ONEDNN = PROJECT._replace(environment={'TF_ENABLE_ONEDNN_OPTS': '0'})
NO_AVX512 = PROJECT._replace(environment={'ONEDNN_MAX_CPU_ISA': 'AVX2'})
# From what is left out to the program and its further arguments.
VARIANTS = {
    WHOLE: (PROJECT, []),
    'oneDNN': (NO_ONEDNN, []),
    'AVX-512 in oneDNN': (NO_AVX512, []),
    'gradients by Winograd\'s method': (PROJECT, ['--without', 'Winograd gradients']),
    'normalisation by convolution': (PROJECT, ['--without', 'normalisation']),
    'gradient of the pooled values': (PROJECT, ['--without', 'pooled gradient']),
    'two ops at once': (PROJECT, ['--without', 'two ops at once']),
}


def define_flags():
  """Defines the flags of this program. An import does not, so that flags do not clash."""
  flags.DEFINE_string('out', 'speed', 'Directory for the results.')
  flags.DEFINE_integer('rounds', 3, 'Number of runs of each variant.', lower_bound=1)
  flags.DEFINE_integer('warmup', 50, 'Steps before timing starts.', lower_bound=10)
  flags.DEFINE_integer('steps', 100, 'Number of timed steps.', lower_bound=10)
  flags.DEFINE_string('runs', None, 'File of stored runs to show, instead of measuring.')
  flags.adopt_module_key_flags(cifar10)


def measure_all(options, path):
  """Runs all variants in turn, round by round; adds a line of JSON for each run to a file."""
  dtypes = dict.fromkeys(['float32', precision.compute_dtype(True)])
  for number in range(options.rounds):
    for dtype in dtypes:
      for name, (program, more) in VARIANTS.items():
        if program == NO_AVX512 and dtype != 'float32':  # AVX2 has no instructions for 16 bits
          continue
        result = speed.measure(program._replace(dtype=dtype), 'training', options.data_dir,
                               options.warmup, options.steps, more=more)
        line = {'left out': name, 'dtype': dtype, 'round': number + 1,
                'ms a step': 128e3 / result['images/s'], 'peak MiB': result['peak MiB']}
        runs.add_line(path, line)
        print('round %d %-9s %-34s %6.1f ms' % (number + 1, dtype, name, line['ms a step']),
              flush=True)


def table(lines):
  """Returns the Markdown table of stored runs, the largest saving of each type first."""
  found = {}
  for line in lines:
    found.setdefault((line['dtype'], line['left out']), []).append(line['ms a step'])
  whole = {dtype: statistics.median(values) for (dtype, name), values in found.items()
           if name == WHOLE}
  rows = []
  for (dtype, name), values in found.items():
    middle = statistics.median(values)
    cell = '%.1f (%.1f-%.1f)' % (middle, min(values), max(values))
    rows.append((dtype, middle / whole[dtype], name, cell))
  rows.sort(key=lambda row: (row[0] != 'float32', -row[1]))
  return '\n'.join(['| left out | type | ms a step | by all |', '| --- ' * 4 + '|'] + [
      '| %s | %s | %s | %.2f |' % (name, dtype, cell, ratio) for dtype, ratio, name, cell in rows])


def main(argv):
  del argv
  path = FLAGS.runs
  if not path:
    cifar10.maybe_download_and_extract()
    os.makedirs(FLAGS.out, exist_ok=True)
    path = os.path.join(FLAGS.out, 'speed_parts.jsonl')
    measure_all(FLAGS, path)
  print(table(runs.read_stored(path)))


if __name__ == '__main__':
  define_flags()
  programs.run(main)
