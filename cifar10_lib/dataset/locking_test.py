"""Tests for locking: one program waits for another, and says for which; no lock can be made."""
import errno
import os
import socket
import threading
import time
from unittest import mock

import filelock

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import archive, download, locking, testing
from cifar10_lib.dataset.testing import Host


class LockingTest(testing.DownloadTestCase):

  def testTwoStarters(self):
    waiting = threading.Event()
    waits = 'Waiting for another program (process %d on %s) that is filling %s.' % (
        os.getpid(), socket.gethostname(), self.data_dir)
    def start():
      download.maybe_download_and_extract(self.data_dir, host.url)
    def say(text):
      if text == waits:
        waiting.set()
    with Host(self.body, 'deaf') as host, mock.patch.object(archive, 'say', say):
      starters = [threading.Thread(target=start) for _ in range(2)]
      starters[0].start()
      give_up = time.monotonic() + 20
      while not host.ranges and time.monotonic() < give_up:
        time.sleep(0.01)  # once it has asked the host, the lock file names it
      starters[1].start()
      self.assertTrue(waiting.wait(20))
      host.go.set()
      for starter in starters:
        starter.join(20)
    self.assertEqual(host.ranges, [None])
    self.assertSound()

  def testUnwritableDirectory(self):
    denied = mock.patch.object(os, 'makedirs', side_effect=PermissionError(13, 'Not you'))
    with denied, self.fails(self.data_dir, 'Not you', '--data_dir'):
      self.fetch(Host(self.body))
    self.write(self.data_dir, b'')
    with self.fails(self.data_dir, 'File exists'):
      self.fetch(Host(self.body))

  def testTheLastHolderIsReplaced(self):
    path = os.path.join(self.data_dir, '.lock')
    for content in b'', b'1\nanother.host.with.a.long.name\n', b'\xff' * 2000:
      self.write(path, content)
      with locking.locked(self.data_dir):
        self.assertEqual(self.read(path), b'%d\n%s\n' % (
            os.getpid(), socket.gethostname().encode()))

  def testWhatIsNoLockFile(self):
    os.makedirs(self.data_dir)
    path = os.path.join(self.data_dir, '.lock')
    for make in os.mkfifo, os.mkdir, lambda path: os.symlink('/nowhere', path):
      make(path)
      with self.fails('Cannot make or lock %s: it is not a regular file' % path):
        self.fetch(Host(self.body))
      os.rename(path, path + '.aside%d' % len(os.listdir(self.data_dir)))

  def testAHolderThatSaysNothing(self):
    lock = os.path.join(self.data_dir, '.lock')
    for content in b'', b'x\ny\n', b'12', b'\xff\n\x1b\n':
      self.write(lock, content)
      waits = mock.patch.object(filelock.FileLock, 'acquire', side_effect=[
          filelock.Timeout(lock), mock.MagicMock()])
      with waits, locking.locked(self.data_dir):
        self.assertEqual(self.said.pop(), 'Waiting for another program that is filling %s.'
                         % self.data_dir)

  def testWhereNoLockCanBeMade(self):
    # filelock reports a directory that takes no file, such as /proc, as one that is locked.
    acquire = mock.patch.object(filelock.FileLock, 'acquire', side_effect=filelock.Timeout('x'))
    with acquire, self.fails('Cannot make or lock %s/.lock: No such file' % self.data_dir):
      self.fetch(Host(self.body))
    for error in OSError(errno.ENOLCK, 'No locks available'), NotImplementedError('No flock here'):
      acquire = mock.patch.object(filelock.FileLock, 'acquire', side_effect=error)
      with acquire, self.fails('Cannot make or lock', 'No ', '--data_dir'):
        self.fetch(Host(self.body))
    self.assertEqual(self.said, [])


if __name__ == '__main__':
  tf.test.main()
