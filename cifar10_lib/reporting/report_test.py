"""Tests of the report of an evaluation, compared with figures computed by hand."""
import csv
import io
import os
import tempfile

import numpy as np
from PIL import Image

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.reporting import report

NAMES = ['cat', 'dog', 'ship']
#              cat  dog  ship
ROWS = [('cat', .7, .2, .1),
        ('cat', .1, .8, .1),
        ('dog', .3, .4, .3),
        ('dog', .9, .05, .05),
        ('dog', .2, .6, .2),
        ('dog', .4, .4, .2)]  # a tie: the first class counts


def _scores(rows=ROWS, step=7):
  labels = np.array([NAMES.index(row[0]) for row in rows], np.int32)
  return report.Scores(step, labels, np.log([row[1:] for row in rows]).astype(np.float32))


def _black(numbers):
  """Returns black pictures for `report.draw`."""
  return np.zeros([len(numbers), 4, 4, 3], np.uint8)


class ReportTest(tf.test.TestCase):

  def testPredictionsConfusionAndLossAreCounted(self):
    scores = _scores()
    self.assertAllEqual(scores.predictions, [0, 1, 1, 0, 1, 0])
    self.assertAllEqual(scores.right, [True, False, True, False, True, False])
    self.assertAllEqual(scores.confusion(), [[1, 1, 0], [2, 2, 0], [0, 0, 0]])
    self.assertAllEqual(scores.accuracies(), [0.5, 0.5, np.nan])
    self.assertAllClose(scores.loss, -np.mean(np.log([.7, .1, .4, .05, .6, .4])))

  def testWorstMistakesAreTheMostConfident(self):
    self.assertAllEqual(_scores().worst(25), [3, 1, 5])
    self.assertAllEqual(_scores().worst(2), [3, 1])
    self.assertEmpty(_scores(ROWS[:1]).worst(25))

  def testTableShowsAccuraciesAndCounts(self):
    self.assertEqual(report.table(_scores(), NAMES).splitlines(), [
        'true class accuracy     cat   dog  ship',
        'cat           0.500       1     1     0',
        'dog           0.500       2     2     0',
        'ship            nan       0     0     0',
        '(rows: true class; columns: predicted class)'])

  def testTableFitsOwnNames(self):
    names = ['golden retriever', '猫', 'W' * 50]
    self.assertEqual(report.table(_scores(), names).splitlines(), [
        'true class                    accuracy   golde    猫 WWWWW',
        'golden retriever                 0.500       1     1     0',
        '猫                               0.500       2     2     0',
        'WWWWWWWWWWWWWWWWWWWWWWWWWWWWW…     nan       0     0     0',
        '(rows: true class; columns: predicted class)'])

  def _many(self, wrong):
    """Returns scores of 18 classes with two pictures each, and their names.

    `wrong` is a list of (picture, predicted class); picture i has the label i // 2. The last class
    has no picture.
    """
    labels = np.repeat(np.arange(17, dtype=np.int32), 2)
    predicted = labels.copy()
    for picture, prediction in wrong:
      predicted[picture] = prediction
    names = ['name %d' % i for i in range(18)]
    return report.Scores(7, labels, np.log(np.eye(18)[predicted] + 1e-9)), names

  def testManyClassesAreListed(self):
    scores, names = self._many([(0, 5), (8, 0), (6, 2), (7, 2)])
    self.assertAllEqual(scores.confused(), [[3, 2], [0, 5], [4, 0]])
    right = [label for label in range(17) if label not in (0, 3, 4)]
    cells = ['name %-6d %.3f' % cell for cell in
             [(3, 0), (0, 0.5), (4, 0.5), *[(label, 1) for label in right]]] + ['name 17       nan']
    self.assertEqual(report.table(scores, names).splitlines(), [
        'accuracy of each class, the lowest first',
        *['   '.join(cells[first:first + 5]) for first in (0, 5, 10, 15)],
        'confused classes: pictures, true class -> predicted class, share of the true class',
        '     2   name 3      -> name 2      1.000',
        '     1   name 0      -> name 5      0.500',
        '     1   name 4      -> name 0      0.500',
        '(3 pairs in all)'])

  def testMostFrequentPairsAreListed(self):
    scores, names = self._many([(picture, (picture // 2 + 1 + picture % 2) % 18)
                                for picture in range(34)])
    lines = report.table(scores, names).splitlines()
    self.assertLen([line for line in lines if '->' in line], 1 + 20)
    self.assertEqual(lines[-1], 'and 14 more pairs')
    scores, names = self._many([])
    self.assertEqual(scores.confused().shape, (0, 2))
    self.assertEndsWith(report.table(scores, names), '\n(0 pairs in all)')

  def _rows(self, write):
    path = os.path.join(self.get_temp_dir(), 'table.csv')
    for _ in range(2):  # the second table replaces the first
      write(path, _scores(), NAMES)
    with open(path, newline='') as file:
      return list(csv.reader(file))

  def testConfusionCsv(self):
    self.assertEqual(self._rows(report.write_confusion), [
        ['label', 'cat', 'dog', 'ship'],
        ['cat', '1', '1', '0'], ['dog', '2', '2', '0'], ['ship', '0', '0', '0']])

  def testOnlyRegularFilesAreReplaced(self):
    fifo = os.path.join(self.get_temp_dir(), 'fifo')
    os.mkfifo(fifo)
    for path in fifo, '/dev/full', '/dev/null':
      with self.assertRaisesRegex(Failure, '%s cannot be written: it is no regular file' % path):
        report.require_writable(path)
    target, link = (os.path.join(self.get_temp_dir(), name) for name in ('target.csv', 'link.csv'))
    os.symlink(target, link)
    report.require_writable(link)
    report.write_confusion(link, _scores(), NAMES)
    self.assertTrue(os.path.islink(link))
    self.assertGreater(os.path.getsize(target), 0)

  def testPredictionsCsv(self):
    self.assertEqual(self._rows(report.write_predictions), [
        ['index', 'label', 'prediction', 'probability'],
        ['0', 'cat', 'cat', '0.700000'], ['1', 'cat', 'dog', '0.800000'],
        ['2', 'dog', 'dog', '0.400000'], ['3', 'dog', 'cat', '0.900000'],
        ['4', 'dog', 'dog', '0.600000'], ['5', 'dog', 'cat', '0.400000']])

  def testMistakesAsAFile(self):
    path = os.path.join(self.get_temp_dir(), 'mistakes.png')
    drawn = report.draw(_scores(), NAMES, _black)
    report.write_mistakes(path, drawn)
    with Image.open(path) as picture:
      self.assertEqual(picture.format, 'PNG')
    with self.assertRaisesRegex(Failure, 'nowhere/mistakes.png cannot be written'):
      report.write_mistakes(os.path.join(self.get_temp_dir(), 'nowhere', 'mistakes.png'), drawn)

  def testDrawingsReplaceEarlierOnes(self):
    directory = tempfile.mkdtemp(dir=self.get_temp_dir())
    for step in 7, 8:
      drawn = report.draw(_scores(step=step), NAMES, _black)
      report.write_drawings(directory, drawn)
    self.assertCountEqual(os.listdir(directory), ['confusion.png', 'mistakes.png'])
    for name, png in ('confusion.png', drawn.confusion), ('mistakes.png', drawn.mistakes):
      with open(os.path.join(directory, name), 'rb') as file:
        self.assertEqual(file.read(), png)
    with self.assertRaises(OSError):
      report.write_drawings(os.path.join(directory, 'nowhere'), drawn)

  def _values(self, label=''):
    """Returns the values of the summary by tag."""
    requested = []
    def pictures(numbers):
      requested.extend(numbers)
      return _black(numbers)
    drawn = report.draw(_scores(), NAMES, pictures)
    self.assertEqual(requested, [3, 1, 5])
    summary = report.summary(_scores(), NAMES, drawn, label)
    return {value.tag: value for value in summary.value}

  def testSummaryHasScalarsAndPictures(self):
    values = self._values()
    scalars = {tag: value.simple_value for tag, value in values.items()
               if value.HasField('simple_value')}
    self.assertAllClose(scalars, {
        'At a glance/Precision @ 1': 0.5, 'Precision @ 1': 0.5,
        'Mean loss': -np.mean(np.log([.7, .1, .4, .05, .6, .4])),
        'accuracy of one class/cat': 0.5, 'accuracy of one class/dog': 0.5})  # no picture is a ship
    self.assertEqual(min(values), 'At a glance/Precision @ 1')  # TensorBoard sorts by code too
    for tag in 'Confusion matrix', 'Worst mistakes':
      image = values[tag].image
      picture = Image.open(io.BytesIO(image.encoded_image_string))
      self.assertEqual(picture.size, (image.width, image.height))
      self.assertGreater(len(set(picture.convert('L').getdata())), 10)  # not blank

  def testPrecisionRecallCurveOfAClass(self):
    curve = tf.make_ndarray(self._values()['Precision-recall/dog/pr_curves'].tensor)
    true, false, _, _, precision, recall = curve[:, 110]  # at a threshold of 0.55
    self.assertEqual([true, false], [1, 1])  # predicted dog: .8 is wrong, .6 is right
    self.assertAllClose([precision, recall], [0.5, 0.25])

  def testTagsAreOneLevelAndUnique(self):
    names = ['n/a', 'n_a', 'a b', '$%', '猫', 'a b', '..']
    scores = report.Scores(1, np.arange(7, dtype=np.int32), np.log(np.eye(7) + 1e-9))
    tags = [value.tag for value in report.summary(
        scores, names, report.draw(scores, names, _black)).value]
    expected = ['n_a (class 0)', 'n_a (class 1)', 'a b (class 2)', '$%', '猫', 'a b (class 5)',
                '..']
    self.assertEqual([tag for tag in tags if tag.startswith('accuracy of one class/')],
                     ['accuracy of one class/' + name for name in expected])
    self.assertEqual([tag for tag in tags if tag.startswith('Precision-recall/')],
                     ['Precision-recall/%s/pr_curves' % name for name in expected])

  def testEventsOfManyClassesStaySmall(self):
    scores = report.Scores(1, np.arange(256, dtype=np.int32), np.log(np.eye(256) + 1e-9))
    names = ['name %d' % i for i in range(256)]
    summary = report.summary(scores, names, report.draw(scores, names, _black))
    curves = [value for value in summary.value if value.tag.startswith('Precision-recall/')]
    self.assertLen(curves, 256)
    self.assertLess(sum(curve.ByteSize() for curve in curves), 250_000)
    self.assertEqual(tf.make_ndarray(curves[0].tensor).shape, (6, 31))

  def testOtherViewsAreLabelled(self):
    for tag in self._values(' (2 views)'):
      self.assertIn(' (2 views)', tag)

  def testHyperParametersAreShownWithTheirTypes(self):
    from tensorboard.plugins.hparams import metadata
    values = {value.tag: value.metadata.plugin_data.content
              for value in report.hyper_parameters(
                  {'rate': 1, 'seed': None, 'recipe': 'fast', 'use_fp16': True}, 'my run').value}
    shown = metadata.parse_experiment_plugin_data(values['_hparams_/experiment'])
    self.assertEqual([(info.name, info.differs) for info in shown.hparam_infos],
                     [('rate', False), ('recipe', True), ('use_fp16', False)])
    self.assertEqual([info.name.tag for info in shown.metric_infos], ['Precision @ 1', 'Mean loss'])
    start = metadata.parse_session_start_info_plugin_data(values['_hparams_/session_start_info'])
    self.assertEqual(start.group_name, 'my run')
    self.assertEqual(set(start.hparams), {'rate', 'recipe', 'use_fp16'})
    self.assertEqual(start.hparams['rate'].number_value, 1.0)
    self.assertEqual(start.hparams['recipe'].string_value, 'fast')
    self.assertIs(start.hparams['use_fp16'].bool_value, True)

  def testHyperParametersNameTheMetricsOfTheirViews(self):
    from tensorboard.plugins.hparams import metadata
    value, _ = report.hyper_parameters({'rate': 1}, 'my run', ' (2 views)').value
    shown = metadata.parse_experiment_plugin_data(value.metadata.plugin_data.content)
    self.assertContainsSubset([info.name.tag for info in shown.metric_infos],
                              self._values(' (2 views)'))


if __name__ == '__main__':
  tf.test.main()
