"""Tests of the lesson on reading."""
import contextlib
import io
import os
import re
import tempfile

import numpy as np

import cifar10_input
import cifar10_sample
from cifar10_app import Failure
from cifar10_tf import tf
from examples import feeding, reading


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

  def testOneEpoch(self):
    self.assertEqual(reading.read_pictures(self.paths, self.out_dir, num_epochs=1), 3)
    self.assertEqual(self._written(3), self._contents(self.paths))

  def testShuffleMixesEachEpochAnew(self):
    """30 epochs in the same order would come by chance once in 6 ** 29 times."""
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

  def testThePicturesThatAreShipped(self):
    for name in reading.NAMES:
      path = os.path.join(os.path.dirname(reading.__file__), 'img', name)
      with self.session(tf.Graph()) as session:
        picture = session.run(tf.image.decode_jpeg(tf.io.read_file(path)))
      self.assertEqual(picture.shape, (120, 160, 3))


class FeedingTest(tf.test.TestCase):

  STEPS = 6

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.directory = tempfile.mkdtemp()
    cifar10_sample.make_sample(cls.directory, 100, 10)
    cls.paths = cifar10_input.data_files(cls.directory)
    cls.results = feeding.compare(cls.paths, read_ms=30, steps=cls.STEPS, batch_size=8)

  def testEachWayTrainsTheStepsAskedFor(self):
    self.assertEqual([result.name for result in self.results],
                     ['compute alone', *feeding.WAYS])
    for result in self.results:
      self.assertLen(result.steps, self.STEPS)
      self.assertBetween(result.idle, 0, 1)
      for (_, end), (begin, _) in zip(result.steps, result.steps[1:], strict=False):
        self.assertLessEqual(end, begin)

  def testInTurnNeverReadsWhileItComputes(self):
    alone, in_turn = self.results[:2]
    self.assertEmpty(alone.reads)
    self.assertLen(in_turn.reads, self.STEPS)
    for (_, read), (compute, _) in zip(in_turn.reads, in_turn.steps, strict=True):
      self.assertLessEqual(read, compute)
    for (_, compute), (read, _) in zip(in_turn.steps, in_turn.reads[1:], strict=False):
      self.assertLessEqual(compute, read)

  def testQueuesReadWhileTheyCompute(self):
    for result in self.results[2:]:
      overlaps = [read for read in result.reads for step in result.steps
                  if read[0] < step[1] and step[0] < read[1]]
      self.assertNotEmpty(overlaps, result.name)
      self.assertBetween(result.fullness, 0, 1)

  def testEveryReadTakesTheDelay(self):
    for result in self.results[1:]:
      for begin, end in result.reads:
        self.assertGreaterEqual(end - begin, 0.029)

  def testWaysGiveRecordsOfTheFiles(self):
    records = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, 3073)
                              for path in self.paths])
    known = {record.tobytes() for record in records}
    for name, way in feeding.WAYS.items():
      with tf.Graph().as_default():
        batches = way(self.paths, 8, feeding.Storage(0))
        seen = {record.tobytes() for _ in range(40) for record in next(batches)[0]}
        batches.close()
      self.assertLessEqual(seen, known, name)
      self.assertGreater(len(seen), 60, name)

  def testTable(self):
    lines = feeding.table(self.results).splitlines()
    self.assertLen(lines, 5)
    for line, result in zip(lines[1:], self.results, strict=True):
      self.assertStartsWith(line, result.name)
      self.assertIn('%.0f' % result.images_per_sec, line)
    self.assertIn(' 100% ', lines[1])

  def testPicture(self):
    path = os.path.join(self.directory, 'timeline.png')
    with contextlib.redirect_stdout(io.StringIO()):
      feeding.draw(self.results, path)
    with open(path, 'rb') as file:
      self.assertEqual(file.read(8), b'\x89PNG\r\n\x1a\n')
    self.assertBetween(os.path.getsize(path), 5000, 300000)


if __name__ == '__main__':
  tf.test.main()
