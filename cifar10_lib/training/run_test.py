"""Tests of how a run turns errors into one line."""
import contextlib
import errno
import io
import os
from unittest import mock

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import run
from tests import testing


class FailuresTest(testing.DirectoryTestCase):

  def _write(self, problem):
    """Writes an event while the file system answers with a problem; returns what was printed."""
    class Broken:
      def WriteEvent(self, event):
        pass

      def Flush(self):
        raise RuntimeError(problem)

      def Close(self):
        pass
    with contextlib.redirect_stderr(io.StringIO()) as printed, self.assertLogs() as logged, \
         self.assertRaises((Failure, RuntimeError)) as caught:
      run.logging.getLogger('tests').error('a line')
      with run.failures('Evaluation in here'), tf.summary.FileWriter(self.directory) as writer:
        writer.event_writer._worker._ev_writer = Broken()
        writer.add_summary(tf.Summary(), 1)
        writer.flush()
    return printed.getvalue() + ''.join(logged.output[1:]), caught.exception

  def testErrorsOfTheWriterOfEvents(self):
    printed, failure = self._write(
        'here/events.out.tfevents.1.vm; No space left on device\n\tFailed to flush 3 events')
    self.assertEqual(printed, '')
    self.assertIsInstance(failure, Failure)
    self.assertStartsWith(str(failure), 'Evaluation in here failed: no space left on device. Free')
    printed, failure = self._write('here/events.out.tfevents.1.vm; Stale file handle\n\tFailed')
    self.assertEqual(printed, '')
    self.assertEqual(str(failure), 'Evaluation in here failed: here/events.out.tfevents.1.vm: '
                     'Stale file handle')

  def testOtherErrorsPass(self):
    _, error = self._write('a bug; of ours')
    self.assertNotIsInstance(error, Failure)

  def testOneLineNamesWhatIsKnown(self):
    refused = os.strerror(errno.EACCES)
    for error, text in (
        (PermissionError(errno.EACCES, refused, 'a/b'), 'Work failed: a/b: ' + refused),
        (PermissionError(errno.EACCES, refused), 'Work failed: ' + refused),
        (OSError('timed out'), 'Work failed: timed out'),
        (OSError(errno.ENOSPC, 'full'), 'Work failed: no space left on device. Free about 30 MB '
                                        'and run the same command again.')):
      with self.assertRaises(Failure) as caught, run.failures('Work'):
        raise error
      self.assertEqual(str(caught.exception), text)
    with self.assertRaises(BrokenPipeError), run.failures('Work'):
      raise BrokenPipeError

  def testDirectoryThatVanishesBeforeASaveIsNamed(self):
    path = os.path.join(self.directory, 'vanished', 'model.ckpt')
    with tf.Graph().as_default(), tf.Session() as session:
      tf.get_variable('x', initializer=1.0)
      session.run(tf.global_variables_initializer())
      gone = tf.errors.NotFoundError(None, None, 'gone')
      saver = tf.train.Saver()
      with mock.patch.object(tf.Session, 'run', side_effect=gone), self.assertRaisesRegex(
          Failure, 'Work failed: .*vanished/model.ckpt.*: No such file'), run.failures('Work'):
        saver.save(session, path)
    with self.assertRaisesRegex(ValueError, 'a bug'), run.failures('Work'):
      raise ValueError('a bug')


if __name__ == '__main__':
  tf.test.main()
