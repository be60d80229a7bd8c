"""Tests of the hooks of a training session."""
import contextlib
import glob
import io
import os
import re
import signal
import subprocess
import sys
from unittest import mock

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import hooks

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(hooks.__file__))))

PROGRAM_WITH_A_READER_THAT_HANGS = '''
from cifar10_lib.common import programs
from cifar10_lib.training import hooks
from cifar10_lib.common.tf1 import tf

def main(argv):
  source = tf.FIFOQueue(1, [tf.int32], [[]], name='nobody_fills')
  queue = tf.FIFOQueue(4, [tf.int32], [[]], name='fed')
  tf.train.add_queue_runner(tf.train.QueueRunner(queue, [queue.enqueue(source.dequeue())]))
  with tf.train.MonitoredTrainingSession(
      hooks=[hooks.FirstBatchHook(0.2)], stop_grace_period_secs=1):
    print('the session began')

programs.run(main)
'''


def _queue_fed_by(*tensors):
  """Returns a queue that a queue runner fills from `tensors`, int32 scalars."""
  queue = tf.FIFOQueue(4, [tf.int32] * len(tensors), [[]] * len(tensors), name='fed')
  tf.train.add_queue_runner(tf.train.QueueRunner(queue, [queue.enqueue(tensors)]))
  return queue


def _queue_that_waits():
  """Returns a queue that stays empty: its queue runner waits until the session ends."""
  source = tf.FIFOQueue(1, [tf.int32], [[]], name='nobody_fills')
  queue = tf.FIFOQueue(4, [tf.int32], [[]], name='fed')
  tf.train.add_queue_runner(tf.train.QueueRunner(
      queue, [queue.enqueue(source.dequeue())], cancel_op=source.close()))
  return queue


class HooksTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    graph = tf.Graph().as_default()
    graph.__enter__()
    self.addCleanup(graph.__exit__, None, None, None)

  def _lines(self, losses, clock, max_steps=7, every_steps=3, first_step=1):
    """Returns the lines that a LoggerHook prints, without date and time.

    Args:
      losses: the loss of each step; its tenth is the accuracy.
      clock: the times that the clock returns, in seconds.
      max_steps, every_steps: arguments of the hook.
      first_step: number of the first step.
    """
    hook = hooks.LoggerHook(None, None, None, 100, max_steps, every_steps)
    with contextlib.redirect_stdout(io.StringIO()) as out, \
         mock.patch('time.perf_counter', side_effect=clock):
      hook.begin()
      for i, loss in enumerate(losses):
        hook.after_step(first_step + i, loss, loss / 10)
      hook.end(None)
    return [line.split(': ', 1)[1] for line in out.getvalue().splitlines()]

  def testLogLineGivesMeansOverTheInterval(self):
    lines = self._lines([9.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0], [0, 8, 9, 10, 12, 12.5, 13, 15])
    self.assertEqual(lines, [
        'step 1, loss = 9.00 (first step after 8.0 sec)',
        # Steps 2 and 3 took 1 second each; steps 4 to 6 took 2, 0.5 and 0.5; step 7 took 2.
        'step 3, loss = 1.50 (100.0 examples/sec; 1.000 sec/batch), accuracy 0.15, 0:00:04 left',
        'step 6, loss = 5.00 (100.0 examples/sec; 1.000 sec/batch), accuracy 0.50, 0:00:01 left',
        'step 7, loss = 7.00 (50.0 examples/sec; 2.000 sec/batch), accuracy 0.70, 0:00:00 left'])

  def testLogLineGivesTheGlobalStepAfterAResume(self):
    lines = self._lines([1.0, 1.0], [0, 1, 3], max_steps=60, first_step=50, every_steps=51)
    self.assertEqual(lines[1],
                     'step 51, loss = 1.00 (50.0 examples/sec; 2.000 sec/batch), accuracy 0.10, '
                     '0:00:18 left')

  def testLogLineBeginsWithDateAndTime(self):
    with contextlib.redirect_stdout(io.StringIO()) as out:
      hook = hooks.LoggerHook(None, None, None, 100, 10, 1)
      hook.begin()
      hook.after_step(1, 1.0, 0.1)
    self.assertRegex(out.getvalue(), r'^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: step 1, ')

  def testNonFiniteLossFails(self):
    hook = hooks.FiniteLossHook(None, None)
    hook.after_step(1, 1e30)
    for loss, word in ((float('nan'), 'nan'), (float('inf'), 'inf')):
      with self.assertRaisesRegex(Failure, 'became %s at step 12' % word):
        hook.after_step(12, loss)

  def testNonFiniteWeightsAreNotSaved(self):
    weights = tf.get_variable('weights', [3])
    listener = hooks.FiniteWeightsListener()
    listener.begin()
    with tf.Session() as session:
      for value in (np.nan, np.inf, -np.inf):
        weights.load([1.0, value, 2.0], session)
        with self.assertRaisesRegex(Failure, 'by step 30'):
          listener.before_save(session, 30)
      weights.load([1.0, -1e30, 2.0], session)
      listener.before_save(session, 30)

  def testGraphIsThereBeforeItsCheckpoint(self):
    """A trainer may be killed at any moment: each checkpoint has its graph from the start."""
    directory = self.get_temp_dir()
    step = tf.train.get_or_create_global_step()
    saver = tf.train.Saver(max_to_keep=2)
    seen = []

    def save(*args, save=saver.save, **kwargs):
      meta, = sorted(glob.glob(os.path.join(directory, '*.meta')))[-1:]
      self.assertFalse(os.path.exists(meta.replace('.meta', '.index')))
      seen.append(os.path.basename(meta))
      return save(*args, **kwargs)
    scaffold = tf.train.Scaffold(saver=saver)
    hook = tf.train.CheckpointSaverHook(
        directory, save_steps=1, scaffold=scaffold, save_graph_def=False,
        listeners=[hooks.MetaGraphListener(scaffold, directory)])
    one_more = step.assign_add(1)
    with mock.patch.object(saver, 'save', save), \
         tf.train.MonitoredSession(tf.train.ChiefSessionCreator(scaffold), [hook]) as session:
      for _ in range(3):
        session.run(one_more)
    self.assertEqual(seen, ['model.ckpt-%d.meta' % step for step in range(4)])
    self.assertEqual(sorted(name for name in os.listdir(directory) if name.endswith('.meta')),
                     seen[2:])  # the others were deleted with their checkpoints
    with tf.Graph().as_default(), tf.Session() as session:
      path = os.path.join(directory, 'model.ckpt-3')
      tf.train.import_meta_graph(path + '.meta').restore(session, path)
      self.assertEqual(session.run(tf.train.get_global_step()), 3)

  def testQueueThatStaysEmptyIsNamed(self):
    _queue_that_waits()
    hook = hooks.FirstBatchHook(0.2)
    with self.assertRaisesRegex(Failure, r'queue fed within 0\.2 seconds \(fed holds 0\)'):
      with tf.train.MonitoredTrainingSession(hooks=[hook]):
        self.fail('the session began')

  def testProgramEndsWhileAReaderHangs(self):
    # Nothing can stop a thread that hangs in a read. It must not keep the program alive.
    process = subprocess.run(
        [sys.executable, '-c', PROGRAM_WITH_A_READER_THAT_HANGS], capture_output=True, text=True,
        timeout=120, env=dict(os.environ, PYTHONPATH=ROOT))
    self.assertEqual(process.returncode, 1)
    self.assertRegex(process.stderr, r'^Error: No batch came into queue fed within .*\n$')
    self.assertEqual(process.stdout, '')

  def testSignalEndsTheWaitForTheFirstBatch(self):
    _queue_that_waits()
    hook = hooks.FirstBatchHook(30, mock.Mock(number=signal.SIGTERM))
    with tf.train.MonitoredTrainingSession(hooks=[hook], stop_grace_period_secs=1) as session:
      self.assertTrue(session.should_stop())  # else the first step would wait instead

  def testWaitEndsWithTheFirstBatch(self):
    batch = _queue_fed_by(tf.constant(5)).dequeue()
    hook = hooks.FirstBatchHook(3600)
    with tf.train.MonitoredTrainingSession(hooks=[hook]) as session:
      self.assertEqual(session.run(batch), 5)

  def testEmptyInputEndsTheWait(self):
    path = os.path.join(self.get_temp_dir(), 'empty.bin')
    open(path, 'w').close()
    names = tf.train.string_input_producer([path], num_epochs=1)
    _, value = tf.FixedLengthRecordReader(3).read(names)
    batch = _queue_fed_by(tf.strings.length(value)).dequeue()
    with tf.train.MonitoredTrainingSession(hooks=[hooks.FirstBatchHook(30)]) as session:
      with self.assertRaises(tf.errors.OutOfRangeError):
        session.run(batch)

  def testErrorOfAReaderReachesTheCaller(self):
    path = os.path.join(self.get_temp_dir(), 'not', 'there.bin')
    names = tf.train.string_input_producer([path])
    _, value = tf.WholeFileReader().read(names)
    batch = _queue_fed_by(tf.strings.length(value)).dequeue()
    with self.assertRaisesRegex(tf.errors.NotFoundError, re.escape(path)):
      with tf.train.MonitoredTrainingSession(
          hooks=[hooks.FirstBatchHook(30)]) as session:
        session.run(batch)


if __name__ == '__main__':
  tf.test.main()
