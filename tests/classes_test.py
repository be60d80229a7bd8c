"""Tests all programs on data sets of other classes than CIFAR-10's, and that none are mixed up."""
import contextlib
import io
import os
import tempfile
from unittest import mock

import numpy as np
from absl.testing import flagsaver
from PIL import Image

import cifar10
import cifar10_eval
import cifar10_input
import cifar10_predict
import cifar10_train
import cifar10_train_distributed
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records, sample
from cifar10_lib.training import checkpoints, clusters, trainer_files
from tests import testing

THREE = ['golden retriever', '猫', '100% $5$ n/a']
HUNDRED = ['name %d' % i for i in range(100)]


def setUpModule():
  cifar10.FLAGS.mark_as_parsed()


class ClassesTest(testing.SampleTestCase):
  TEST_EXAMPLES = 30

  def setUp(self):
    super().setUp()
    self.directory = tempfile.mkdtemp(dir=self.root)
    self.train_dir = os.path.join(self.directory, 'train')
    self.options = dict(train_dir=self.train_dir, checkpoint_dir=self.train_dir, batch_size=5,
                        eval_dir=os.path.join(self.directory, 'eval'), run_once=True, max_steps=2)

  def _data(self, names):
    """Makes a data set of these classes; returns its directory."""
    path = tempfile.mkdtemp(dir=self.directory)
    testing.relabel(self.data_dir, names, os.path.join(path, 'data'))
    return os.path.join(path, 'data')

  def _run(self, program, data_dir, **changes):
    """Runs cifar10_train or cifar10_eval; returns what it prints."""
    modules = [cifar10, cifar10_train, cifar10_eval, cifar10_train_distributed]
    options = testing.defaults(*modules, **{**self.options, 'data_dir': data_dir, **changes})
    with contextlib.redirect_stdout(io.StringIO()) as out:
      program(options)
    return out.getvalue()

  def _refuses(self, *texts):
    """Returns a context in which a Failure of one line with these texts must be raised."""
    @contextlib.contextmanager
    def context():
      with self.assertRaises(Failure) as caught:
        yield
      message = str(caught.exception)
      self.assertNotIn('\n', message)
      for text in texts:
        self.assertIn(text, message)
    return context()

  def testAllProgramsFollowTheNames(self):
    picture = os.path.join(self.directory, 'picture.png')
    Image.fromarray(np.arange(48 * 40 * 3, dtype=np.uint8).reshape(48, 40, 3)).save(picture)
    for names, table in (THREE, 'true class '), (HUNDRED, 'accuracy of each class'):
      with self.subTest(len(names)):
        self.options.update(train_dir=self.train_dir + names[0],
                            checkpoint_dir=self.train_dir + names[0])
        data_dir = self._data(names)
        self._run(cifar10_train.train, data_dir)
        latest = checkpoints.find_latest(self.options['train_dir'])
        tensors = testing.tensors(latest)
        self.assertEqual(tensors['softmax_linear/weights'].shape, (192, len(names)))
        self.assertEqual(records.class_names(self.options['train_dir']), names)
        out = self._run(cifar10_eval.evaluate, data_dir)
        self.assertRegex(out, r'precision @ 1 = \d\.\d{3} \(\d+/30\) at step 2')
        self.assertIn('\n%s' % table, out)

        changes = dict(checkpoint_path=latest, top_k=1000, json=False, export=None)
        with flagsaver.flagsaver(**changes), contextlib.redirect_stdout(io.StringIO()) as out:
          self.assertEqual(cifar10_predict.main(['program', picture]), 0)
        line = out.getvalue().splitlines()[1]
        for name in names:
          self.assertIn(' %s 0.' % name, line)
        self.assertEqual(line.count(' 0.'), len(names))

        model = os.path.join(self.directory, 'model %d' % len(names))
        with flagsaver.flagsaver(**dict(changes, export=model)), \
             contextlib.redirect_stdout(io.StringIO()):
          self.assertEqual(cifar10_predict.main(['program']), 0)
        with tf.Graph().as_default(), tf.Session() as session:
          signature = tf.saved_model.load(session, ['serve'], model).signature_def[
              'serving_default']
          found, shares = session.run(
              [signature.outputs[key].name for key in ('names', 'probabilities')],
              {signature.inputs['images'].name: np.zeros([2, 32, 32, 3], np.uint8)})
        self.assertEqual(found.shape, (2, len(names)))
        self.assertCountEqual([name.decode() for name in found[0]], names)
        self.assertAllClose(shares.sum(axis=1), [1, 1])

  def testTrainingOnOtherClassesIsRefused(self):
    data_dir = self._data(THREE)
    self._run(cifar10_train.train, data_dir)
    before = sorted(os.listdir(self.train_dir))
    other, renamed = self._data(list('abcd')), self._data(THREE[:2] + ['dog'])
    for max_steps in 2, 3:  # nothing to do, and one step to do
      with self._refuses('%s has learned 3 classes (golden retriever, 猫, ...), %s has 4 (a, b, '
                         '...). Choose another --train_dir or --data_dir.'
                         % (self.train_dir, other)):
        self._run(cifar10_train.train, other, max_steps=max_steps)
      with self._refuses('%s has learned 3 classes (..., 100%% $5$ n/a), %s has 3 (..., dog).'
                         % (self.train_dir, renamed)):
        self._run(cifar10_train.train, renamed, max_steps=max_steps)
    self.assertEqual(sorted(os.listdir(self.train_dir)), before)
    self.assertEqual(records.class_names(self.train_dir), THREE)
    self.assertEqual(trainer_files.read_status(self.train_dir)['state'], 'finished')
    self.assertIn('Nothing to do', self._run(cifar10_train.train, data_dir))

    # A cluster: the program that starts one here, and a chief that TF_CONFIG names.
    with mock.patch.object(cifar10, 'maybe_download_and_extract'), \
         self._refuses('learned 3 classes', '--train_dir'):
      self._run(cifar10_train_distributed.train_locally, other, local='ps:1,worker:1')
    addresses = {'ps': ['localhost:1'], 'worker': ['localhost:2']}
    chief = clusters.Cluster(addresses, 'worker', 0)
    with mock.patch.object(cifar10_train_distributed.tf.train, 'Server'), \
         self._refuses('learned 3 classes', '--train_dir'):
      self._run(lambda options: cifar10_train_distributed.train(options, chief), other,
                allow_network=True)

  def testScoringOnOtherClassesIsRefused(self):
    data_dir = self._data(THREE)
    self._run(cifar10_train.train, data_dir)
    with self._refuses('%s has learned 3 classes (golden retriever, 猫, ...), %s has 10 (circle, '
                       'ring, ...). Choose another --checkpoint_dir or --data_dir.'
                       % (self.train_dir, self.data_dir)):
      self._run(cifar10_eval.evaluate, self.data_dir)
    swapped = self._data([THREE[1], THREE[0], THREE[2]])
    with self._refuses('3 classes (golden retriever, 猫, ...), %s has 3 (猫, golden retriever, ...)'
                       % swapped):
      self._run(cifar10_eval.evaluate, swapped)
    # An older trainer wrote no names. Then their number counts.
    os.remove(os.path.join(self.train_dir, records.META_FILE))
    self.assertIn('at step 2', self._run(cifar10_eval.evaluate, swapped))
    with self._refuses('%s has learned 3 classes, %s has 10 (circle, ring, ...).'
                       % (self.train_dir, self.data_dir)):
      self._run(cifar10_eval.evaluate, self.data_dir)

  def testStoppedTrainingWithoutACheckpointMayBeginAnew(self):
    os.makedirs(self.train_dir)
    trainer_files.keep_names(self.train_dir, list(sample.KINDS))
    self._run(cifar10_train.train, self._data(THREE), max_steps=1)
    self.assertEqual(records.class_names(self.train_dir), THREE)

  def testLabelOfNoClassEndsTraining(self):
    """A file that changes after the check is found when its records are read."""
    data_dir = self._data(THREE)
    names = os.path.join(records.find_directory(data_dir), records.META_FILE)
    with open(names, 'w') as file:
      file.write('a\nb\n')
    with self._refuses('label out of range 0..1', 'data_batch_'):
      self._run(cifar10_train.train, data_dir)

  def testAByteMayBeAnyOf256Classes(self):
    data_dir = self._data(['name %d' % i for i in range(256)])
    path, = records.data_files(data_dir, True)
    data = np.fromfile(path, np.uint8).reshape(-1, records.RECORD_BYTES)
    data[:, 0] = 255
    data.tofile(path)
    with tf.Graph().as_default():
      _, labels = cifar10_input.inputs(True, data_dir, 30, num_epochs=1)
      with tf.train.MonitoredSession() as session:
        self.assertAllEqual(session.run(labels), np.full(30, 255))


if __name__ == '__main__':
  tf.test.main()
