"""Trains, evaluates and goes on with file systems that are too small, in steps of a size.

  python benchmarks/full_disk.py --data_dir cifar10_data/ --sizes=60

prints one JSON line: sizes, how many ended well, how many in one line, and faults, each described
on standard error. It needs Linux, and the right to mount a tmpfs in a namespace of its own
(`unshare --map-root-user --mount`).
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAX_KILOBYTES = 40000  # a run of 4 steps that saves twice takes 20 MB
# Trains on the small file system; then makes room, and starts the same command again.
SCRIPT = '''
mount -t tmpfs -o size=%dk tmpfs . && cd "$PWD" && "$@"; code=$?
find . -name '*tempstate*'; echo "first $code"
mount -o remount,size=100000k . && "$@" >/dev/null; echo "second $?"
'''


def one_size(data_dir, kilobytes):
  """Returns 'done' or 'refused', or raises AssertionError."""
  with tempfile.TemporaryDirectory(prefix='disk-') as directory:
    done = subprocess.run(
        ['unshare', '--map-root-user', '--mount', 'bash', '-c', SCRIPT % kilobytes, 'bash',
         sys.executable, os.path.join(ROOT, 'cifar10_train.py'), '--data_dir=' + data_dir,
         '--train_dir=train', '--batch_size=16', '--max_steps=4', '--save_checkpoint_steps=2'],
        cwd=directory, capture_output=True, text=True, timeout=120, check=False)
  assert 'tempstate' not in done.stdout, done.stdout
  assert 'second 0' in done.stdout, done.stdout + done.stderr
  if 'first 0' in done.stdout:
    assert not done.stderr, done.stderr
    return 'done'
  assert 'first 1' in done.stdout, done.stdout
  assert re.fullmatch('Error: [^\n]*no space left on device[^\n]*\n', done.stderr), done.stderr
  return 'refused'


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--sizes', type=int, default=60, help='number of sizes from 16 KB to 40 MB')
  options = parser.parse_args()
  counts = {'done': 0, 'refused': 0, 'faults': 0}
  for number in range(options.sizes):
    kilobytes = 16 + number * MAX_KILOBYTES // options.sizes
    try:
      counts[one_size(os.path.abspath(options.data_dir), kilobytes)] += 1
    except (AssertionError, subprocess.TimeoutExpired) as error:
      counts['faults'] += 1
      print('%d KB: %s' % (kilobytes, error), file=sys.stderr)
  print(json.dumps({'row': 'full disk', 'sizes': options.sizes, **counts}), flush=True)
  return 1 if counts['faults'] else 0


if __name__ == '__main__':
  sys.exit(main())
