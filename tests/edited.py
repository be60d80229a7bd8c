"""Runs all programs in edited copies of the project, for edits_test.py.

  python -m tests.edited PICTURE COPY=DATA_DIR...

Loading TensorFlow and matplotlib takes as long as the programs do. So they are loaded once, and
each copy runs in a fork of this process, two at a time. Each copy's output is in COPY/stdout and
COPY/stderr. This program prints the exit code of each.
"""
import multiprocessing
import os
import sys

import matplotlib.figure  # noqa: F401

from cifar10_lib.common.tf1 import tf

SECONDS = 100  # for two copies


def run(copy, data_dir, picture):
  """Trains, evaluates, names a picture and exports in a copy."""
  for descriptor, name in (1, 'stdout'), (2, 'stderr'):
    with open(os.path.join(copy, name), 'w') as file:
      os.dup2(file.fileno(), descriptor)
  for name in [name for name in sys.modules if name.startswith('cifar10')]:
    del sys.modules[name]  # so that the copy's modules are imported
  sys.path[0] = copy
  os.chdir(copy)
  programs(data_dir, picture)


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
  tf.train  # noqa: B018 (loads TensorFlow, which starts its threads with the first session)
  fork = multiprocessing.get_context('fork')
  for start in range(0, len(copies), 2):
    pair = [copy.split('=') for copy in copies[start:start + 2]]
    processes = [fork.Process(target=run, args=(*each, picture)) for each in pair]
    for process in processes:
      process.start()
    for (copy, _), process in zip(pair, processes, strict=True):
      process.join(SECONDS)
      process.kill()  # which does nothing to a process that has ended
      process.join()
      print(copy, process.exitcode, flush=True)


if __name__ == '__main__':
  main(*sys.argv[1:])
