"""What every measured program does: parse its flags, time its steps, print one line of JSON.

A peer runs in a process of its own, as `python benchmarks/peers/NAME.py PART --data_dir DIR`, where
PART is `training`, `input` (batches are made and dropped) or `evaluation` (of the test file). Time
begins once libraries are imported.
"""
import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time

BATCH_SIZE = 128  # pictures
PARTS = ('training', 'input', 'evaluation')
_scratch = []  # directories to remove


def arguments():
  """Returns the parsed command line: part, data_dir, warmup, steps, dtype, batch_size."""
  parser = argparse.ArgumentParser()
  parser.add_argument('part', choices=PARTS)
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--warmup', type=int, default=50, help='steps that are not timed')
  parser.add_argument('--steps', type=int, default=250, help='steps that are')
  parser.add_argument('--dtype', default='float32', choices=['float32', 'bfloat16'])
  parser.add_argument('--batch_size', type=int, default=BATCH_SIZE, help='of this project only')
  return parser.parse_args()


def scratch():
  """Returns a new directory, which `report` removes."""
  _scratch.append(tempfile.mkdtemp())
  return _scratch[-1]


def timed(step, begin, warmup, steps, batch_size=BATCH_SIZE):
  """Times a function that takes one step.

  Args:
    step: function without arguments.
    begin: `time.perf_counter()` once libraries were imported.
    warmup, steps: calls that are not timed, and that are.
    batch_size: pictures a step.

  Returns:
    A dict: seconds until the first step was done, and images/s.
  """
  step()
  first = time.perf_counter() - begin
  for _ in range(warmup):
    step()
  since = time.perf_counter()
  for _ in range(steps):
    step()
  return {'first step s': first, 'images/s': steps * batch_size / (time.perf_counter() - since)}


def report(result):
  """Prints the result, with the largest memory that the process had, and ends the process.

  At once: threads that fill queues need not be stopped one by one.
  """
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; bytes on macOS
  result['peak MiB'] = peak / (2**20 if sys.platform == 'darwin' else 2**10)
  for directory in _scratch:
    shutil.rmtree(directory, ignore_errors=True)
  print(json.dumps(result), flush=True)
  os._exit(0)
