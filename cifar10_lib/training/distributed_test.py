"""Tests of distributed: the steps in the event files of an interrupted run."""
import glob
import os

from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import distributed
from tests import testing


class EventsTest(tf.test.TestCase):

  def _write(self, directory, steps):
    with tf.summary.FileWriter(directory, filename_suffix=str(steps[0])) as writer:
      for step in steps:
        writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag='a', simple_value=1)]), step)

  def testLastWrittenIsTheHighestStep(self):
    directory = os.path.join(self.get_temp_dir(), 'events')
    self.assertEqual(distributed.last_written(directory), -1)
    self._write(directory, [3, 12])
    self._write(directory, [5, 9])
    self.assertEqual(distributed.last_written(directory), 12)
    for path in glob.glob(os.path.join(directory, '*')):  # a killed process leaves a cut record
      with open(path, 'rb+') as file:
        file.truncate(os.path.getsize(path) - 3)
    self.assertEqual(distributed.last_written(directory), 5)

  def testLastWrittenCountsWhatThisProcessHasNotYetWrittenOut(self):
    directory = os.path.join(self.get_temp_dir(), 'waiting')
    writer = tf.summary.FileWriterCache.get(directory)
    self.addCleanup(tf.summary.FileWriterCache.clear)
    writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag='a', simple_value=1)]), 7)
    self.assertEqual(distributed.last_written(directory), 7)

  def testOnlyNewStepsAreWritten(self):
    """A restore goes back to step 2, but the event files hold values up to step 5."""
    directory = os.path.join(self.get_temp_dir(), 'onward')
    with tf.Graph().as_default():
      step = tf.train.get_or_create_global_step()
      tf.summary.scalar('step', step)
      with tf.control_dependencies([tf.identity(step)]):
        advance = step.assign_add(1)
      back = step.assign(2)
      writer = tf.summary.FileWriter(directory)
      hook = tf.train.SummarySaverHook(1, summary_writer=writer, summary_op=tf.summary.merge_all())
      creator = tf.train.ChiefSessionCreator(
          tf.train.Scaffold(init_fn=lambda _, session: session.run(back)))
      with tf.train.MonitoredSession(
          creator, [distributed.NewStepsHook(hook, tf.identity(step), 5)]) as session:
        for _ in range(6):  # to step 8
          session.run(advance)
      writer.close()
    steps = testing.steps_of_events(directory)
    self.assertEqual(steps, sorted(steps))
    self.assertGreater(steps[0], 5)
    self.assertEqual(steps[-1], 8)


if __name__ == '__main__':
  tf.test.main()
