"""Measures where the time of a training step goes, by TensorFlow's own trace summed by op.

  python benchmarks/step_profile.py --data_dir cifar10_data/

Prints the settings and a Markdown table of the ops that take at least --percent of the total. Ops
run in parallel and slow one another down, so the sum may exceed the time of a step. Use the table
for the shares.
"""
import collections
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # finds cifar10

from absl import flags  # noqa: E402

import cifar10  # noqa: E402
import cifar10_train  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.common.tf1 import tf  # noqa: E402
from cifar10_lib.network import precision  # noqa: E402

FLAGS = flags.FLAGS


def define_flags():
  """Defines the flags of this program. An import does not, so that flags do not clash."""
  flags.DEFINE_integer('steps', 10, 'Number of steps to trace.', lower_bound=1)
  flags.DEFINE_integer('warmup', 20, 'Steps before tracing starts.', lower_bound=1)
  flags.DEFINE_float('percent', 2.0, 'Smallest share to show.', lower_bound=0)
  flags.adopt_module_key_flags(cifar10)


def trace(session, step, count):
  """Traces steps with TensorFlow's full trace.

  Args:
    session: a tf.Session with running queue runners.
    step: the op of one training step.
    count: number of steps.

  Returns:
    A dict from (op type, node name) to milliseconds a step.
  """
  total = collections.Counter()
  for _ in range(count):
    seen = tf.RunMetadata()
    session.run(step, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
                run_metadata=seen)
    for device in seen.step_stats.dev_stats:
      for node in device.node_stats:
        # The label reads 'NAME = TYPE(INPUTS)'.
        kind = node.timeline_label.partition(' = ')[2].partition('(')[0]
        total[kind, node.node_name] += node.all_end_rel_micros / 1e3 / count
  return total


def table(total, percent):
  """Returns a Markdown table of the ops of at least `percent` of the total, largest first."""
  whole = sum(total.values())
  lines = ['| share | ms | op | node |', '| --- | --- | --- | --- |']
  for (kind, name), spent in total.most_common():
    if spent >= whole * percent / 100:
      lines.append('| %.1f%% | %.2f | %s | %s |' % (100 * spent / whole, spent, kind, name))
  shown = len(lines) - 2
  rest = sum(spent for _, spent in total.most_common()[shown:])
  lines.append('| %.1f%% | %.2f | %d others | |' % (100 * rest / whole, rest, len(total) - shown))
  return '\n'.join(lines)


def main(argv):
  del argv
  cifar10_train.follow_recipe(FLAGS)
  cifar10.maybe_download_and_extract()
  with tf.Graph().as_default():
    step, _ = cifar10_train.build(FLAGS)
    dtype = precision.compute_dtype(FLAGS.use_fp16)
    with tf.Session(config=precision.session_config(dtype)) as session:
      session.run(tf.global_variables_initializer())
      session.run(tf.local_variables_initializer())  # the batch counter starts at the step
      coord = tf.train.Coordinator()
      threads = tf.train.start_queue_runners(session, coord)
      for _ in range(FLAGS.warmup):
        session.run(step)
      since = time.perf_counter()
      for _ in range(FLAGS.steps):
        session.run(step)
      seconds = (time.perf_counter() - since) / FLAGS.steps
      print('--recipe=%s --augment=%s --batch_size=%d, %s:\n'
            % (FLAGS.recipe, cifar10_train.recipe_of(FLAGS).augment, FLAGS.batch_size, dtype))
      print(table(trace(session, step, FLAGS.steps), FLAGS.percent))
      print('\n%.1f ms a step without the trace.' % (1e3 * seconds))
      coord.request_stop()
    coord.join(threads, ignore_live_threads=True)


if __name__ == '__main__':
  define_flags()
  programs.run(main)
