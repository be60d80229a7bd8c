"""Tests of --init_from in each trainer: one device, towers, and a cluster on this machine."""
import contextlib
import io
import os
import shutil
import types
from unittest import mock

import numpy as np

import cifar10
import cifar10_eval
import cifar10_train
import cifar10_train_distributed
import cifar10_train_multi_gpu
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records
from cifar10_lib.training import checkpoints, clusters, local_cluster, trainer_files
from tests import testing

EMA = '/ExponentialMovingAverage'
LAYERS = ['conv1', 'conv2', 'local3', 'local4', 'softmax_linear']
# With this recipe, a step leaves the weights unchanged.
RATE_OF_ZERO = mock.patch.dict(
    cifar10.RECIPES, tutorial=lambda steps: cifar10.tutorial(steps)._replace(learning_rate=0.0))


class TransferTest(testing.TrainerTestCase):
  """Starts runs from `source`, a run of two steps on the sample data set."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.source = os.path.join(cls.root, 'source')
    with contextlib.redirect_stdout(io.StringIO()):
      cifar10_train.train(cls._options(train_dir=cls.source, max_steps=2))
    cls.checkpoint = checkpoints.find_latest(cls.source)
    cls.saved = testing.tensors(cls.checkpoint)
    cls.renamed, cls.three = cls._copy_data('renamed', 10), cls._copy_data('three', 3)

  @classmethod
  def _copy_data(cls, name, num_classes):
    """Copies the data set with other names of classes; returns the directory. Labels are modulo."""
    directory = os.path.join(cls.root, name)
    shutil.copytree(records.find_directory(cls.data_dir), directory)
    for path in [*records.data_files(directory), *records.data_files(directory, eval_data=True)]:
      rows = np.fromfile(path, np.uint8).reshape(-1, records.RECORD_BYTES)
      rows[:, 0] %= num_classes
      rows.tofile(path)
    with open(os.path.join(directory, records.META_FILE), 'w') as file:
      file.write('\n'.join('kind %d' % label for label in range(num_classes)))
    return directory

  @classmethod
  def _options(cls, **changes):
    return testing.defaults(
        cifar10, cifar10_eval, cifar10_train, cifar10_train_distributed, cifar10_train_multi_gpu,
        **dict(dict(data_dir=cls.data_dir, batch_size=8), **changes))

  def _train(self, module=cifar10_train, **changes):
    """Trains one step; returns the output."""
    options = self._options(**dict(dict(train_dir=self.train_dir, max_steps=1), **changes))
    with contextlib.redirect_stdout(io.StringIO()) as out:
      self.assertEqual(module.train(options), 0)
    return out.getvalue()

  def _tensors(self, step):
    return testing.tensors(os.path.join(self.train_dir, 'model.ckpt-%d' % step))

  def _check_start(self, found, fresh=()):
    """Checks the values at step 0: those of `source`, except for the layers in `fresh`."""
    for layer in LAYERS:
      for name in layer + '/weights', layer + '/biases':
        self.assertAllEqual(found[name + EMA], found[name], name)
        if layer not in fresh:
          self.assertAllEqual(found[name], self.saved[name + EMA], name)
          self.assertTrue(np.any(found[name] != self.saved[name]), name)  # two steps apart
        elif 'weights' in name:
          self.assertNotAllClose(found[name], self.saved[name + EMA])
    self.assertEqual(found['global_step'], 0)

  def testEvaluationUsesTheTakenValues(self):
    """The averages of step 1 consist of the values at steps 0 and 1, which are the same here."""
    with RATE_OF_ZERO:
      out = self._train(init_from=self.source)
    self.assertIn('\nStarting from %s: took %s (moving averages).\n'
                  % (self.checkpoint, ', '.join(LAYERS)), out)
    self._check_start(self._tensors(0))
    evaluation = cifar10_eval.Evaluation(self._options(weights='ema'))
    expected, found = (evaluation.scores(path) for path in (
        self.checkpoint, os.path.join(self.train_dir, 'model.ckpt-1')))
    self.assertEqual((expected.step, found.step), (2, 1))
    self.assertAllClose(found.loss, expected.loss, rtol=1e-5)
    fresh = os.path.join(self.source, 'model.ckpt-0')
    self.assertGreater(abs(evaluation.scores(fresh).loss - expected.loss), 1e-3)

  def testSeededRunDiffersOnlyInTheTakenLayers(self):
    plain, started = os.path.join(self.train_dir, 'plain'), os.path.join(self.train_dir, 'started')
    settings = dict(data_dir=self.renamed, seed=7)
    self.assertNotIn('Starting from', self._train(train_dir=plain, **settings))
    out = self._train(train_dir=started, init_from=self.source, **settings)
    self.assertIn('; fresh: softmax_linear (class 0 is kind 0, not circle).\n', out)
    expected, found = (testing.tensors(os.path.join(path, 'model.ckpt-0'))
                       for path in (plain, started))
    self._check_start(found, fresh=['softmax_linear'])
    self.assertEqual(found.keys(), expected.keys())
    for name in expected:
      is_taken = 'softmax_linear' not in name and ('/weights' in name or '/biases' in name)
      self.assertNotEqual(np.array_equal(found[name], expected[name]), is_taken, name)
    graphs = [tf.MetaGraphDef.FromString(open(path + '/model.ckpt-0.meta', 'rb').read()).graph_def
              for path in (plain, started)]
    self.assertEqual(*[[(node.name, node.op, node.input[:]) for node in graph.node]
                       for graph in graphs])
    hparams = [trainer_files.read_status(path)['hparams'] for path in (plain, started)]
    self.assertEqual(hparams[1], hparams[0] | {'init_from': self.source})

  def testTowers(self):
    out = self._train(cifar10_train_multi_gpu, init_from=self.checkpoint, data_dir=self.three,
                      num_gpus=2, tower_device='cpu', recipe='fast')
    self.assertIn('\nStarting from %s: took conv1, conv2, local3, local4 (moving averages); fresh: '
                  'softmax_linear (3 classes, not 10).\n' % self.checkpoint, out)
    found = self._tensors(0)
    self._check_start(found, fresh=['softmax_linear'])
    self.assertAllEqual(found['conv1/weights/Momentum'], np.zeros([5, 5, 3, 64]))

  def testCluster(self):
    """The chief works as in a cluster of --local. The parameter servers are in this process."""
    addresses = local_cluster.free_addresses({'ps': 2, 'worker': 1})
    servers = [tf.train.Server(tf.train.ClusterSpec(addresses), *task)
               for task in (('ps', 0), ('ps', 1), ('worker', 0))]
    options = self._options(init_from=self.source, train_dir=self.train_dir, max_steps=1,
                            data_dir=self.renamed)
    with contextlib.redirect_stdout(io.StringIO()) as out:
      code = cifar10_train_distributed._train_as_chief(
          options, clusters.Cluster(addresses, 'worker', 0), servers[-1].target,
          types.SimpleNamespace(number=None))
    self.assertEqual(code, 0)
    self.assertIn('Starting from %s: took' % self.checkpoint, out.getvalue())
    self._check_start(self._tensors(0), fresh=['softmax_linear'])

  def testRunThatHasBegunGoesOn(self):
    self._train(init_from=self.source)
    out = self._train(init_from=os.path.join(self.root, 'deleted'), max_steps=2)
    self.assertIn('Continuing from %s/model.ckpt-1.\n--init_from=%s/deleted is not used'
                  % (self.train_dir, self.root), out)
    self.assertNotIn('Starting from', out)
    self.assertEqual(self._tensors(2)['global_step'], 2)
    # What the run began with is kept.
    self.assertEqual(trainer_files.read_status(self.train_dir)['hparams']['init_from'], self.source)

  def testSourceThatDoesNotServeIsRefused(self):
    for init_from, text in [(os.path.join(self.root, 'deleted'), 'No checkpoint in --init_from='),
                            (self.train_dir, 'is in --train_dir itself')]:
      with self.assertRaisesRegex(Failure, text):
        self._train(init_from=init_from)
    self.assertIsNone(checkpoints.find_latest(self.train_dir))


if __name__ == '__main__':
  tf.test.main()
