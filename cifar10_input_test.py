"""Tests of cifar10_input: the content and order of batches, and the messages of failures.

These tests write records whose first pixel holds the record's number, so a batch shows its records.
NumPy computes the expected batches.
"""
import os
import tempfile
import time

import numpy as np

import cifar10_input
from cifar10_input import Pipeline
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import augmentation
from cifar10_lib.dataset.records import Part, count_records, data_files, hold_out, read_pictures

TRAIN_FILES = ['data_batch_%d.bin' % i for i in range(1, 6)]
REPEATABLE = Pipeline(repeatable=True)


def numbered_records(first, count):
  """Returns records of noise, uint8 [count, 3073], with numbers from `first` on.

  Record n has the label n % 10. Its first pixel has n % 256 in red and n // 256 in green.
  """
  records = np.random.RandomState(first).randint(0, 256, [count, 3073]).astype(np.uint8)
  numbers = first + np.arange(count)
  records[:, 0] = numbers % 10
  records[:, 1], records[:, 1 + 1024] = numbers % 256, numbers // 256
  return records


def pictures(records):
  """Returns the pictures, uint8 [N, 32, 32, 3], of records, uint8 [N, 3073]."""
  red, green, blue = (records[:, 1 + 1024 * i:1 + 1024 * (i + 1)] for i in range(3))
  return np.stack([red, green, blue], axis=-1).reshape(-1, 32, 32, 3)


def crop(images):
  """Returns the top left 24 x 24 pixels. Stands in for a distortion."""
  return tf.cast(images, tf.float32)[:, :24, :24]


def numbers_of(images):
  """Returns the record numbers, int [B], of a batch that `crop` cropped."""
  return (images[:, 0, 0, 0] + 256 * images[:, 0, 0, 1]).astype(int)


def standardised_centre(images):
  """Returns the standardised centres, float64 [N, 24, 24, 3], of uint8 [N, 32, 32, 3]."""
  centres = images[:, 4:28, 4:28].astype(np.float64)
  means = centres.mean(axis=(1, 2, 3), keepdims=True)
  deviations = centres.std(axis=(1, 2, 3), keepdims=True)
  return (centres - means) / np.maximum(deviations, 1 / np.sqrt(24 * 24 * 3))


def run_batches(build, count=None, seed=None):
  """Runs the batches of `build()` in a new graph and session.

  Args:
    build: function that returns images and labels.
    count: number of batches to run; None for all until the input ends.
    seed: random seed of the graph.

  Returns:
    A list of (images, labels), a pair of arrays for each batch.
  """
  results = []
  with tf.Graph().as_default():
    tf.set_random_seed(seed)
    batch = build()
    with tf.train.MonitoredTrainingSession() as session:  # OutOfRangeError ends it normally
      while count is None or len(results) < count:
        results.append(session.run(batch))
  return results


def run_numbers(paths, batch_size, **options):
  """Returns the record numbers of each batch, and checks that each label belongs to its picture.

  The arguments are those of `cifar10_input.batches`.
  """
  results = run_batches(lambda: cifar10_input.batches(paths, batch_size, crop, **options))
  for images, labels in results:
    np.testing.assert_array_equal(labels, numbers_of(images) % 10)
  return [numbers_of(images) for images, _ in results]


class InputTestCase(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.directory = tempfile.mkdtemp(dir=self.get_temp_dir())

  def write(self, name, records):
    path = os.path.join(self.directory, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    records.tofile(path)
    return path

  def write_numbered(self, *counts):
    """Writes one file for each count; record numbers continue over the files. Returns the paths."""
    firsts = np.cumsum([0, *counts])
    return [self.write('%d.bin' % i, numbered_records(first, count))
            for i, (first, count) in enumerate(zip(firsts, counts, strict=False))]

  def write_data_dir(self, count):
    """Writes 5 training files of `count` records each and a test file; returns the data_dir."""
    for i, name in enumerate([*TRAIN_FILES, 'test_batch.bin']):
      self.write('cifar-10-batches-bin/' + name, numbered_records(count * i, count))
    return self.directory


class ReadTest(InputTestCase):

  def testReadsKeyLabelAndPicture(self):
    colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    labels = [9, 3, 0]
    records = [[label] + [value for value in colour for _ in range(1024)]
               for label, colour in zip(labels, colours, strict=True)]
    path = self.write('solid.bin', np.array(records, np.uint8))
    with tf.Graph().as_default():
      queue = tf.FIFOQueue(99, [tf.string], shapes=())
      result = cifar10_input.read_cifar10(queue)
      self.assertEqual((result.height, result.width, result.depth), (32, 32, 3))
      self.assertEqual(result.uint8image.shape, [32, 32, 3])
      self.assertEqual(result.label.shape, [])
      self.assertEqual(result.label.dtype, tf.int32)
      with tf.Session() as session:
        session.run(queue.enqueue([path]))
        session.run(queue.close())
        for i, (label, colour) in enumerate(zip(labels, colours, strict=True)):
          key, got_label, image = session.run([result.key, result.label, result.uint8image])
          self.assertEqual(tf.compat.as_text(key), '%s:%d' % (path, i))
          self.assertEqual(got_label, label)
          self.assertEqual(image.dtype, np.uint8)
          self.assertAllEqual(image, np.broadcast_to(np.array(colour, np.uint8), [32, 32, 3]))
        with self.assertRaises(tf.errors.OutOfRangeError):
          session.run([result.key, result.uint8image])

  def testPlanesBecomeChannels(self):
    records = numbered_records(300, 2)
    path = self.write('noise.bin', records)
    with tf.Graph().as_default():
      queue = tf.FIFOQueue(1, [tf.string], shapes=())
      image = cifar10_input.read_cifar10(queue).uint8image
      with tf.Session() as session:
        session.run(queue.enqueue([path]))
        self.assertAllEqual([session.run(image), session.run(image)], pictures(records))


class OrderTest(InputTestCase):

  def testRecordsComeInTheOrderOfTheFiles(self):
    # Files of different sizes, more records than one read takes, and a last batch of 54.
    paths = self.write_numbered(700, 5, 610)
    results = run_batches(lambda: cifar10_input.batches(paths, 97, crop, num_epochs=1))
    self.assertEqual([len(labels) for _, labels in results], [97] * 13 + [54])
    records = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, 3073) for path in paths])
    self.assertAllEqual(np.concatenate([labels for _, labels in results]), records[:, 0])
    self.assertAllEqual(np.concatenate([images for images, _ in results]),
                        pictures(records)[:, :24, :24])

  def testEveryBatchSizeGivesAllRecords(self):
    paths = self.write_numbered(60, 70)
    for batch_size in [1, 7, 128, 130, 500]:
      batches = run_numbers(paths, batch_size, num_epochs=1)
      rest = [130 % batch_size] if 130 % batch_size else []
      self.assertEqual([len(batch) for batch in batches], [batch_size] * (130 // batch_size) + rest)
      self.assertAllEqual(np.concatenate(batches), np.arange(130))

  def testEpochsInOrder(self):
    paths = self.write_numbered(20, 13)
    batches = run_numbers(paths, 32, num_epochs=3)
    self.assertAllEqual(np.concatenate(batches), np.tile(np.arange(33), 3))

  def testAnEpochSeesEveryRecordOnce(self):
    paths = self.write_numbered(60, 60, 60, 53, 60)
    for options in [dict(), dict(pipeline=REPEATABLE)]:
      for num_epochs in [1, 2]:
        batches = run_numbers(paths, 32, num_epochs=num_epochs, shuffle=True, **options)
        count = 293 * num_epochs
        self.assertEqual([len(batch) for batch in batches].count(32), count // 32)
        self.assertAllEqual(np.bincount(np.concatenate(batches)), [num_epochs] * 293)

  def testEpochsDifferInOrder(self):
    paths = self.write_numbered(40, 40, 40)
    for repeatable in [False, True]:
      options = dict(num_epochs=2, shuffle=True, pipeline=Pipeline(repeatable))
      numbers = np.concatenate(run_numbers(paths, 16, **options))
      places = np.array([np.flatnonzero(numbers == n) for n in range(120)])  # [120, 2]
      first, second = np.argsort(places[:, 0]), np.argsort(places[:, 1])
      self.assertLess(np.mean(first == second), 0.5)
      self.assertLess(np.mean(first == np.arange(120)), 0.5)

  def testRunsDifferInOrderWithoutSeed(self):
    paths = self.write_numbered(40, 40, 40)
    one, other = (np.concatenate(run_numbers(paths, 16, num_epochs=1, shuffle=True))
                  for _ in range(2))
    self.assertLess(np.mean(one == other), 0.5)

  def testShuffledBatchesMixFilesAndNeighbours(self):
    # The second files are longer than one read, so their first batches are the hardest to mix.
    for count, file_count, batch_size in [(60, 5, 32), (700, 5, 32)]:
      paths = self.write_numbered(*[count] * file_count)
      for repeatable in [False, True]:
        batches = run_numbers(paths, batch_size, num_epochs=1, shuffle=True,
                              pipeline=Pipeline(repeatable))
        for i, batch in enumerate(batches):
          if len(batch) == batch_size:
            self.assertGreater(len(set(batch // count)), 1, 'batch %d: %s' % (i, batch))
            self.assertLess(np.count_nonzero(np.diff(batch) == 1), 8, 'batch %d: %s' % (i, batch))

  def testFewerRecordsThanABatchAreRepeated(self):
    for counts in [[1], [3], [2, 1]]:
      paths = self.write_numbered(*counts)
      for options in [dict(), dict(shuffle=True), dict(shuffle=True, pipeline=REPEATABLE)]:
        for images, labels in run_batches(
            lambda options=options, paths=paths:
                cifar10_input.batches(paths, 8, crop, **options), count=3):
          self.assertAllEqual(numbers_of(images) % 10, labels)
          self.assertLen(labels, 8)
          self.assertContainsSubset(set(labels), set(range(sum(counts))))

  def testEndlessInputRepeatsTheFiles(self):
    paths = self.write_numbered(10, 7)
    results = run_batches(lambda: cifar10_input.batches(paths, 5, crop), count=11)
    numbers = np.concatenate([numbers_of(images) for images, _ in results])
    self.assertAllEqual(numbers, np.arange(55) % 17)


class SeedTest(InputTestCase):

  def testSeedRepeatsBatchesBitForBit(self):
    data_dir = self.write_data_dir(20)

    def run(seed):
      results = run_batches(
          lambda: cifar10_input.distorted_inputs(data_dir, 16, pipeline=REPEATABLE), 15, seed)
      return tuple(np.stack(arrays) for arrays in zip(*results, strict=True))

    images, labels = run(seed=7)
    self.assertEqual(images.shape, (15, 16, 24, 24, 3))  # more than two epochs of 100
    again_images, again_labels = run(seed=7)
    self.assertAllEqual(labels, again_labels)
    self.assertEqual(images.tobytes(), again_images.tobytes())
    other_images, other_labels = run(seed=8)
    self.assertNotAllEqual(labels, other_labels)
    self.assertNotAllEqual(images, other_images)

  def testSeedRepeatsOrderWithEpochs(self):
    paths = self.write_numbered(60, 60, 60)

    def run(seed):
      return np.concatenate([numbers_of(images) for images, _ in run_batches(
          lambda: cifar10_input.batches(paths, 25, crop, 2, shuffle=True,
                                        pipeline=REPEATABLE),
          seed=seed)])

    self.assertAllEqual(run(1), run(1))
    self.assertNotAllEqual(run(1), run(2))


class InputsTest(InputTestCase):

  def testInputsAreStandardisedCentresInOrder(self):
    data_dir = self.write_data_dir(9)
    # The test file is the sixth, so the numbers of its records start at 45.
    for eval_data, numbers in [(True, np.arange(45, 54)), (False, np.arange(45))]:
      results = run_batches(
          lambda eval_data=eval_data: cifar10_input.inputs(eval_data, data_dir, 10, num_epochs=1))
      records = np.concatenate([numbered_records(first, 9) for first in range(0, 54, 9)])[numbers]
      self.assertAllEqual(np.concatenate([labels for _, labels in results]), numbers % 10)
      self.assertAllClose(np.concatenate([images for images, _ in results]),
                          standardised_centre(pictures(records)), rtol=1e-4, atol=1e-4)

  def testDistortedInputsReadTheTrainingFiles(self):
    data_dir = self.write_data_dir(9)
    results = run_batches(lambda: cifar10_input.distorted_inputs(data_dir, 10, num_epochs=2))
    labels = np.concatenate([labels for _, labels in results])
    self.assertAllEqual(np.bincount(labels), np.bincount(np.tile(np.arange(45) % 10, 2)))
    images = np.concatenate([images for images, _ in results])
    self.assertEqual(images.shape, (90, 24, 24, 3))
    self.assertAllClose(images.mean(axis=(1, 2, 3)), np.zeros(90), atol=1e-3)
    self.assertAllClose(images.std(axis=(1, 2, 3)), np.ones(90), atol=1e-2)


class ChangeTest(InputTestCase):
  """Tests strengths that change during training. A bright centre pixel shows how crops moved it."""

  def _strengths(self, batches, step=0, **pipeline):
    """Returns for each batch the largest distance, in pixels, of a crop from the centre."""
    records = numbered_records(0, 60)
    records[:, 1:] = 0
    records[:, 1 + 16 * 32 + 16] = 255  # row 16, column 16 of red
    for name in TRAIN_FILES:
      self.write('cifar-10-batches-bin/' + name, records)
    strengths = []
    with tf.Graph().as_default(), tf.Session() as session:
      tf.set_random_seed(1)
      inputs = cifar10_input.distorted_inputs(
          self.directory, 60, augment=augmentation.parse('crop:4..1'),
          pipeline=Pipeline(repeatable=True, **pipeline))
      self.shown = tf.get_collection(tf.GraphKeys.SUMMARIES)
      session.run(tf.train.get_or_create_global_step().assign(step))
      session.run(tf.local_variables_initializer())
      coord = tf.train.Coordinator()
      tf.train.start_queue_runners(session, coord)
      while len(strengths) < batches:
        for images, _ in session.run(inputs if isinstance(inputs, list) else [inputs]):
          places = images[..., 0].reshape(60, -1).argmax(axis=1)
          strengths.append(abs(np.stack(np.unravel_index(places, (24, 24))) - 12).max())
      coord.request_stop()
    return strengths

  def testStrengthFollowsTheSteps(self):
    self.assertEqual(self._strengths(10, max_steps=8), [4, 4, 3, 3, 2, 2, 1, 1, 1, 1])
    self.assertIn('crop', ' '.join(summary.name for summary in self.shown))

  def testStrengthResumesAtTheGlobalStep(self):
    self.assertEqual(self._strengths(4, step=3, max_steps=8), [3, 2, 2, 1])

  def testStrengthWithSeveralBatchesInAStep(self):
    self.assertEqual(self._strengths(8, batches_per_step=2, max_steps=4), [4, 4, 3, 3, 2, 2, 1, 1])
    self.assertEqual(self._strengths(4, step=2, batches_per_step=2, max_steps=4), [2, 2, 1, 1])

  def testStrengthCountsTheStepsOfOtherWorkers(self):
    self.assertEqual(self._strengths(4, max_steps=8, steps_per_batch=2), [4, 3, 2, 1])
    self.assertEqual(self._strengths(2, step=4, max_steps=8, steps_per_batch=2), [2, 1])

  def testStrengthIsConstantWithoutMaxSteps(self):
    self.assertEqual(self._strengths(4), [4, 4, 4, 4])


class HoldOutTest(InputTestCase):

  def testEveryRecordIsInOnePart(self):
    data_dir, numbers = self.write_data_dir(20), np.arange(100)
    paths = data_files(data_dir)
    training, validation = hold_out(paths, 25)  # the last 5 of each file of 20
    for part, expected in (training, numbers[numbers % 20 < 15]), (validation,
                                                                   numbers[numbers % 20 >= 15]):
      for shuffle in False, True:
        seen = run_numbers(paths, 8, num_epochs=1, shuffle=shuffle,
                           pipeline=Pipeline(part=part))
        self.assertAllEqual(sorted(np.concatenate(seen)), expected)

  def testReadPicturesReturnsTheRequestedPictures(self):
    paths = data_files(self.write_data_dir(20))
    written = pictures(np.concatenate([np.fromfile(path, np.uint8) for path in paths])
                       .reshape(-1, 3073))
    numbers = np.arange(100)
    for part, kept in (Part(), numbers), (Part(0, 5), numbers[numbers % 20 < 15]), (
        Part(15, 0), numbers[numbers % 20 >= 15]):
      requested = [len(kept) - 1, 0, 7, 7, 16]  # out of order, repeated, and from several files
      self.assertAllEqual(read_pictures(paths, part, requested), written[kept[requested]])
    self.assertEqual(read_pictures(paths, Part(), []).shape, (0, 32, 32, 3))

  def testNoReaderHasAFooter(self):
    """TensorFlow copies the whole footer for each record. A footer of 3 MB is 27 times as slow."""
    paths = data_files(self.write_data_dir(20))
    with tf.Graph().as_default() as graph:
      for part in hold_out(paths, 25):
        cifar10_input.batches(paths, 8, tf.to_float, pipeline=Pipeline(part=part))
      readers = [op for op in graph.get_operations() if 'FixedLengthRecordReader' in op.type]
    self.assertEqual([op.get_attr('footer_bytes') for op in readers], [0, 0])

  def testHeldOutRecordsMayFillAWholeRead(self):
    """Some reads contain only held-out records, others contain both kinds."""
    data_dir = self.write_data_dir(2 * cifar10_input.READ_RECORDS)
    paths = data_files(data_dir)
    held_out = cifar10_input.READ_RECORDS + 10
    training, _ = hold_out(paths, 5 * held_out)
    count = sum(len(batch) for batch in run_numbers(paths, 64, num_epochs=1,
                                                    pipeline=Pipeline(part=training)))
    self.assertEqual(count, 5 * (cifar10_input.READ_RECORDS - 10))

  def testZeroHoldsNothingOut(self):
    paths = data_files(self.write_data_dir(20))
    self.assertEqual(hold_out(paths, 0)[0], (0, 0))

  def testWrongCountsAndUnequalFilesAreRefused(self):
    paths = data_files(self.write_data_dir(20))
    for count in 1, 24, 100, 105:
      with self.assertRaisesRegex(Failure, '--validation_examples=%d cannot be held out' % count):
        hold_out(paths, count)
    with open(paths[2], 'ab') as file:
      file.write(bytes(3073))
    with self.assertRaisesRegex(Failure, 'needs files of one size; those here have 20 to 21'):
      hold_out(paths, 25)

  def testSecondViewIsMirrored(self):
    data_dir = self.write_data_dir(4)
    test_file, = data_files(data_dir, eval_data=True)
    records = numbered_records(0, 5)
    records.tofile(test_file)
    (images, labels), = run_batches(
        lambda: cifar10_input.inputs(True, data_dir, 8, num_epochs=1, views=2))
    self.assertAllEqual(labels, records[:, 0])
    centres = standardised_centre(pictures(records))
    self.assertAllClose(images, np.concatenate([centres, centres[:, :, ::-1]]), atol=1e-4)


class GraphTest(InputTestCase):

  def testStaticShapes(self):
    paths = self.write_numbered(3, 3)
    for options in [dict(), dict(shuffle=True), dict(shuffle=True, pipeline=REPEATABLE)]:
      for num_epochs, batch_size in [(None, 5), (1, None)]:
        with tf.Graph().as_default():
          images, labels = cifar10_input.batches(paths, 5, crop, num_epochs, **options)
          self.assertEqual(images.shape.as_list(), [batch_size, 24, 24, 3])
          self.assertEqual(labels.shape.as_list(), [batch_size])
          self.assertEqual((images.dtype, labels.dtype), (tf.float32, tf.int32))

  def testStaticShapesOfTheRealDistortions(self):
    data_dir = self.write_data_dir(2)
    with tf.Graph().as_default():
      for images, labels in [cifar10_input.distorted_inputs(data_dir, 6),
                             cifar10_input.inputs(True, data_dir, 6),
                             cifar10_input.inputs(False, data_dir, 6)]:
        self.assertEqual(images.shape.as_list(), [6, 24, 24, 3])
        self.assertEqual(labels.shape.as_list(), [6])

  def testFullnessOfTheQueuesIsSummarised(self):
    paths = self.write_numbered(100, 100)
    with tf.Graph().as_default():
      cifar10_input.batches(paths, 5, crop, shuffle=True)
      merged = tf.summary.merge_all()
      with tf.train.MonitoredTrainingSession() as session:
        deadline = time.monotonic() + 30
        values = {}
        # Nothing dequeues, so in the end each queue is full.
        while time.monotonic() < deadline and set(values.values()) != {1.0}:
          summary = tf.Summary.FromString(session.run(merged))
          values = {value.tag: value.simple_value for value in summary.value
                    if value.tag.endswith('fullness')}
          self.assertAllInRange(list(values.values()), 0, 1)
    self.assertEqual(values, {'input/record_queue/fullness': 1.0,
                              'input/batch_queue/fullness': 1.0})

  def testEveryOpIsOnTheCpu(self):
    data_dir = self.write_data_dir(2)
    for options in [dict(), dict(num_epochs=1, pipeline=REPEATABLE)]:
      with tf.Graph().as_default() as graph, tf.device('/gpu:0'):
        cifar10_input.distorted_inputs(data_dir, 5, **options)
        operations = graph.get_operations()
      self.assertNotEmpty(operations)
      elsewhere = [operation.name for operation in operations
                   if not operation.device.lower().endswith('cpu:0')]
      self.assertEmpty(elsewhere)


class FailureTest(InputTestCase):

  MODES = [dict(), dict(shuffle=True), dict(shuffle=True, pipeline=REPEATABLE)]

  def first_error(self, build, damage=lambda: None):
    """Returns the error that a training loop raises after `damage()`."""
    with tf.Graph().as_default():
      batch = build()
      damage()
      with self.assertRaises(tf.errors.OpError) as caught:
        with tf.train.MonitoredTrainingSession() as session:
          for _ in range(1000):
            session.run(batch)
    return caught.exception

  def testWrongLabelNamesTheRecord(self):
    for i, options in enumerate(self.MODES):
      records = numbered_records(0, 700)
      records[[555, 560], 0] = 200  # the message must name the first
      paths = [self.write('fine%d.bin' % i, numbered_records(700, 50)),
               self.write('wrong%d.bin' % i, records)]
      error = self.first_error(
          lambda options=options, paths=paths: cifar10_input.batches(paths, 32, crop, **options))
      self.assertIsInstance(error, tf.errors.InvalidArgumentError)
      self.assertIn('%s:555' % paths[1], error.message)
      self.assertIn('label', error.message)
      self.assertNotIn('insufficient elements', error.message)

  def testLabel10IsRefusedAnd9IsNot(self):
    records = numbered_records(0, 5)
    records[:, 0] = 9
    path = self.write('nines.bin', records)
    (_, labels), = run_batches(lambda: cifar10_input.batches([path], 5, crop, num_epochs=1))
    self.assertAllEqual(labels, [9] * 5)
    records[2, 0] = 10
    path = self.write('ten.bin', records)
    error = self.first_error(lambda: cifar10_input.batches([path], 5, crop, num_epochs=1))
    self.assertIsInstance(error, tf.errors.InvalidArgumentError)
    self.assertIn('%s:2' % path, error.message)

  def testVanishedFileIsNamed(self):
    for options in self.MODES:
      for num_epochs in [None, 1]:
        paths = self.write_numbered(50, 50, 50)
        error = self.first_error(
            lambda options=options, paths=paths, num_epochs=num_epochs:
                cifar10_input.batches(paths, 32, crop, num_epochs, **options),
            lambda paths=paths: os.remove(paths[1]))
        self.assertIsInstance(error, tf.errors.NotFoundError)
        self.assertIn(paths[1], error.message)

  def testFailingDistortionIsTheFirstError(self):
    paths = self.write_numbered(50, 50)

    def broken(images):
      with tf.control_dependencies([tf.Assert(False, ['the distortion broke'])]):
        return crop(images)

    for options in self.MODES:
      error = self.first_error(
          lambda options=options: cifar10_input.batches(paths, 32, broken, **options))
      self.assertIsInstance(error, tf.errors.InvalidArgumentError)
      self.assertIn('the distortion broke', error.message)

  def testDamagedFilesAreRefusedWhenTheGraphIsBuilt(self):
    fine, = self.write_numbered(3)
    missing = os.path.join(self.directory, 'missing.bin')
    empty = self.write('empty.bin', numbered_records(0, 0))
    truncated = self.write('truncated.bin', numbered_records(0, 2))
    os.truncate(truncated, 2 * 3073 - 1)
    for path in [missing, empty, truncated, self.directory]:
      with tf.Graph().as_default() as graph:
        with self.assertRaises(Failure) as caught:
          cifar10_input.batches([fine, path], 2, crop)
        self.assertIn(path, str(caught.exception))
        self.assertNotIn('\n', str(caught.exception))
        self.assertEmpty(graph.get_operations())

  def testDataDirWithoutDataIsNamed(self):
    for build in [lambda: cifar10_input.distorted_inputs(self.directory, 2),
                  lambda: cifar10_input.inputs(True, self.directory, 2),
                  lambda: cifar10_input.inputs(False, self.directory, 2)]:
      with tf.Graph().as_default(), self.assertRaisesRegex(Failure, self.directory):
        build()

  def testCountRecords(self):
    self.assertEqual(count_records(self.write_numbered(3, 1, 12)), [3, 1, 12])


if __name__ == '__main__':
  tf.test.main()
