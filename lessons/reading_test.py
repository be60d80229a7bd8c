"""Tests of the example of reading."""
import os
import re
import tempfile
from unittest import mock

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from lessons import reading


class ReadingTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.directory = tempfile.mkdtemp(dir=self.get_temp_dir())
    self.paths = []
    for name, content in (('1.jpg', b'one'), ('2.jpg', b'the second'), ('3.jpg', bytes(range(9)))):
      self.paths.append(os.path.join(self.directory, name))
      with open(self.paths[-1], 'wb') as file:
        file.write(content)
    self.out_dir = os.path.join(self.directory, 'read')

  def _contents(self, paths):
    contents = []
    for path in paths:
      with open(path, 'rb') as file:
        contents.append(file.read())
    return contents

  def _written(self, count):
    return self._contents(os.path.join(self.out_dir, 'test_%d.jpg' % (i + 1))
                          for i in range(count))

  def testFifteenFilesInOrderByteForByte(self):
    self.assertEqual(reading.read_pictures(self.paths, self.out_dir), 15)
    self.assertLen(os.listdir(self.out_dir), 15)
    self.assertEqual(self._written(15), self._contents(self.paths) * 5)

  def testOneEpochReadsEachPictureOnce(self):
    self.assertEqual(reading.read_pictures(self.paths, self.out_dir, num_epochs=1), 3)
    self.assertEqual(self._written(3), self._contents(self.paths))

  def testShuffleMixesEachEpoch(self):
    """The probability of 30 epochs in the same order by chance is 6 ** -29."""
    reading.read_pictures(self.paths, self.out_dir, num_epochs=30, shuffle=True)
    written = self._written(90)
    epochs = [tuple(written[i:i + 3]) for i in range(0, 90, 3)]
    for epoch in epochs:
      self.assertCountEqual(epoch, self._contents(self.paths))
    self.assertGreater(len(set(epochs)), 1)

  def testMissingPictureIsNamed(self):
    os.remove(self.paths[1])
    with self.assertRaisesRegex(Failure, re.escape(self.paths[1])):
      reading.read_pictures(self.paths, self.out_dir)

  def testOtherFilesStay(self):
    os.mkdir(self.out_dir)
    mine = os.path.join(self.out_dir, 'mine.jpg')
    with open(mine, 'wb') as file:
      file.write(b'mine')
    for _ in range(2):
      reading.read_pictures(self.paths, self.out_dir, num_epochs=1)
    self.assertEqual(self._contents([mine]), [b'mine'])

  def testOtherFileIsOverwrittenOnlyOnRequest(self):
    os.mkdir(self.out_dir)
    mine = os.path.join(self.out_dir, 'test_2.jpg')
    with open(mine, 'wb') as file:
      file.write(b'mine')
    with self.assertRaisesRegex(Failure, re.escape(mine) + '.*--overwrite'):
      reading.read_pictures(self.paths, self.out_dir)
    self.assertEqual(os.listdir(self.out_dir), ['test_2.jpg'])
    self.assertEqual(self._contents([mine]), [b'mine'])
    reading.read_pictures(self.paths, self.out_dir, overwrite=True)
    self.assertEqual(self._written(15), self._contents(self.paths) * 5)

  def testFilesOfAnEarlierRunAreOverwritten(self):
    reading.read_pictures(self.paths, self.out_dir, shuffle=True)
    reading.read_pictures(self.paths, self.out_dir)
    self.assertEqual(self._written(15), self._contents(self.paths) * 5)

  def testWithoutLocalVariablesTheCauseIsNamed(self):
    """The read raises only the end of input; the join raises the error of the queue runner."""
    with mock.patch.object(tf, 'local_variables_initializer', tf.no_op), \
        self.assertRaisesRegex(Failure, 'limit_epochs/epochs'):
      reading.read_pictures(self.paths, self.out_dir)

  def testShippedPicturesAreReadable(self):
    for name in reading.NAMES:
      path = os.path.join(os.path.dirname(reading.__file__), 'img', name)
      with self.session(tf.Graph()) as session:
        picture = session.run(tf.image.decode_jpeg(tf.io.read_file(path)))
      self.assertEqual(picture.shape, (120, 160, 3))


if __name__ == '__main__':
  tf.test.main()
