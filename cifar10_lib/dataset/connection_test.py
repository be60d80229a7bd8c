"""Tests for connection: hosts that trickle, never end, or lie about sizes; odd file URLs."""
import os
from unittest import mock

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import connection, download, testing
from cifar10_lib.dataset.testing import AGAIN, Host

OK = b'HTTP/1.1 200 OK\r\n'


class HostTest(testing.DownloadTestCase):

  def testSizesThatAreNoNumbers(self):
    for size in '²'.encode(), b'9' * 5000, b'-1', b'', b'1e6', b'\x1b[2J':
      answer = OK + b'Content-Length: %s\r\n\r\n' % size + self.body
      self.fetch(Host(self.body, answer))
      self.assertEqual(self.said, [], size)  # the whole body came at the first try
      self.assertSound()
      os.remove(self.archive)
      tf.io.gfile.rmtree(self.directory)

  def testRangesThatAreNoNumbers(self):
    self.write(self.part, self.body[:20000])
    for span in 'bytes ²-3/4'.encode(), b'bytes %s-1/%s' % (b'9' * 5000, b'9' * 5000), b'\x1b[2J':
      host = Host(self.body, b'HTTP/1.1 206 P\r\nContent-Range: %s\r\n\r\n' % span, 503, 503, 503)
      with self.fails('503'):
        self.fetch(host)
      self.assertEqual(host.ranges[:2], ['bytes=20000-', None])

  def testWhatTheHostSaysIsEscapedAndCut(self):
    line = b'HTTP/1.1 500 \x1b]0;owned\x07' + b'x' * 5000 + b'\r\n\r\n'
    with self.fails(r'HTTP Error 500: \x1b]0;owned\x07xxx', 'xxx.... Run again'):
      self.fetch(Host(self.body, *[line] * 4))
    for said in self.said:
      self.assertTrue(said.isprintable())
      self.assertLess(len(said), 400)

  def testAnswersWithoutEnd(self):
    small = mock.patch.object(connection, 'ALLOWANCE', 50000)
    for answer in (AGAIN + b'HTTP/1.1 100 Continue\r\n\r\n',
                   OK + b'Transfer-Encoding: chunked\r\n\r\n-1\r\n' + bytes(1 << 20),
                   OK + b'Transfer-Encoding: chunked\r\n\r\n0\r\n' + b'x: y\r\n' * 200000,
                   b'HTTP/1.1 302 F\r\nLocation: /x\r\n\r\n' + bytes(1 << 20)):
      host = Host(self.body, *[answer] * 3)
      with small, self.fails('sends without end, but no data'):
        self.fetch(host)
      self.assertLen(host.ranges, 3)

  def testNoOtherProtocols(self):
    for place in b'ftp://127.0.0.1/x', b'file:///etc/passwd', b'data:,x':
      host = Host(self.body, *[b'HTTP/1.1 302 F\r\nLocation: %s\r\n\r\n' % place] * 3)
      with self.fails(host.url):
        self.fetch(host)
    self.assertEqual(self.listing(), [])

  def testBodyWithoutLengthOrEndStopsAtTheLimit(self):
    endless = AGAIN + OK + b'\r\n' + b'x' * 1000
    host = Host(self.body, endless)
    with self.fails('states no size and sends more than the limit of 1 MB'):
      self.fetch(host, data_sha256='0' * 64, max_bytes=1 << 20)
    self.assertLen(host.ranges, 1)
    self.assertEqual(self.listing(), [])  # what came is of no use

  def testStatedSizeAboveTheLimit(self):
    host = Host(self.body)
    with self.fails('more than the limit'):
      self.fetch(host, data_sha256=self.sha256, max_bytes=len(self.body) - 1)
    self.assertEqual((len(host.ranges), self.listing()), (1, []))
    self.fetch(Host(self.body), data_sha256=self.sha256, max_bytes=len(self.body))
    self.assertSound()

  def testSlowHostIsGivenUp(self):
    slow = mock.patch.object(connection, 'SLOW_SECONDS', 0)
    greedy = mock.patch.object(connection, 'LEAST_RATE', 1e15)  # no host sends as fast
    host = Host(self.body)
    with slow, greedy, self.fails(host.url, 'only', 'bytes in'):
      self.fetch(host)
    self.assertLen(host.ranges, download.IDLE_TRIES)


class FileTest(testing.DownloadTestCase):

  def fails_once(self, path, *texts):
    with self.fails('--data_url=file://', *texts):
      download.maybe_download_and_extract(self.data_dir, 'file://' + path)
    self.assertEqual(self.said, [])  # no further try

  def testOnlyRegularFilesAreOpened(self):
    folder = self.get_temp_dir()
    fifo = os.path.join(folder, 'fifo')
    os.mkfifo(fifo)
    for path in folder, fifo, '/dev/zero':
      self.fails_once(path, path, 'is not a regular file')
    self.fails_once(folder + '/none', 'No such file')
    self.fails_once(folder + '/a%00b', 'cannot be read')
    self.fails_once(folder + '/' + 'n' * 5000, 'File name too long')

  def testFileAboveTheLimit(self):
    sparse = os.path.join(self.get_temp_dir(), 'sparse')
    self.write(sparse, b'')
    os.truncate(sparse, 6 << 30)
    with self.fails('6442 MB, more than the limit of 1073 MB'):
      download.maybe_download_and_extract(self.data_dir, 'file://' + sparse, '0' * 64)


class WatchTest(tf.test.TestCase):

  def watched(self, *reads):
    """Reads from a host; `reads` are pairs of bytes that come and seconds that they take."""
    raw = mock.Mock()
    raw.readinto.side_effect = [count for count, _ in reads]
    times = [time for _, seconds in reads for time in (0, seconds)]
    with mock.patch.object(connection.time, 'monotonic', side_effect=times):
      stream = connection._Watched(raw)
      for _ in reads:
        stream.readinto(bytearray(10))

  def testLeastRate(self):
    with self.assertRaisesRegex(connection.TooSlow, 'only 60 bytes in 30 s'):
      self.watched(*[(2, 1)] * 30)
    self.watched(*[(1000, 1)] * 100)
    self.watched((1, 29), (0, 29))  # the end of a small file
    with self.assertRaises(connection.TooSlow):  # after a fast start
      self.watched(*[(5000, 1)] * 60, *[(500, 1)] * 60)

  def testAllowance(self):
    self.watched((connection.ALLOWANCE, 1))
    with self.assertRaisesRegex(ConnectionError, 'without end'):
      self.watched((connection.ALLOWANCE, 1), (1, 1))


if __name__ == '__main__':
  tf.test.main()
