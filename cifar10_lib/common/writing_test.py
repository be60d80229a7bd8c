"""Tests of writing: a file is replaced at once, or stays."""
import os
import tempfile
import time

from cifar10_lib.common import writing
from cifar10_lib.common.tf1 import tf


class ReplacingTest(tf.test.TestCase):

  def testAFileIsReplacedWhenAllIsWritten(self):
    path = os.path.join(self.get_temp_dir(), 'file')
    for content in 'one', 'two':
      with writing.replacing(path, 'w') as file:
        file.write(content)
        file.flush()
        self.assertEqual(os.path.exists(path), content == 'two')
      with open(path) as file:
        self.assertEqual(file.read(), content)

  def testTwoWritersOfASharedFile(self):
    path = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), 'file')
    with writing.replacing(path, 'w', shared=True) as one:
      one.write('the longer one')
      with writing.replacing(path, 'w', shared=True) as other:
        other.write('other')
      with open(path) as file:
        self.assertEqual(file.read(), 'other')
    with open(path) as file:
      self.assertEqual(file.read(), 'the longer one')
    with self.assertRaises(KeyboardInterrupt), writing.replacing(path, shared=True):
      raise KeyboardInterrupt
    self.assertEqual(os.listdir(os.path.dirname(path)), ['file'])

  def testWhatAKilledWriterLeftIsRemoved(self):
    directory = tempfile.mkdtemp(dir=self.get_temp_dir())
    now = time.time()
    for name, age in ('file.1.new', 61), ('file.2.new', 0), ('other.1.new', 61), ('file', 61):
      path = os.path.join(directory, name)
      with open(path, 'w'):
        os.utime(path, (now - age, now - age))
    with writing.replacing(os.path.join(directory, 'file'), shared=True):
      pass
    self.assertCountEqual(os.listdir(directory), ['file', 'file.2.new', 'other.1.new'])

  def testAFailureLeavesWhatWasThere(self):
    path = os.path.join(self.get_temp_dir(), 'kept')
    with open(path, 'wb') as file:
      file.write(b'kept')
    with self.assertRaisesRegex(OSError, 'full'), writing.replacing(path) as file:
      file.write(b'half')
      raise OSError('full')
    with open(path, 'rb') as file:
      self.assertEqual(file.read(), b'kept')
    self.assertFalse(os.path.exists(path + '.new'))


if __name__ == '__main__':
  tf.test.main()
