"""Tests of the prediction program, on a sample data set and random weights."""
import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import textwrap
from unittest import mock

import numpy as np
from absl.testing import flagsaver
from PIL import Image

import cifar10
import cifar10_eval
import cifar10_input
import cifar10_predict
from cifar10_lib.common import programs
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import augmentation, picture_files, records, sample
from cifar10_lib.training import trainer_files
from tests import testing

HERE = os.path.dirname(os.path.abspath(__file__))
NUMBER = 30  # pictures in the test file


class ShrinkTest(tf.test.TestCase):

  def _shrink(self, picture, size=32):
    with tf.Graph().as_default(), tf.Session() as session:
      return session.run(augmentation.shrink(tf.constant(picture), size))

  def testSameSizeIsUnchanged(self):
    picture = np.random.RandomState(0).randint(0, 256, (32, 32, 3), np.uint8)
    self.assertAllEqual(self._shrink(picture), picture)

  def testTheCentreSquareIsShrunkByMeans(self):
    picture = np.random.RandomState(1).randint(0, 256, (16, 20, 3), np.uint8)
    for turned in picture, picture.transpose(1, 0, 2):
      expected = picture[:, 2:18].reshape(4, 4, 4, 4, 3).mean(axis=(1, 3))
      expected = expected if turned is picture else expected.transpose(1, 0, 2)
      self.assertAllClose(self._shrink(turned, 4), expected, atol=0.51)

  def testPartlyCoveredPixelsCountByArea(self):
    picture = np.uint8([[[0], [90], [180]]] * 3)  # each output pixel covers 1.5 input pixels
    self.assertAllEqual(self._shrink(picture, 2)[0, :, 0], [30, 150])

  def testSmallerPicturesAreEnlarged(self):
    picture = np.uint8([[[0], [100]], [[200], [50]]])
    self.assertAllEqual(self._shrink(picture, 4)[:, :, 0],
                        [[0, 0, 100, 100]] * 2 + [[200, 200, 50, 50]] * 2)


class PredictTest(testing.SampleTestCase):
  TEST_EXAMPLES = NUMBER

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    path, = records.data_files(cls.data_dir, True)
    raw = np.fromfile(path, np.uint8).reshape(NUMBER, -1)
    cls.pictures = raw[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    cls.photos = os.path.join(cls.root, 'photos')
    os.mkdir(cls.photos)
    for number, picture in enumerate(cls.pictures):
      Image.fromarray(picture).save(os.path.join(cls.photos, '%02d.png' % number))
    cls.train_dir = os.path.join(cls.root, 'train')
    os.mkdir(cls.train_dir)
    trainer_files.keep_names(cls.train_dir, cifar10_input.class_names(cls.data_dir))
    cls.checkpoint = cls._save(os.path.join(cls.train_dir, 'model.ckpt'), 12)

  @classmethod
  def _save(cls, path, step, broken=False):
    """Saves a checkpoint of random weights and random averages; returns its path."""
    random = np.random.RandomState(3)
    with tf.Graph().as_default(), tf.Session() as session:
      tf.get_variable('global_step', initializer=np.int64(step))
      cifar10.inference(tf.placeholder(tf.float32, [None, 24, 24, 3]))
      for variable in tf.trainable_variables():
        average = random.normal(0, 0.05, variable.shape).astype(np.float32)
        tf.get_variable(variable.op.name + '/ExponentialMovingAverage',
                        initializer=average * np.float32(1e38 if broken else 1))
      session.run(tf.global_variables_initializer())
      return tf.train.Saver().save(session, path, step)

  def _run(self, *arguments, stdin=b''):
    """Runs the program; returns its exit code and the lines of standard output and error."""
    argv = ['cifar10_predict.py', *arguments, '--checkpoint_dir', self.train_dir]
    with mock.patch.object(sys, 'argv', argv), self.assertRaises(SystemExit) as caught, \
         mock.patch.object(sys, 'stdin', mock.Mock(buffer=io.BytesIO(stdin))), \
         contextlib.redirect_stdout(io.StringIO()) as out, \
         contextlib.redirect_stderr(io.StringIO()) as err, \
         flagsaver.flagsaver():
      programs.run(cifar10_predict.main, arguments=True)
    return caught.exception.code, out.getvalue().splitlines(), err.getvalue().splitlines()

  def _evaluated(self, **changes):
    """Returns the evaluator's row of each record: index, label, prediction, probability."""
    path = os.path.join(self.get_temp_dir(), 'predictions.csv')
    options = testing.defaults(
        cifar10, cifar10_eval, data_dir=self.data_dir, checkpoint_dir=self.train_dir,
        eval_dir=os.path.join(self.get_temp_dir(), 'eval'), run_once=True, predictions_csv=path,
        **changes)
    with contextlib.redirect_stdout(io.StringIO()):
      cifar10_eval.evaluate(options)
    with open(path, newline='') as file:
      return list(csv.reader(file))[1:]

  def testPngFilesGiveTheSameInputAsRecords(self):
    with tf.Graph().as_default():
      images, _ = cifar10_input.inputs(True, self.data_dir, NUMBER, num_epochs=1)
      with tf.train.MonitoredSession() as session:
        expected = session.run(images)
    predictor = cifar10_predict.Predictor(self.checkpoint)
    shrunk = [predictor.shrink(picture_files.read(path))
              for path in picture_files.find([self.photos])]
    self.assertAllEqual(shrunk, self.pictures)
    with tf.Graph().as_default(), tf.Session() as session:
      fed = tf.placeholder(tf.uint8, [None, 32, 32, 3])
      actual = session.run(augmentation.evaluate(fed), {fed: np.stack(shrunk)})
    self.assertAllEqual(actual, expected)

  def testPredictionsMatchEvaluation(self):
    rows = self._evaluated()
    code, out, err = self._run(self.photos, '--top_k=1')
    self.assertEqual((code, err), (0, []))
    self.assertEqual(out[0], '%s, step 12' % self.checkpoint)
    self.assertEqual(out[1:], [
        '%s: %s %.3f' % (os.path.join(self.photos, '%02d.png' % int(index)), name, float(share))
        for index, _, name, share in rows])
    self.assertGreater(len({row[2] for row in rows}), 1)  # else a constant prediction would pass
    (name, probability), *others = cifar10_predict.Predictor(self.checkpoint).name(
        os.path.join(self.photos, '03.png'), count=2)  # from Python, without flags
    self.assertEqual((name, '%.3f' % probability, len(others)),
                     (rows[3][2], '%.3f' % float(rows[3][3]), 1))

  def testViewsAndWeightsMatchEvaluation(self):
    for changes in {'views': '2'}, {'weights': 'raw'}:
      rows = self._evaluated(**changes)
      (name, value), = changes.items()
      code, out, _ = self._run(self.photos, '--json', '--%s=%s' % (name, value), '--batch_size=7')
      self.assertEqual(code, 0)
      predictions = [json.loads(line)['predictions'][0] for line in out]
      self.assertEqual([prediction['name'] for prediction in predictions], [row[2] for row in rows])
      self.assertAllClose([prediction['probability'] for prediction in predictions],
                          [float(row[3]) for row in rows], atol=2e-6)

  def testJsonGivesSortedProbabilities(self):
    path = os.path.join(self.photos, '00.png')
    code, out, err = self._run(path, '--json', '--top_k', '11')  # all ten
    self.assertEqual((code, err), (0, []))
    result, = map(json.loads, out)
    self.assertEqual((result['file'], result['step']), (path, 12))
    names, probabilities = zip(*[(prediction['name'], prediction['probability'])
                                 for prediction in result['predictions']], strict=True)
    self.assertCountEqual(names, sample.KINDS)
    self.assertAllClose(sum(probabilities), 1.0)
    self.assertEqual(list(probabilities), sorted(probabilities, reverse=True))

  def testStandardInputGivesTheSamePrediction(self):
    path = os.path.join(self.photos, '03.png')
    with open(path, 'rb') as file:
      _, out, _ = self._run('-', stdin=file.read())
    _, expected, _ = self._run(path)
    self.assertEqual(out[1].removeprefix('-: '), expected[1].removeprefix(path + ': '))

  def testUnreadablePictureIsNamedAndTheRestPredicted(self):
    broken = os.path.join(self.get_temp_dir(), 'notes.png')
    with open(broken, 'w') as file:
      file.write('not a picture')
    sound = [os.path.join(self.photos, name) for name in ('01.png', '02.png')]
    code, out, err = self._run(sound[0], broken, sound[1])
    self.assertEqual(code, 1)
    self.assertEqual([line.split(': ')[0] for line in out[1:]], sound)
    self.assertEqual([line.split(' is no')[0] for line in err],
                     ['Error: ' + broken, '1 of 3 pictures could not be read.'])
    _, out, _ = self._run(sound[0], broken, sound[1], '--json')
    self.assertEqual([json.loads(line)['file'] for line in out], [sound[0], broken, sound[1]])
    self.assertIn('is no picture', json.loads(out[1])['error'])

  def testSaveInputWritesTheNetworkInput(self):
    directory = os.path.join(self.get_temp_dir(), 'saved')
    path = os.path.join(self.photos, '05.png')
    for _ in range(2):  # the second run overwrites nothing
      self._run(path, '--save_input', directory)
    self.assertCountEqual(os.listdir(directory), ['05.png.png', '05.png-2.png'])
    saved = picture_files.read(os.path.join(directory, '05.png.png'))
    self.assertEqual(saved.shape, (192, 192, 3))
    self.assertAllEqual(saved[::8, ::8], self.pictures[5, 4:28, 4:28])
    self.assertAllEqual(saved[7::8, 7::8], self.pictures[5, 4:28, 4:28])

  def testWrongUsageIsExitCode2(self):
    code, _, err = self._run()
    self.assertEqual(code, 2)
    self.assertIn('name pictures', err[0])
    code, _, err = self._run(self.photos, '--top_k=0')
    self.assertEqual(code, 2)
    code, _, err = self._run(self.photos, '--export', os.path.join(self.get_temp_dir(), 'both'))
    self.assertEqual(code, 2)
    self.assertIn('--export alone', err[0])

  def testFileNameThatIsNotUtf8(self):
    path = os.path.join(self.get_temp_dir(), os.fsdecode(b'caf\xe9.png'))  # Latin-1
    shutil.copy(os.path.join(self.photos, '00.png'), path)
    code, out, _ = self._run(path)
    self.assertEqual(code, 0)
    self.assertIn('caf\\xe9.png: ', out[1])
    out[1].encode()  # standard output encodes it too
    _, out, _ = self._run(path, '--json')
    self.assertEqual(json.loads(out[0])['file'], path)

  def testUnwritableDirectoryIsNamed(self):
    taken = os.path.join(self.get_temp_dir(), 'taken')
    with open(taken, 'w'):
      pass
    for flag in '--save_input', '--export':
      paths = [self.photos] if flag == '--save_input' else []
      code, _, err = self._run(*paths, flag, os.path.join(taken, 'in'))
      self.assertEqual((code, len(err)), (1, 1), flag)
      self.assertRegex(err[0], 'Error: .*taken/in.* Choose another directory')

  def testCheckpointPathIsUsedOrRefused(self):
    path = os.path.join(self.photos, '00.png')
    code, out, _ = self._run(path, '--checkpoint_path', self.checkpoint + '.index')
    self.assertEqual((code, out[0]), (0, self.checkpoint + ', step 12'))
    code, _, err = self._run(path, '--checkpoint_path', self.checkpoint + '0')
    self.assertEqual((code, len(err)), (1, 1))
    self.assertIn('model.ckpt-120 is no checkpoint', err[0])
    with mock.patch.object(self, 'train_dir', self.get_temp_dir()):
      code, _, err = self._run(path)
    self.assertEqual(code, 1)
    self.assertRegex(err[0], '^Error: No checkpoint in .*train first')

  def testNonFiniteLogitsFail(self):
    broken = self._save(os.path.join(self.get_temp_dir(), 'model.ckpt'), 3, broken=True)
    predictor = cifar10_predict.Predictor(broken)
    with self.assertRaisesRegex(Failure, 'model.ckpt-3 gives logits that are NaN'):
      predictor.log_probabilities(self.pictures[:1])

  def testClassNamesComeFromTheCheckpointDirectory(self):
    directory = self.get_temp_dir()
    path = self._save(os.path.join(directory, 'model.ckpt'), 1)
    self.assertEqual(cifar10_predict.Predictor(path).names[3], 'cat')  # CIFAR-10's by default
    trainer_files.keep_names(directory, list('abcdefghij'))
    self.assertEqual(cifar10_predict.Predictor(path).names[3], 'd')
    trainer_files.keep_names(directory, list('abc'))
    with self.assertRaisesRegex(Failure, 'model.ckpt-1 has learned 10 classes, but '
                                'batches.meta.txt beside it holds 3 names'):
      cifar10_predict.Predictor(path)

  def testExportedModelRunsWithoutThisProject(self):
    model = os.path.join(self.get_temp_dir(), 'model')
    code, out, _ = self._run('--export', model)
    self.assertEqual(code, 0)
    self.assertRegex(out[0], '^Wrote %s, the network of .*model.ckpt-12 ' % model)
    script = textwrap.dedent('''
        import json, pathlib, sys
        import tensorflow as tf
        assert tf.executing_eagerly()
        contents = [pathlib.Path(path).read_bytes() for path in sys.argv[2:]]
        pictures = tf.stack([tf.io.decode_png(content) for content in contents])
        for place, name, fed in (sys.argv[1], 'images', pictures), (
            sys.argv[1] + '/encoded', 'encoded', tf.constant(contents)):
          model = tf.saved_model.load(place)
          predict = model.signatures['serving_default']
          assert predict(**{name: fed[:0]})['probabilities'].shape == [0, 10]
          out = predict(**{name: fed})
          print(json.dumps([[[name.decode() for name in row] for row in out['names'].numpy()],
                            out['probabilities'].numpy().tolist()]))
        assert not [name for name in sys.modules if name.startswith('cifar10')]
    ''')
    paths = [os.path.join(self.photos, '%02d.png' % number) for number in range(4)]
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    done = subprocess.run([sys.executable, '-c', script, model, *paths], capture_output=True,
                          text=True, cwd=self.get_temp_dir(), env=environment, timeout=120)
    self.assertEqual(done.returncode, 0, done.stderr)
    _, expected, _ = self._run(*paths, '--json', '--top_k=10')
    expected = [json.loads(line)['predictions'] for line in expected]
    for line in done.stdout.splitlines():
      names, probabilities = json.loads(line)
      self.assertEqual(names, [[entry['name'] for entry in row] for row in expected])
      self.assertAllClose(probabilities, [[entry['probability'] for entry in row]
                                          for row in expected])
    self.assertLen(done.stdout.splitlines(), 2)

  def testExportOverwritesNothing(self):
    model = os.path.join(self.get_temp_dir(), 'mine')
    os.mkdir(model)
    with open(os.path.join(model, 'notes.txt'), 'w') as file:
      file.write('mine')
    code, _, err = self._run('--export', model)
    self.assertEqual(code, 1)
    self.assertIn('mine is there already', err[0])
    self.assertEqual(os.listdir(model), ['notes.txt'])


if __name__ == '__main__':
  tf.test.main()
