"""Tests of what the cells of lessons 4 to 6 call: drawings, faulty data, Ctrl-C, exercises."""
import contextlib
import io
import os
import signal
import tempfile
from unittest import mock

import numpy as np
from matplotlib import pyplot

import cifar10
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records
from lessons import control_c, diagrams, faults, lesson
from tests import testing


class DiagramsTest(tf.test.TestCase):

  def tearDown(self):
    pyplot.close('all')
    super().tearDown()

  def testNetworkNamesEveryLayerWithItsParameters(self):
    with tf.Graph().as_default() as graph:
      cifar10.inference(tf.placeholder(tf.float32, [None, 24, 24, 3], 'images'))
    # 5 * 5 * 3 * 64 + 64, 5 * 5 * 64 * 64 + 64, 2304 * 384 + 384, 384 * 192 + 192, 192 * 10 + 10
    self.assertEqual(diagrams.parameters(graph), {
        'conv1': 4864, 'conv2': 102464, 'local3': 885120, 'local4': 73920, 'softmax_linear': 1930})
    diagrams.network(graph)
    shown = [text.get_text() for text in pyplot.gca().texts]
    self.assertLen(shown, len(diagrams.LAYERS))
    self.assertIn('conv2\n12 x 12 x 64\n102,464', shown)
    self.assertIn('pool2\n6 x 6 x 64\n', shown)

  def testTilesAreRowsWithWhiteLinesBetween(self):
    tiles = diagrams.tiles(np.array([0.0, 0.25, 0.5]).reshape(3, 1, 1, 1))
    self.assertAllEqual(tiles[..., 0], [[0, 1, 0.25], [1, 1, 1], [0.5, 1, 1]])

  def testFiltersThatChangedMostComeFirst(self):
    before, after = np.zeros([5, 5, 3, 3]), np.zeros([5, 5, 3, 3])
    after[0, 0, 0] = [0.5, -2, 1]
    self.assertAllEqual(diagrams.most_changed(before, after, count=2), [1, 2])

  def testGreyIsAWeightOfZeroAndTheLargestIsFull(self):
    weights = np.zeros([5, 5, 3, 1])
    weights[0, 0], weights[4, 4] = [[2]], [[-1]]
    image = diagrams.filters(weights)
    self.assertAllEqual(image[0, 0], [1, 1, 1])
    self.assertAllEqual(image[2, 2], [0.5, 0.5, 0.5])
    self.assertAllEqual(image[4, 4], [0.25, 0.25, 0.25])

  def testMapsShareOneScale(self):
    self.assertAllEqual(diagrams.maps(np.array([[[4.0, 1.0]]])), [[1, 1, 0.25]])

  def testPrecisionHasBarsOfTwoStandardErrors(self):
    diagrams.precision_over_steps({'ema': ([10, 20], [0.5, 0.9])}, 100)
    bars, = pyplot.gca().collections
    self.assertAllClose(bars.get_segments()[0], [[10, 0.4], [10, 0.6]])  # sqrt(0.25 / 100) = 0.05

  def testLikeliestGuessComesFirst(self):
    picture = np.zeros([24, 24, 3], np.uint8)
    diagrams.guesses([picture], [picture], list('abc'), np.array([[0.2, 0.7, 0.1]]), count=2)
    axis = pyplot.gcf().axes[2]
    self.assertEqual([label.get_text() for label in axis.get_yticklabels()], ['b', 'a'])
    self.assertAllClose([bar.get_width() for bar in axis.patches], [0.7, 0.2])


class FaultsTest(testing.SampleTestCase):

  def setUp(self):
    super().setUp()
    self.enter_context(mock.patch.object(lesson, 'RUNS', tempfile.mkdtemp(dir=self.root)))
    self.enter_context(mock.patch.object(
        lesson, 'data_dir', records.find_directory(self.data_dir)))
    self.raw = self._read(lesson.data_dir)

  def _read(self, folder):
    return np.concatenate([np.fromfile(path, np.uint8).reshape(-1, 3073)
                           for path in records.data_files(folder)])

  def testSortedRecordsAreTheSameInTheOrderOfTheirClasses(self):
    changed = self._read(faults.copy(faults.sorted_by_class))
    self.assertAllEqual(changed[:, 0], np.sort(self.raw[:, 0]))
    self.assertCountEqual(map(bytes, changed), map(bytes, self.raw))

  def testShuffledLabelsLeaveThePictures(self):
    folder = faults.copy(faults.shuffled_labels)
    changed = self._read(folder)
    self.assertAllEqual(changed[:, 1:], self.raw[:, 1:])
    self.assertAllEqual(np.sort(changed[:, 0]), np.sort(self.raw[:, 0]))
    self.assertNotAllEqual(changed[:, 0], self.raw[:, 0])
    records.check_data(folder)
    with open(os.path.join(folder, records.TEST_FILE), 'rb') as copied, \
         open(os.path.join(lesson.data_dir, records.TEST_FILE), 'rb') as original:
      self.assertEqual(copied.read(), original.read())

  def testTakesTheFirstRecordsOfEachFile(self):
    with mock.patch.object(faults, 'PER_FILE', 3):
      changed = self._read(faults.copy(lambda raw: raw))
    self.assertAllEqual(changed, self.raw.reshape(5, 10, 3073)[:, :3].reshape(15, 3073))


  def testFaultsReachTheTrainer(self):
    fast = cifar10.RECIPES['fast'](4)
    with mock.patch.object(faults.cifar10_train, 'train', return_value=0) as train, \
         mock.patch.object(lesson, 'scalars', return_value={'cross_entropy__raw_': 'curve'}), \
         mock.patch.dict(cifar10.RECIPES):
      self.assertEqual(faults.train('a', 4, rate=20, decay=0), 'curve')
      recipe = faults.cifar10_train.recipe_of(train.call_args.args[0])
      faults.train('b', 4, data=faults.sorted_by_class, shuffle=False)
    options, build = train.call_args.args
    self.assertEqual(recipe, fast._replace(learning_rate=1.0, muon_rate=20 * fast.muon_rate,
                                           weight_decay=0.0, muon_decay=0.0))
    self.assertEqual(build.keywords, {'shuffle': False})
    self.assertAllEqual(self._read(options.data_dir)[:, 0], np.sort(self.raw[:, 0]))

  def testTestPictureIsThatOfItsNumber(self):
    record = np.fromfile(os.path.join(lesson.data_dir, records.TEST_FILE), np.uint8)[3073:2 * 3073]
    picture = lesson.test_picture(1)
    self.assertEqual(picture.shape, (1, 32, 32, 3))
    self.assertAllEqual(picture[0, :, :, 2].ravel(), record[1 + 2048:])


class ControlCTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    self.addCleanup(signal.signal, signal.SIGINT, before)

  def testInterruptEndsTheBlockAfterItsLine(self):
    lines = io.StringIO()
    with contextlib.redirect_stdout(lines):
      with control_c.after('step 2,'):
        for step in range(5):
          print('step %d, loss' % step)
    self.assertEqual(lines.getvalue(), 'step 0, loss\nstep 1, loss\nstep 2, loss^C\n')

  def testInterruptOfTheReaderIsRaised(self):
    with contextlib.redirect_stdout(io.StringIO()), self.assertRaises(KeyboardInterrupt):
      with control_c.after('never printed'):
        signal.raise_signal(signal.SIGINT)

  def testInterruptedTrainingEndsTheCell(self):
    control_c.check(0)
    with self.assertRaisesRegex(KeyboardInterrupt, 'Run the cell again'):
      control_c.check(130)


class ExercisesTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.enter_context(mock.patch.object(lesson, 'data_dir', self.get_temp_dir()))
    self.enter_context(mock.patch.object(lesson, 'is_sample', return_value=True))

  def testWrongAnswersAreNotRight(self):
    gradient = [[0.7, 0.7, 0.7]] * 3
    curves = {'global_step/sec': (np.array([10]), np.array([20.0]))}
    for exercise, answers in {
        '4.1': [8 * 8 * 64 * 384, 885120, 0, None, 'x'], '4.2': [2.303, 2, 6.64, 0.01, None],
        '4.3': [gradient, [0.7], [[0, 0, 0], [0, 0, 0], [0, 0, 0.7]], None, 'x'],
        '5.1': [120, 50, None], '5.2': [20, 16, None], '5.3': ['a', 'b', 'd', 'x', None],
        '6.1': [8.19e-6, 0.00572, 0.91, None], '6.2': [9000, 90, None],
        '6.3': [0.9, 0.75, None]}.items():
      for answer in answers:
        with contextlib.redirect_stdout(io.StringIO()) as out, \
             mock.patch.object(lesson, 'scalars', return_value=curves):
          lesson.check(exercise, answer)
        self.assertIn('%s: Not yet: ' % exercise, out.getvalue(), answer)

  def testSpeedNeedsARun(self):
    with contextlib.redirect_stdout(io.StringIO()) as out, \
         mock.patch.object(lesson, 'scalars', return_value={}):
      lesson.check('5.2', 320)
    self.assertIn('Run the cells under "Start and stop" first', out.getvalue())
