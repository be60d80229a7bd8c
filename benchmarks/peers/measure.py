"""Parses the flags of a measured program, times its steps, and prints one line of JSON.

Each program runs in its own process, as `python benchmarks/peers/NAME.py PART --data_dir DIR`. PART
is `training`, `input` (makes batches and discards them) or `evaluation` (of the test file). Time
starts after the imports.
"""
import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time

BATCH_SIZE = 128  # pictures in a batch
PARTS = ('training', 'input', 'evaluation')
_scratch = []  # directories that `report` removes


def arguments():
  """Returns the parsed command line: part, data_dir, warmup, steps, dtype, batch_size, without."""
  parser = argparse.ArgumentParser()
  parser.add_argument('part', choices=PARTS)
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--warmup', type=int, default=50, help='steps before timing starts')
  parser.add_argument('--steps', type=int, default=250, help='number of timed steps')
  parser.add_argument('--dtype', default='float32', choices=['float32', 'bfloat16'])
  parser.add_argument('--batch_size', type=int, default=BATCH_SIZE,
                      help='pictures in a batch; only project.py uses it')
  parser.add_argument('--without', default='',
                      help='shortcuts to leave out, separated by commas; only project.py uses it')
  return parser.parse_args()


def scratch():
  """Returns a new directory, which `report` removes."""
  _scratch.append(tempfile.mkdtemp())
  return _scratch[-1]


def timed(step, begin, warmup, steps, batch_size=BATCH_SIZE):
  """Times a function that takes one step.

  Args:
    step: function without arguments.
    begin: `time.perf_counter()` after the imports.
    warmup, steps: numbers of calls before timing starts, and of timed calls.
    batch_size: pictures in a step.

  Returns:
    A dict of 'first step s', seconds from `begin` to the end of the first step, 'images/s', and
    'processor ms': milliseconds of all processors for one picture.
  """
  step()
  first = time.perf_counter() - begin
  for _ in range(warmup):
    step()
  since, processor = time.perf_counter(), time.process_time()
  for _ in range(steps):
    step()
  pictures = steps * batch_size
  return {'first step s': first, 'images/s': pictures / (time.perf_counter() - since),
          'processor ms': 1e3 * (time.process_time() - processor) / pictures}


def report(result):
  """Prints the result with the peak memory of the process, and ends the process.

  It ends at once, without stopping the threads that fill queues.

  Args:
    result: a dict of measurements.
  """
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; bytes on macOS
  result['peak MiB'] = peak / (2**20 if sys.platform == 'darwin' else 2**10)
  for directory in _scratch:
    shutil.rmtree(directory, ignore_errors=True)
  print(json.dumps(result), flush=True)
  os._exit(0)
