"""Tests of starting from another run's layers: finding, comparing, taking."""
import contextlib
import io
import os

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records
from cifar10_lib.training import checkpoints, transfer
from tests import testing

EMA = transfer.AVERAGE
# Layers of a small network of three classes: shapes by the name of the variable.
SHAPES = {'conv1/weights': [2, 4], 'conv1/biases': [4],
          'softmax_linear/weights': [4, 3], 'softmax_linear/biases': [3]}


def values(shapes, start):
  """Returns a dict from name to float32 array; each element of all arrays has another value."""
  arrays = {}
  for name, shape in shapes.items():
    arrays[name] = start + np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    start += 100
  return arrays


class TransferTestCase(testing.DirectoryTestCase):

  def setUp(self):
    super().setUp()
    self.source, self.train_dir = self.path('source'), self.path('train')
    os.mkdir(self.source)
    os.mkdir(self.train_dir)

  def save(self, arrays, step=7, directory=None):
    """Saves a checkpoint with these values; returns its path."""
    with tf.Graph().as_default(), tf.Session() as session:
      variables = [tf.get_variable(name, initializer=value) for name, value in arrays.items()]
      session.run(tf.global_variables_initializer())
      return tf.train.Saver(variables, max_to_keep=9).save(
          session, os.path.join(directory or self.source, 'model.ckpt'), step)

  def write_names(self, directory, names):
    with open(os.path.join(directory, records.META_FILE), 'w') as file:
      file.write('\n'.join(names) + '\n')

  def damage(self, path):
    with open(path + '.data-00000-of-00001', 'r+b') as file:
      file.truncate(3)


class FindTest(TransferTestCase):

  def testNothingIsFoundWithoutTheFlag(self):
    self.assertIsNone(transfer.find(None, self.train_dir))
    self.assertIsNone(transfer.find('', self.train_dir))

  def testLatestSoundCheckpointIsFound(self):
    first, second = (self.save(values(SHAPES, 0), step) for step in (7, 8))
    os.remove(os.path.join(self.source, 'checkpoint'))  # it lists only the second
    self.assertEqual(transfer.find(self.source, self.train_dir), second)
    self.assertEqual(transfer.find(self.source + '/', self.train_dir), second)
    self.assertEqual(transfer.find(first, self.train_dir), first)
    self.damage(second)
    with contextlib.redirect_stderr(io.StringIO()) as printed:
      self.assertEqual(transfer.find(self.source, self.train_dir), first)
    self.assertIn('%s is damaged' % second, printed.getvalue())
    with self.assertRaisesRegex(Failure, 'ckpt-8 is damaged .* another checkpoint for --init_from'):
      transfer.find(second, self.train_dir)
    self.damage(first)
    with self.assertRaisesRegex(Failure, 'No checkpoint in .*source is sound'):
      transfer.find(self.source, self.train_dir)

  def testMissingCheckpointIsRefused(self):
    for path in self.source, self.path('nowhere'):
      with self.assertRaisesRegex(Failure, 'No checkpoint in --init_from=%s. Give' % path):
        transfer.find(path, self.train_dir)

  def testOwnDirectoryIsRefused(self):
    path = self.save(values(SHAPES, 0))
    os.symlink(self.source, self.path('link'))
    self.addCleanup(os.remove, self.path('link'))
    for init_from in self.source, self.path('link'), path, self.path('link', 'model.ckpt-7'):
      for latest in None, path:
        with self.assertRaisesRegex(Failure, 'is in --train_dir itself'):
          transfer.find(init_from, self.source, latest)

  def testRunThatHasBegunNeedsNoSource(self):
    self.assertIsNone(transfer.find(self.path('nowhere'), self.train_dir, 'model.ckpt-3'))


class CompareTest(TransferTestCase):

  def compare(self, path, shapes=SHAPES):
    """Compares a checkpoint with a graph of these shapes; returns names taken, reasons by layer."""
    with tf.Graph().as_default():
      tf.get_variable('global_step', [], trainable=False)
      for name, shape in shapes.items():
        tf.get_variable(name, shape)
      compared = transfer.compare(path, self.train_dir)
    self.assertEqual(compared.path, path)
    return {layer: sorted(variable.op.name for variable in variables)
            for layer, variables in compared.taken.items()}, compared.fresh

  def testLayersOfOneShapeAreTaken(self):
    taken, fresh = self.compare(self.save(values(SHAPES, 0)))
    self.assertEqual(taken, {'conv1': ['conv1/biases', 'conv1/weights'],
                             'softmax_linear': ['softmax_linear/biases', 'softmax_linear/weights']})
    self.assertEqual(fresh, {})

  def testLayerIsTakenWholeOrNot(self):
    path = self.save(values(SHAPES, 0))
    more = SHAPES | {'conv1/weights': [3, 4], 'conv2/weights': [2], 'scale': []}
    taken, fresh = self.compare(path, more)
    self.assertEqual(list(taken), ['softmax_linear'])
    self.assertEqual(fresh, {'conv1': 'conv1/weights has shape [2, 4], not [3, 4]',
                             'conv2': 'conv2/weights is missing', 'scale': 'scale is missing'})

  def testNumberOfClassesIsCompared(self):
    path = self.save(values(SHAPES, 0))
    taken, fresh = self.compare(path, SHAPES | {'softmax_linear/weights': [4, 2],
                                                'softmax_linear/biases': [2]})
    self.assertEqual(list(taken), ['conv1'])
    self.assertEqual(fresh, {'softmax_linear': '2 classes, not 3'})

  def testLastLayerWithOtherInputsIsFresh(self):
    _, fresh = self.compare(self.save(values(SHAPES, 0)),
                            SHAPES | {'softmax_linear/weights': [5, 3]})
    self.assertEqual(fresh, {
        'softmax_linear': 'softmax_linear/weights has shape [4, 3], not [5, 3]'})

  def testNamesOfClassesAreCompared(self):
    path = self.save(values(SHAPES, 0))
    self.write_names(self.train_dir, ['cat', 'dog', 'frog'])
    self.assertEqual(self.compare(path)[1], {})  # no names beside the checkpoint
    for names, reason in [(['cat', 'dog', 'frog'], None),
                          (['cat', 'frog', 'dog'], 'class 1 is dog, not frog'),
                          (['\x1b[2J', 'dog', 'frog'], r'class 0 is cat, not \x1b[2J')]:
      self.write_names(self.source, names)
      self.assertEqual(self.compare(path)[1].get('softmax_linear'), reason)
    os.remove(os.path.join(self.train_dir, records.META_FILE))
    self.assertEqual(self.compare(path)[1], {})

  def testCheckpointOfAnotherNetworkIsRefused(self):
    path = self.save({'dense/kernel': np.zeros([3], np.float32)})
    with self.assertRaises(Failure) as caught:
      self.compare(path)
    self.assertEqual(
        str(caught.exception),
        '%s is of another network, so that no layer can be taken: conv1/biases is missing; '
        'conv1/weights is missing; softmax_linear/biases is missing and 1 more. Choose another '
        '--init_from, or leave it out.' % path)
    # The last layer alone would fit, but it is of other classes.
    path = self.save(values({name: SHAPES[name] for name in SHAPES if 'soft' in name}, 0))
    self.write_names(self.train_dir, ['a', 'b', 'c'])
    self.write_names(self.source, ['a', 'b', 'd'])
    with self.assertRaisesRegex(Failure, 'conv1/weights is missing; class 2 is c, not d. Choose'):
      self.compare(path)


class TakeTest(TransferTestCase):

  def start(self, source):
    """Starts a run whose fresh values are `values(SHAPES, 5000)`, with averages for all.

    Returns what it printed, and a dict from name to value.
    """
    with tf.Graph().as_default() as graph, tf.Session() as session, \
         contextlib.redirect_stdout(io.StringIO()) as printed:
      step = tf.train.get_or_create_global_step()
      for name, value in values(SHAPES, 5000).items():
        tf.get_variable(name, initializer=value)
      tf.train.ExponentialMovingAverage(0.9, step).apply(tf.trainable_variables())
      saver, initialise = checkpoints.build_saver(5), tf.global_variables_initializer()
      ops = len(graph.get_operations())
      start = transfer.starter(self.train_dir, saver, source)
      if source and not checkpoints.find_latest(self.train_dir):
        self.assertLen(graph.get_operations(), ops)
      graph.finalize()
      session.run(initialise)
      start(session)
      return printed.getvalue(), {
          variable.op.name: session.run(variable) for variable in tf.global_variables()}

  def testAveragesAreTakenWhereThereAreAny(self):
    raw, averages = values(SHAPES, 0), values(SHAPES, 1000)
    with_averages = raw | {name + EMA: value for name, value in averages.items()}
    mixed = {name: value for name, value in with_averages.items()
             if not name.startswith('conv1/weights/')}
    for saved, expected, kind in [
        (with_averages, averages, 'moving averages'),
        (raw, raw, 'the values of its last step'),
        (mixed, averages | {'conv1/weights': raw['conv1/weights']},
         'moving averages where it has any')]:
      source = self.save(saved | {'global_step': np.int64(7)})
      printed, found = self.start(source)
      self.assertEqual(
          printed, 'Starting from %s: took conv1, softmax_linear (%s).\n' % (source, kind))
      self.assertEqual(found['global_step'], 0)
      for name, value in expected.items():
        self.assertAllEqual(found[name], value)
        self.assertAllEqual(found[name + EMA], value)

  def testFreshLayersKeepTheirInitialValues(self):
    source = self.save(values(SHAPES | {'softmax_linear/weights': [4, 10],
                                        'softmax_linear/biases': [10]}, 0))
    printed, found = self.start(source)
    self.assertEqual(printed, 'Starting from %s: took conv1 (the values of its last step); '
                              'fresh: softmax_linear (3 classes, not 10).\n' % source)
    fresh, taken = values(SHAPES, 5000), values(SHAPES, 0)
    for name in SHAPES:
      expected = (taken if 'conv1' in name else fresh)[name]
      self.assertAllEqual(found[name], expected)
      self.assertAllEqual(found[name + EMA], expected)

  def testOwnCheckpointComesFirst(self):
    _, own = self.start(None)
    own = {name: value + 1 for name, value in own.items()}
    self.save(own, 3, self.train_dir)
    printed, found = self.start(self.path('nowhere', 'model.ckpt-9'))
    self.assertEqual(printed, '')
    for name, value in own.items():
      self.assertAllEqual(found[name], value)

  def testVanishedSourceIsNamed(self):
    with self.assertRaisesRegex(Failure, 'nowhere.* cannot be read'):
      self.start(self.path('nowhere', 'model.ckpt-9'))


if __name__ == '__main__':
  tf.test.main()
