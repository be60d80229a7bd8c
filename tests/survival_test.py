"""Tests that training and evaluation survive damaged checkpoints, full disks and lost terminals."""
import contextlib
import functools
import glob
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from unittest import mock

import numpy as np

import cifar10
import cifar10_eval
import cifar10_predict
import cifar10_train
from cifar10_lib.common import programs
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records
from cifar10_lib.training import checkpoints, run, stopping, trainer_files
from tests import testing

ROOT = os.path.dirname(os.path.abspath(cifar10_train.__file__))
EMA = 'conv1/weights/ExponentialMovingAverage'


def truncate(path):
  os.truncate(path, os.path.getsize(path) // 2)


def empty(path):
  os.truncate(path, 0)


def flip(path):
  with open(path, 'r+b') as file:
    file.seek(os.path.getsize(path) // 2)
    byte = file.read(1)[0]
    file.seek(-1, os.SEEK_CUR)
    file.write(bytes([byte ^ 255]))


class DamageTest(testing.TrainerTestCase):

  @classmethod
  def setUpClass(cls):
    """Trains two steps once; each test gets a copy."""
    super().setUpClass()
    cls.trained = os.path.join(cls.root, 'trained')
    with contextlib.redirect_stdout(io.StringIO()):
      cifar10_train.train(cls._options(train_dir=cls.trained, max_steps=2))

  def setUp(self):
    super().setUp()
    shutil.copytree(self.trained, self.train_dir)
    self.latest = os.path.join(self.train_dir, 'model.ckpt-2')

  @classmethod
  def _options(cls, **changes):
    return testing.defaults(cifar10, cifar10_train, cifar10_eval, cifar10_predict, **dict(
        {'data_dir': cls.data_dir, 'batch_size': 8, 'save_checkpoint_steps': 1,
         'log_frequency': 1}, **changes))

  def _run(self, function, **changes):
    """Returns standard output and error of a function of the options."""
    out, err = io.StringIO(), io.StringIO()
    options = self._options(
        train_dir=self.train_dir, checkpoint_dir=self.train_dir,
        eval_dir=tempfile.mkdtemp(dir=self.get_temp_dir()), **changes)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      function(options)
    return out.getvalue(), err.getvalue()

  def _poison(self, name, value=np.nan):
    """Writes the latest checkpoint again, with a number of one variable replaced."""
    values = testing.tensors(self.latest)
    values[name].flat[0] = value
    with tf.Graph().as_default(), tf.Session() as session:
      variables = {each: tf.Variable(value, name=each) for each, value in values.items()}
      session.run(tf.global_variables_initializer())
      tf.train.Saver(variables).save(session, self.latest, write_meta_graph=False,
                                     write_state=False)

  def testDamageIsNamed(self):
    self.assertEqual(checkpoints.damage(self.latest), '')
    for damage in truncate, empty, flip:
      for ending in '.index', '.data-00000-of-00001':
        for path in glob.glob(self.latest + '.*'):
          os.remove(path)
        for path in glob.glob(os.path.join(self.trained, 'model.ckpt-2.*')):
          shutil.copy(path, self.train_dir)
        damage(self.latest + ending)
        problem = checkpoints.damage(self.latest)
        self.assertNotEmpty(problem, (damage, ending))
        self.assertNotIn('\n', problem)

  def testTrainingGoesOnFromTheCheckpointBefore(self):
    for damage in truncate, lambda path: self._poison('local3/weights', np.inf):
      damage(self.latest + '.data-00000-of-00001')
      before = {os.path.basename(path): os.path.getsize(path)
                for path in glob.glob(self.latest + '.*')}
      out, err = self._run(cifar10_train.train, max_steps=2)
      self.assertIn('Continuing from %s/model.ckpt-1.' % self.train_dir, out)
      self.assertIn('Done: step 2 of 2', out)
      self.assertRegex(err, r'^\S+-2 is damaged \(.+\)\. Its files are now called \S+\n$')
      aside = max(glob.glob(os.path.join(self.train_dir, 'damaged-*.index')), key=os.path.getmtime)
      for name, size in before.items():  # nothing is lost
        kept = aside[:-len('.index')] + name[len('model.ckpt-2'):]
        self.assertEqual(os.path.getsize(kept), size)
      self.assertEqual(checkpoints.damage(self.latest), '')
      self.assertNotIn('damaged', ' '.join(checkpoints.find_all(self.train_dir)))

  def testTrainingWithoutASoundCheckpointTouchesNothing(self):
    for path in glob.glob(os.path.join(self.train_dir, '*.index')):
      empty(path)
    before = sorted(os.listdir(self.train_dir))
    with self.assertRaisesRegex(Failure, 'No checkpoint in .* is sound: .*model.ckpt-2 is damaged'):
      self._run(cifar10_train.train, max_steps=3)
    self.assertEqual(sorted(os.listdir(self.train_dir)), before)

  def testEvaluationScoresTheOthers(self):
    trainer_files.write_status(self.train_dir, 'finished')
    self._poison(EMA)
    out, err = self._run(cifar10_eval.evaluate)
    self.assertEqual([' at step %d' % step in out for step in (0, 1, 2)], [True, True, False])
    self.assertRegex(err, r'model\.ckpt-2 cannot be scored: it is damaged \(%s is NaN' % EMA)
    out, err = self._run(cifar10_eval.evaluate, run_once=True)
    self.assertIn(' at step 1, ', out)
    self.assertRegex(err, r'model\.ckpt-2 is damaged .*Taking an earlier one')

  def testACheckpointIsReadOnceToCheckIt(self):
    class Reader:

      def __init__(self, path):
        self._reader = opened(path)
        self.get_variable_to_shape_map = self._reader.get_variable_to_shape_map

      def get_tensor(self, name):
        read.append(name)
        return self._reader.get_tensor(name)
    opened = tf.train.NewCheckpointReader
    names = sorted(testing.tensors(self.latest))
    for use in (functools.partial(self._run, cifar10_eval.evaluate, run_once=True),
                lambda: cifar10_predict.Predictor(checkpoints.latest(self.train_dir))):
      read = []
      os.utime(self.latest + '.index')  # a new file, as far as one can tell
      with mock.patch.object(tf.train, 'NewCheckpointReader', Reader):
        use()
      self.assertEqual(read, names)

  def testADirectoryOrACheckpointMayBeNamed(self):
    out, _ = self._run(lambda options: cifar10_eval.evaluate(
        type(options)(**{**vars(options), 'checkpoint_dir': self.train_dir + '/model.ckpt-1'})))
    self.assertEqual(out.count('precision @ 1'), 1)
    self.assertIn(' at step 1, ', out)

  def testPredictionRefusesNumbersThatAreNone(self):
    self._poison(EMA)
    with self.assertRaisesRegex(Failure, 'model.ckpt-2 is damaged .*NaN or infinite.*Choose'):
      cifar10_predict.Predictor(self.latest)
    with contextlib.redirect_stderr(io.StringIO()):
      self.assertEndsWith(checkpoints.latest(self.train_dir), 'model.ckpt-1')

  def testAHugeStepIsNoStep(self):
    for name in glob.glob(self.latest + '.*'):
      shutil.copy(name, name.replace('ckpt-2', 'ckpt-99999999999999999999'))
    os.remove(os.path.join(self.train_dir, 'checkpoint'))
    self.assertEqual(checkpoints.find_latest(self.train_dir), self.latest)

  def testUnfinishedFilesOfADeadTrainerAreRemoved(self):
    names = ['model.ckpt-9.data-00000-of-00001.tempstate123', 'model.ckpt-9.meta.new',
             'model.ckpt-9.meta', 'model.ckpt-8.meta', 'model.ckpt-8.data-00000-of-00001',
             'trainer.json.new', 'batches.meta.txt.new', 'mine.tempstate1', 'model.ckpt-7',
             'model.ckpt-7.meta', 'mine-6.meta']
    for name in names:
      with open(os.path.join(self.train_dir, name), 'w'):
        pass
    os.remove(os.path.join(self.train_dir, 'model.ckpt-1.index'))  # it was complete once
    names += ['model.ckpt-1.meta', 'model.ckpt-1.data-00000-of-00001']
    self._run(cifar10_train.train, max_steps=3)
    self.assertEqual([name for name in names
                      if os.path.exists(os.path.join(self.train_dir, name))], names[-6:])


class TerminalTest(testing.TrainerTestCase):
  """Starts programs as a user does."""

  def _start(self, *more, program='cifar10_train.py', prefix='exec "$@"', **options):
    command = [sys.executable, os.path.join(ROOT, program), '--data_dir=' + self.data_dir,
               '--train_dir=' + self.train_dir, '--batch_size=8', '--log_frequency=1', *more]
    return subprocess.Popen(['bash', '-c', prefix, 'bash', *command], text=True,
                            preexec_fn=testing.default_signals, **options)

  def testAClosedTerminalSavesAndEnds(self):
    process = self._start('--max_steps=1000000', stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for line in process.stdout:
      if 'step 5,' in line:
        process.send_signal(signal.SIGHUP)
    self.assertEqual(process.wait(60), 128 + signal.SIGHUP)
    self.assertGreaterEqual(checkpoints.step_of(checkpoints.find_latest(self.train_dir)), 5)
    self.assertEqual(trainer_files.read_status(self.train_dir)['state'], 'stopped')

  def testAReaderThatStopsSavesAndEnds(self):
    process = self._start('--max_steps=1000000', stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in process.stdout:
      if 'step 3,' in line:
        break
    process.stdout.close()
    self.assertEqual((process.wait(60), process.stderr.read()), (128 + programs.SIGPIPE, ''))
    process.stderr.close()
    self.assertGreaterEqual(checkpoints.step_of(checkpoints.find_latest(self.train_dir)), 3)

  def testWithoutStandardOutputAndError(self):
    for closed in '>&-', '2>&-', '<&- >&- 2>&-':
      process = self._start('--max_steps=2', prefix='exec "$@" ' + closed)
      self.assertEqual(process.wait(60), 0, closed)
      shutil.rmtree(self.train_dir)

  def testPathsAreExpandedOrRefused(self):
    home = tempfile.mkdtemp(dir=self.get_temp_dir())
    self.train_dir = '~/train'
    process = self._start('--max_steps=1', cwd=home, env=dict(os.environ, HOME=home))
    self.assertEqual(process.wait(60), 0)
    self.assertIn('train', os.listdir(home))
    self.assertNotIn('~', os.listdir(home))
    for path, text in (('gs://bucket/x', 'only paths of mounted file systems'),
                       ('file:///x', 'only paths of mounted'), ('x' * 5000, 'is too long')):
      self.train_dir = path
      process = self._start(stderr=subprocess.PIPE)
      self.assertRegex(process.communicate()[1], '^[^\n]*%s[^\n]*\n$' % text)
      self.assertEqual(process.returncode, 2)

  def testNumbersHaveUpperBounds(self):
    for flag in 'batch_size', 'max_steps', 'keep_checkpoints', 'num_epochs', \
        'save_checkpoint_steps', 'distort_threads', 'read_threads', 'seed':
      with contextlib.redirect_stderr(io.StringIO()) as err, self.assertRaises(SystemExit) as end:
        programs.parse_flags(['program', '--%s=%d' % (flag, 2**31)])
      self.assertEqual(end.exception.code, 2)
      self.assertIn(flag, err.getvalue())


class ChangingFilesTest(testing.TrainerTestCase):

  def _train_while(self, change, **changes):
    """Trains while a thread calls `change(path of a training file)` after the first step."""
    data_dir = tempfile.mkdtemp(dir=self.get_temp_dir())
    shutil.copytree(self.data_dir, data_dir, dirs_exist_ok=True)
    paths = records.data_files(data_dir)
    options = testing.defaults(cifar10, cifar10_train, data_dir=data_dir, batch_size=8,
                               train_dir=self.train_dir, **changes)

    class Change(tf.train.SessionRunHook):

      def after_run(self, run_context, run_values):
        for path in paths:
          change(path)
    hooks = run.step_hooks
    with mock.patch.object(run, 'step_hooks', lambda *args: hooks(*args) + [Change()]), \
         mock.patch.object(stopping, 'POLL_SECONDS', 0.1), \
         contextlib.redirect_stdout(io.StringIO()):
      cifar10_train.train(options)

  def testAFileThatBecomesShorterIsNamed(self):
    for size in 0, 3073 * 2, 5000:
      self.train_dir += '-%d' % size
      with self.assertRaisesRegex(Failure, r'data_batch_\d.bin has %d bytes, and had \d+' % size):
        self._train_while(lambda path, size=size: os.truncate(path, size))

  def testAFileThatIsRemovedIsNamed(self):
    with self.assertRaisesRegex(Failure, r'data_batch_\d.bin'):
      self._train_while(lambda path: os.path.exists(path) and os.remove(path))

  def testASignalEndsAStepThatHangs(self):
    script = textwrap.dedent('''
        import cifar10_train
        from cifar10_lib.common import programs
        from cifar10_lib.common.tf1 import tf
        from cifar10_lib.training import run, stopping
        stopping.POLL_SECONDS, run.GRACE_SECONDS = 0.1, 1
        build = cifar10_train.build
        def hanging(options):
          step, loss = build(options)
          queue = tf.FIFOQueue(1, [tf.int64], [[]], name='dry')
          source = tf.FIFOQueue(1, [tf.int64], [[]], name='nobody_fills')
          tf.train.add_queue_runner(tf.train.QueueRunner(
              queue, [queue.enqueue(source.dequeue())],
              cancel_op=tf.group(source.close(), queue.close(cancel_pending_enqueues=True))))
          runners = tf.get_collection_ref(tf.GraphKeys.QUEUE_RUNNERS)
          runners.insert(0, runners.pop())  # the batch queue stays the last
          wait = tf.cond(step > 2, queue.dequeue, lambda: step)
          with tf.control_dependencies([wait]):
            return tf.identity(step), loss
        cifar10_train.train.__defaults__ = (cifar10_train.FLAGS, hanging, 1, 1)
        programs.run(cifar10_train.main)
        ''')
    process = subprocess.Popen(
        [sys.executable, '-c', script, '--data_dir=' + self.data_dir, '--batch_size=8',
         '--train_dir=' + self.train_dir, '--log_frequency=1', '--first_batch_secs=60'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=dict(os.environ, PYTHONPATH=ROOT))
    for line in process.stdout:
      if 'step 2,' in line:
        process.send_signal(signal.SIGTERM)
    error = process.stderr.read()
    self.assertEqual(process.wait(60), 128 + signal.SIGTERM, error)
    self.assertNotIn('Traceback', error)
    process.stderr.close()


class FullDiskTest(testing.TrainerTestCase):
  """Each size is a small file system in a mount namespace of its own."""

  def _train(self, size):
    mount = tempfile.mkdtemp(dir=self.get_temp_dir())
    script = ('mount -t tmpfs -o size=%dk tmpfs . && cd "$PWD" && "$@"; code=$?; ls train; '
              'exit $code' % size)
    return subprocess.run(
        ['unshare', '--map-root-user', '--mount', 'bash', '-c', script, 'bash', sys.executable,
         os.path.join(ROOT, 'cifar10_train.py'), '--data_dir=' + self.data_dir, '--batch_size=8',
         '--train_dir=train', '--max_steps=3'],
        cwd=mount, capture_output=True, text=True, timeout=100, check=False)

  def testOneLineAndNoUnfinishedFile(self):
    if subprocess.run(['unshare', '--map-root-user', '--mount', 'mount', '-t', 'tmpfs', 'tmpfs',
                       self.get_temp_dir()], capture_output=True, check=False).returncode:
      self.skipTest('this system does not allow mount namespaces')
    for size in 16, 1000, 6000, 12000:  # kilobytes
      done = self._train(size)
      self.assertEqual(done.returncode, 1, done.stderr)
      self.assertRegex(done.stderr, '^Error: [^\n]*no space left on device[^\n]*\n$')
      self.assertNotIn('tempstate', done.stdout)
    self.assertIn('model.ckpt-0.index', done.stdout)


if __name__ == '__main__':
  tf.test.main()
