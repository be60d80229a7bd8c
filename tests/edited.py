"""Runs all programs in edited copies of the project, for edits_test.py.

  python -m tests.edited PICTURE COPY=DATA_DIR...

Loading TensorFlow and matplotlib takes as long as the programs do. So they are loaded once, and
each copy runs in a fork of this process, two at a time. What it prints is in COPY/stdout and
COPY/stderr.
"""
import multiprocessing
import os
import sys
import traceback

import matplotlib.figure  # noqa: F401

from cifar10_lib.common.tf1 import tf


def run(copy, data_dir, picture):
  """Trains, evaluates, names a picture and exports in a copy; returns False if any of it fails."""
  for descriptor, name in (1, 'stdout'), (2, 'stderr'):
    with open(os.path.join(copy, name), 'w') as file:
      os.dup2(file.fileno(), descriptor)
  for name in [name for name in sys.modules if name.startswith('cifar10')]:
    del sys.modules[name]  # the copy's own are imported
  sys.path.insert(0, copy)
  os.chdir(copy)
  try:
    programs(data_dir, picture)
  except (Exception, SystemExit):
    traceback.print_exc()
    return False
  finally:
    sys.stdout.flush()
  return True


def programs(data_dir, picture, work='work'):
  import cifar10_eval
  import cifar10_predict
  import cifar10_train
  assert os.path.samefile(os.path.dirname(cifar10_train.__file__), '.')
  flags = cifar10_train.FLAGS
  flags(['program', '--data_dir=' + data_dir, '--train_dir=' + work, '--checkpoint_dir=' + work,
         '--eval_dir=' + work + '/eval', '--batch_size=8', '--max_steps=2', '--run_once',
         '--summary_steps=1'])
  assert cifar10_train.train(flags) == 0
  cifar10_eval.evaluate(flags)
  assert not cifar10_predict.main(['program', picture])
  flags.export = work + '/model'
  assert not cifar10_predict.main(['program'])
  checkpoint = tf.train.latest_checkpoint(work)
  if 'batch_norm/mean' in [name for name, _ in tf.train.list_variables(checkpoint)]:
    assert tf.train.load_variable(checkpoint, 'batch_norm/mean').any()


def main(picture, *copies):
  tf.train  # noqa: B018 (loads TensorFlow; it starts no threads before its first session)
  with multiprocessing.get_context('fork').Pool(2, maxtasksperchild=1) as pool:
    done = pool.starmap(run, [(*copy.split('='), picture) for copy in copies], chunksize=1)
  return 0 if all(done) else 1


if __name__ == '__main__':
  sys.exit(main(*sys.argv[1:]))
