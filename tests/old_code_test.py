"""Tests that code written from 2015 to 2018 runs unchanged on these modules, in a notebook."""
import os
import re
import subprocess
import sys

import cifar10
import cifar10_input
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import sample
from cifar10_lib.training import recipes
from tests import testing

ROOT = os.path.dirname(os.path.abspath(cifar10.__file__))

# Code as the tutorial's readers wrote it: training loops, hooks, a coordinator, towers, and a graph
# imported from the .meta file of a checkpoint. The command line is Jupyter's.
OLD_CODE = r'''
import math, os, re, sys
directory = sys.argv[1]
sys.argv = ['ipykernel_launcher.py', '-f', 'kernel.json']
import numpy as np
import tensorflow.compat.v1 as tf
import cifar10
import cifar10_eval
import cifar10_input
import cifar10_train

FLAGS = tf.app.flags.FLAGS
FLAGS.data_dir = os.path.join(directory, 'data')
FLAGS.batch_size = 8
train_dir = os.path.join(directory, 'own')


def train():
  with tf.Graph().as_default():
    global_step = tf.train.get_or_create_global_step()
    with tf.device('/cpu:0'):
      images, labels = cifar10.distorted_inputs()
    logits = cifar10.inference(images)
    loss = cifar10.loss(logits, labels)
    train_op = cifar10.train(loss, global_step)

    class _LoggerHook(tf.train.SessionRunHook):
      def begin(self):
        self.losses = []
      def before_run(self, run_context):
        return tf.train.SessionRunArgs(loss)
      def after_run(self, run_context, run_values):
        self.losses.append(run_values.results)

    logger = _LoggerHook()
    with tf.train.MonitoredTrainingSession(
        checkpoint_dir=train_dir,
        hooks=[tf.train.StopAtStepHook(last_step=4), tf.train.NanTensorHook(loss), logger],
        config=tf.ConfigProto(log_device_placement=False)) as mon_sess:
      while not mon_sess.should_stop():
        mon_sess.run(train_op)
    print('trained', len(logger.losses), all(np.isfinite(logger.losses)))


def evaluate():
  with tf.Graph().as_default():
    images, labels = cifar10.inputs(eval_data=True)
    logits = cifar10.inference(images)
    top_k_op = tf.nn.in_top_k(logits, labels, 1)
    variable_averages = tf.train.ExponentialMovingAverage(cifar10.MOVING_AVERAGE_DECAY)
    saver = tf.train.Saver(variable_averages.variables_to_restore())
    tf.summary.merge_all()
    with tf.Session() as sess:
      ckpt = tf.train.get_checkpoint_state(train_dir)
      saver.restore(sess, ckpt.model_checkpoint_path)
      coord = tf.train.Coordinator()
      threads = []
      for qr in tf.get_collection(tf.GraphKeys.QUEUE_RUNNERS):
        threads.extend(qr.create_threads(sess, coord=coord, daemon=True, start=True))
      hits, step = 0, 0
      while step < 3 and not coord.should_stop():
        hits += np.sum(sess.run([top_k_op]))
        step += 1
      coord.request_stop()
      coord.join(threads, stop_grace_period_secs=10)
    print('evaluated', 0 <= hits <= 24)


def read_with_start_queue_runners():
  bins = os.path.join(FLAGS.data_dir, 'cifar-10-batches-bin')
  for data_dir in bins, FLAGS.data_dir:
    with tf.Graph().as_default(), tf.Session() as sess:
      images, _ = cifar10_input.distorted_inputs(data_dir=data_dir, batch_size=6)
      _, labels = cifar10_input.inputs(eval_data=False, data_dir=data_dir, batch_size=5)
      coord = tf.train.Coordinator()
      threads = tf.train.start_queue_runners(sess=sess, coord=coord)
      print('read', sess.run(images).shape, sess.run(labels).shape)
      coord.request_stop()
      coord.join(threads)


def towers():
  with tf.Graph().as_default():
    images, labels = cifar10.distorted_inputs()
    opt = tf.train.GradientDescentOptimizer(cifar10.INITIAL_LEARNING_RATE)
    tower_grads = []
    with tf.variable_scope(tf.get_variable_scope()):
      for i in range(2):
        with tf.device('/gpu:%d' % i), tf.name_scope('%s_%d' % (cifar10.TOWER_NAME, i)) as scope:
          _ = cifar10.loss(cifar10.inference(images), labels)
          total_loss = tf.add_n(tf.get_collection('losses', scope), name='total_loss')
          tf.get_variable_scope().reuse_variables()
          tower_grads.append(opt.compute_gradients(total_loss))
    num_batches_per_epoch = cifar10.NUM_EXAMPLES_PER_EPOCH_FOR_TRAIN / FLAGS.batch_size
    decay_steps = int(num_batches_per_epoch * cifar10.NUM_EPOCHS_PER_DECAY)
    print('towers', len(tower_grads[0]), decay_steps, cifar10.LEARNING_RATE_DECAY_FACTOR)


def import_meta_graph():
  own = os.path.join(directory, 'program')
  with tf.Graph().as_default() as graph, tf.Session() as sess:
    path = tf.train.latest_checkpoint(own)
    saver = tf.train.import_meta_graph(path + '.meta')
    saver.restore(sess, path)
    names = ['conv1/conv1', 'pool1', 'norm1', 'conv2/conv2', 'norm2', 'pool2', 'local3/local3',
             'local4/local4', 'softmax_linear/softmax_linear']
    tensors = [graph.get_tensor_by_name(name + ':0') for name in names]
    coord = tf.train.Coordinator()
    sess.run(tf.local_variables_initializer())
    threads = tf.train.start_queue_runners(sess=sess, coord=coord)
    print('imported', [value.shape for value in sess.run(tensors)])
    coord.request_stop()
    coord.join(threads)


def programs():
  FLAGS.train_dir = FLAGS.checkpoint_dir = os.path.join(directory, 'program')
  FLAGS.eval_dir = os.path.join(directory, 'eval')
  FLAGS.max_steps, FLAGS.save_checkpoint_steps, FLAGS.run_once = 3, 1, True
  cifar10_train.train(FLAGS)
  cifar10_eval.evaluate(FLAGS)


for part in programs, train, evaluate, read_with_start_queue_runners, towers, import_meta_graph:
  part()
'''

# Runs first in a notebook, before anything has parsed flags.
FIRST_THING = '''
import sys
train_dir = sys.argv[1]
sys.argv = ['ipykernel_launcher.py', '-f', 'kernel.json']
import cifar10_eval, cifar10_train
from cifar10_lib.common.programs import Failure
for function, flag in (cifar10_train.train, 'data_dir'), (cifar10_eval.evaluate, 'checkpoint_dir'):
  FLAGS = cifar10_train.FLAGS
  setattr(FLAGS, flag, train_dir)
  FLAGS.run_once = True
  try:
    function(FLAGS)
  except Failure as failure:
    print('Failure:', failure)
'''


def run(code, directory):
  """Runs code in a new process with one argument; returns the CompletedProcess."""
  environment = {name: value for name, value in os.environ.items()
                 if name != 'TF_CPP_MIN_LOG_LEVEL'}
  return subprocess.run([sys.executable, '-c', code, directory], capture_output=True, text=True,
                        timeout=200, env=dict(environment, PYTHONPATH=ROOT), check=False)


class OldCodeTest(testing.SampleTestCase):
  EXAMPLES = 60

  def testOldCodeRuns(self):
    done = run(OLD_CODE, self.root)
    self.assertEqual(done.returncode, 0, done.stderr)
    # stderr has TensorFlow's own log, because this code imports TensorFlow before our modules.
    self.assertNotIn('Traceback', done.stderr)
    out = done.stdout
    for line in ['trained 4 True', 'evaluated True', 'towers 10 2187500 0.1',
                 'imported [(8, 24, 24, 64), (8, 12, 12, 64), (8, 12, 12, 64), (8, 12, 12, 64), '
                 '(8, 12, 12, 64), (8, 6, 6, 64), (8, 384), (8, 192), (8, 10)]']:
      self.assertIn(line + '\n', out)
    self.assertEqual(out.count('read (6, 24, 24, 3) (5,)\n'), 2)
    self.assertRegex(out, r'precision @ 1 = \d\.\d{3} \(\d+/20\) at step 3')
    # The trainer writes a .meta file for each checkpoint.
    files = os.listdir(os.path.join(self.root, 'program'))
    graphs = sorted(name for name in files if name.endswith('.meta'))
    self.assertEqual(graphs, ['model.ckpt-%d.meta' % step for step in (0, 1, 2, 3)])
    self.assertEmpty([name for name in files if re.search(r'\.new$|tmp', name)])

  def testProgramsFailCleanlyFirstInANotebook(self):
    directory = self.get_temp_dir()
    done = run(FIRST_THING, directory)
    self.assertEqual((done.returncode, done.stderr), (0, ''))
    self.assertEqual(done.stdout.count('Failure: '), 2)  # about missing files, not about flags
    self.assertNotIn('Unparsed', done.stdout)

  def testTutorialRecipeUsesTheConstants(self):
    recipe = cifar10.tutorial()
    self.assertIsInstance(recipe, recipes.Recipe)
    self.assertEqual(
        (recipe.learning_rate, recipe.epochs_per_decay, recipe.decay_factor,
         recipe.moving_average_decay),
        (cifar10.INITIAL_LEARNING_RATE, cifar10.NUM_EPOCHS_PER_DECAY,
         cifar10.LEARNING_RATE_DECAY_FACTOR, cifar10.MOVING_AVERAGE_DECAY))
    self.assertEqual((0.1, 350.0, 0.1, 0.9999), (
        cifar10.INITIAL_LEARNING_RATE, cifar10.NUM_EPOCHS_PER_DECAY,
        cifar10.LEARNING_RATE_DECAY_FACTOR, cifar10.MOVING_AVERAGE_DECAY))
    self.assertEqual(cifar10_input.class_names(self.data_dir), list(sample.KINDS))


if __name__ == '__main__':
  tf.test.main()
