"""Tests of run: errors of the file system in one line."""
import errno
import os

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import run


class FailuresTest(tf.test.TestCase):

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


if __name__ == '__main__':
  tf.test.main()
