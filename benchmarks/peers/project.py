"""Measures this project, by the programs that a user runs, with summaries and checkpoints."""
import contextlib
import io
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import measure

import cifar10_eval
import cifar10_input
import cifar10_train
from benchmarks import runs
from cifar10_lib.common import programs
from cifar10_lib.common.tf1 import tf
from cifar10_lib.network import layers, precision, winograd

LOG_STEPS = 10  # steps from one log line to the next, the trainer's default
_session_config = precision.session_config  # as it is before `WITHOUT` replaces it


def _plain_max_pool(x, name):
  return tf.nn.max_pool2d(x, ksize=3, strides=2, padding='SAME', name=name)


def _one_op_at_once(*args):
  config = _session_config(*args)
  config.inter_op_parallelism_threads = 1
  return config


# From the name of a shortcut to what takes its place: (module, function, plain function).
WITHOUT = {
    'Winograd gradients': (winograd, 'applies', lambda x, weights: False),
    'pooled gradient': (layers, 'max_pool', _plain_max_pool),
    'normalisation': (layers, 'lrn', tf.nn.lrn),
    'two ops at once': (precision, 'session_config', _one_op_at_once),
}


class Log(io.StringIO):
  """What a trainer prints, and the processor seconds of the process at each step's line."""

  def __init__(self):
    super().__init__()
    self.processor = {}

  def write(self, text):
    self.processor.update(dict.fromkeys(runs.times(text), time.process_time()))
    return super().write(text)


def training(args):
  """Trains with `cifar10_train.train`; rounds steps down to tens, because it times log lines."""
  begin_step = max(1, args.warmup // LOG_STEPS * LOG_STEPS)
  last = begin_step // LOG_STEPS * LOG_STEPS + max(1, args.steps // LOG_STEPS) * LOG_STEPS
  programs.parse_flags([
      'cifar10_train.py', '--data_dir=' + args.data_dir, '--train_dir=' + measure.scratch(),
      '--max_steps=%d' % last, '--batch_size=%d' % args.batch_size,
      '--use_fp16=%s' % (args.dtype != 'float32')])
  for name in filter(None, args.without.split(',')):
    setattr(*WITHOUT[name])
  log, begin = Log(), time.time()
  with contextlib.redirect_stdout(log):
    cifar10_train.train(cifar10_train.FLAGS)
  at = runs.times(log.getvalue())
  seconds = (at[last] - at[begin_step]) / (last - begin_step)
  processor = (log.processor[last] - log.processor[begin_step]) / (last - begin_step)
  return {'first step s': at[1] - begin, 'images/s': args.batch_size / seconds,
          'processor ms': 1e3 * processor / args.batch_size,
          'ms by step': {step: (at[step] - at[1]) / (step - 1) * 1e3 for step in at if step > 1}}


def input_alone(args):
  """Makes batches with the tutorial's distortions, and discards them."""
  begin = time.perf_counter()
  images, _ = cifar10_input.distorted_inputs(args.data_dir, args.batch_size)
  creator = tf.train.ChiefSessionCreator(config=precision.session_config())
  with tf.train.MonitoredSession(creator) as session:
    return measure.timed(lambda: session.run(images.op), begin, args.warmup, args.steps,
                         args.batch_size)


def evaluation(args):
  """Scores a checkpoint of step 1 on the test file, with `cifar10_eval.Evaluation`.

  Scores twice. 'first step s' is the time of the first score, with building the graph. 'images/s'
  is the speed of the second.
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
