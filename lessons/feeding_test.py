"""Tests of the three ways to feed a trainer."""
import os
import re
import tempfile

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import sample
from cifar10_lib.dataset.records import RECORD_BYTES, data_files
from lessons import feeding, timeline


class FeedingTest(tf.test.TestCase):

  STEPS = 6

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.directory = tempfile.mkdtemp()
    sample.make_sample(cls.directory, 100, 10)
    cls.paths = data_files(cls.directory)
    cls.results, _ = feeding.compare(cls.paths, batch_size=8, steps=cls.STEPS, read_ms=30)

  def testEachWayTrainsTheStepsAskedFor(self):
    self.assertEqual([result.name for result in self.results], list(feeding.WAYS))
    for result in self.results:
      self.assertLen(result.steps, self.STEPS)
      self.assertBetween(result.compute_ms, 0, result.step_ms)
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
      long = sum(end - begin >= 0.029 for begin, end in result.reads)
      # The last read of a file of 20 records is half a batch and takes half as long.
      self.assertGreaterEqual(long, 2 / 3 * len(result.reads) - 2, result.name)
      for begin, end in result.reads:
        self.assertGreaterEqual(end - begin, 0.014)

  def testAStepOfWay1WaitsForItsRead(self):
    self.assertGreaterEqual(self.results[1].step_ms - self.results[1].compute_ms, 29)

  def testBatchMaySpanSeveralFiles(self):
    ways = list(feeding.WAYS.values())
    batches = ways[1](self.paths, 64, feeding.Storage(0, 64))  # each file has 20 records
    records = np.concatenate([next(batches)[0] for _ in range(5)])  # [320, RECORD_BYTES]
    files = np.concatenate([np.fromfile(path, np.uint8) for path in self.paths])
    self.assertAllEqual(records.ravel(), np.resize(files, 320 * RECORD_BYTES))

  def testDefaultDelayIsPositive(self):
    _, read_ms = feeding.compare(self.paths, batch_size=8, steps=2)
    self.assertGreater(read_ms, 0)

  def testLanesDoNotOverlap(self):
    spans = [(0, 3), (1, 4), (3, 5), (4, 6), (4.5, 7)]
    self.assertEqual(timeline.lanes(spans), [[(0, 3), (3, 5)], [(1, 4), (4, 6)], [(4.5, 7)]])

  def testWaysGiveRecordsOfTheFiles(self):
    records = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, RECORD_BYTES)
                              for path in self.paths])
    known = {record.tobytes() for record in records}
    for name, way in list(feeding.WAYS.items())[1:]:
      with tf.Graph().as_default():
        batches = way(self.paths, 8, feeding.Storage(0, 8))
        seen = {record.tobytes() for _ in range(40) for record in next(batches)[0]}
        batches.close()
      self.assertLessEqual(seen, known, name)
      self.assertGreater(len(seen), 60, name)

  def testTableShowsTheResults(self):
    lines = feeding.table(self.results, batch_size=8).splitlines()
    self.assertLen(lines, 5)
    for line, result in zip(lines[1:], self.results, strict=True):
      self.assertStartsWith(line, result.name)
      rate, step, waiting, computing = map(float, re.fullmatch(
          r' +(\d+) +([\d.]+) = +([\d.]+) [+] +([\d.]+) +(?:-|\d+% full)',
          line[len(result.name):]).groups())
      self.assertNear(rate, 8000 / result.step_ms, 0.51)
      self.assertNear(step, waiting + computing, 0.11)

  def testTimelineIsAPngFile(self):
    path = os.path.join(self.directory, 'timeline.png')
    timeline.write(self.results, path)
    with open(path, 'rb') as file:
      self.assertEqual(file.read(8), b'\x89PNG\r\n\x1a\n')
    self.assertBetween(os.path.getsize(path), 5000, 300000)

  def testUnwritableTimelineIsNamed(self):
    path = os.path.join(self.directory, 'missing', 'timeline.png')
    with self.assertRaisesRegex(Failure, re.escape(path)):
      timeline.write(self.results, path)


if __name__ == '__main__':
  tf.test.main()
