"""This project, by its own programs as a user runs them: summaries and checkpoints on."""
import contextlib
import io
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import measure

import cifar10
from cifar10_lib.common import programs
import cifar10_eval
import cifar10_input
import cifar10_train
from benchmarks import runs
from cifar10_lib.common.tf1 import tf

LOG_STEPS = 10  # steps a log line, the trainer's default


def training(args):
  """Trains by `cifar10_train.train`; rates are between log lines, so steps count in tens."""
  begin_step = max(1, args.warmup // LOG_STEPS * LOG_STEPS)
  last = begin_step // LOG_STEPS * LOG_STEPS + max(1, args.steps // LOG_STEPS) * LOG_STEPS
  programs.parse_flags([
      'cifar10_train.py', '--data_dir=' + args.data_dir, '--train_dir=' + measure.scratch(),
      '--max_steps=%d' % last, '--batch_size=%d' % args.batch_size,
      '--use_fp16=%s' % (args.dtype != 'float32')])
  log, begin = io.StringIO(), time.time()
  with contextlib.redirect_stdout(log):
    cifar10_train.train(cifar10_train.FLAGS)
  at = runs.times(log.getvalue())
  seconds = (at[last] - at[begin_step]) / (last - begin_step)
  return {'first step s': at[1] - begin, 'images/s': args.batch_size / seconds,
          'ms by step': {step: (at[step] - at[1]) / (step - 1) * 1e3 for step in at if step > 1}}


def input_alone(args):
  """Makes batches with the tutorial's distortions, and drops them."""
  begin = time.perf_counter()
  images, _ = cifar10_input.distorted_inputs(args.data_dir, args.batch_size)
  creator = tf.train.ChiefSessionCreator(config=cifar10.session_config())
  with tf.train.MonitoredSession(creator) as session:
    return measure.timed(lambda: session.run(images.op), begin, args.warmup, args.steps,
                         args.batch_size)


def evaluation(args):
  """Scores a checkpoint of step 1 on the test file, by `cifar10_eval.Evaluation`.

  The first step's time is that of a whole score with its graph; images/s are the second score's.
  """
  train_dir = measure.scratch()
  programs.parse_flags(['cifar10_train.py', '--data_dir=' + args.data_dir,
                           '--train_dir=' + train_dir, '--max_steps=1'])
  with contextlib.redirect_stdout(io.StringIO()):
    cifar10_train.train(cifar10_train.FLAGS)
  checkpoint = os.path.join(train_dir, 'model.ckpt-1')
  begin = time.perf_counter()
  evaluator = cifar10_eval.Evaluation(cifar10_eval.FLAGS)
  evaluator.scores(checkpoint)
  once = time.perf_counter()
  evaluator.scores(checkpoint)
  seconds = time.perf_counter() - once
  return {'first step s': once - begin, 'images/s': evaluator.num_examples / seconds}


def main():
  args = measure.arguments()
  measure.report({'training': training, 'input': input_alone, 'evaluation': evaluation}[args.part](
      args))


if __name__ == '__main__':
  main()
