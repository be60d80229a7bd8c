"""Tests of stopping: signals are caught, and end training after their step."""
import contextlib
import io
import os
import signal
from unittest import mock

from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import stopping


class StoppingTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    graph = tf.Graph().as_default()
    graph.__enter__()
    self.addCleanup(graph.__exit__, None, None, None)

  def testFirstSignalIsNotedAndTheSecondHasItsDefault(self):
    before = signal.getsignal(signal.SIGTERM)
    with contextlib.redirect_stdout(io.StringIO()) as out, \
         stopping.catch_signals() as signals:
      self.assertIsNone(signals.number)
      os.kill(os.getpid(), signal.SIGTERM)
      self.assertEqual(signals.number, signal.SIGTERM)
      self.assertIs(signal.getsignal(signal.SIGTERM), signal.SIG_DFL)
    self.assertIn('SIGTERM', out.getvalue())
    self.assertIs(signal.getsignal(signal.SIGTERM), before)

  def testIgnoredSignalStaysIgnored(self):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
      with stopping.catch_signals():
        self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
    finally:
      signal.signal(signal.SIGINT, before)

  def testStopsAfterTheStepOfTheSignal(self):
    signals = mock.Mock(number=None)
    step = tf.assign_add(tf.train.get_or_create_global_step(), 1)
    steps = []
    with tf.train.MonitoredTrainingSession(
        hooks=[stopping.StopOnSignalHook(signals)]) as session:
      while not session.should_stop():
        signals.number = signal.SIGINT if len(steps) == 2 else None
        steps.append(int(session.run(step)))
    self.assertEqual(steps, [1, 2, 3])

  def testSignalBeforeTheFirstStepRunsNoStep(self):
    tf.train.get_or_create_global_step()
    hook = stopping.StopOnSignalHook(mock.Mock(number=signal.SIGTERM))
    with tf.train.MonitoredTrainingSession(hooks=[hook]) as session:
      self.assertTrue(session.should_stop())


if __name__ == '__main__':
  tf.test.main()
