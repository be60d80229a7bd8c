"""Tests of loading TensorFlow: quietly, without Keras, and with the user's settings."""
import os
import platform
import subprocess
import sys

from cifar10_lib.common import tf1
from cifar10_lib.common.tf1 import tf
from tests import testing

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(tf1.__file__))))


def run(code, **changes):
  """Runs code in a fresh interpreter; returns (exit code, stdout, stderr)."""
  env = {name: value for name, value in os.environ.items()
         if name not in ('TF_CPP_MIN_LOG_LEVEL', 'TF_ENABLE_ONEDNN_OPTS', 'MALLOC_ARENA_MAX')}
  result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120,
                          env=dict(env, PYTHONPATH=ROOT, **changes), check=False)
  return result.returncode, result.stdout, result.stderr


class LoadingTest(tf.test.TestCase):

  def testImportIsQuietAndWithoutKeras(self):
    """Imports print no greeting and load no Keras."""
    code = '''
import sys, gc
from cifar10_lib.common import tf1
from cifar10_lib.common.tf1 import tf
session = tf.Session()
print(session.run(tf.matmul([[2.0]], [[3.0]])))
print('keras' in sys.modules, 'matplotlib' in sys.modules, gc.isenabled())
'''
    self.assertEqual(run(code), (0, '[[6.]]\nFalse False True\n', ''))

  def testGarbageCollectorSkipsImportedObjects(self):
    """TensorFlow has hundreds of thousands of objects, a program itself a few thousand."""
    code = ('import gc; from cifar10_lib.common import tf1; '
            'print(len(gc.get_objects()) < 20000, gc.get_freeze_count())')
    few, frozen = run(code)[1].split()
    self.assertEqual(few, 'True')
    self.assertGreater(int(frozen), 100000)

  def testKerasLoadsOnDemand(self):
    """TensorFlow is loaded once; each statement runs in a fork of its own."""
    statements = ('import tensorflow; layers = tensorflow.keras.layers',
                  'from tensorflow.keras import layers', 'from keras import layers')
    code = '''
import os
from cifar10_lib.common import tf1
for statement in %r:
  if not os.fork():
    exec(statement)
    print(layers.Dense(3).units, flush=True)
    os._exit(0)
  os.wait()
''' % (statements,)
    self.assertEqual(run(code, TF_CPP_MIN_LOG_LEVEL='3')[:2], (0, '3\n3\n3\n'))

  def testLoadedKerasStays(self):
    code = ('import sys, keras; from cifar10_lib.common import tf1; '
            'print(sys.modules["keras"] is keras)')
    self.assertEqual(run(code, TF_CPP_MIN_LOG_LEVEL='3')[:2], (0, 'True\n'))

  def testEveryLevelButZeroIsQuiet(self):
    """TF_CPP_MIN_LOG_LEVEL=0 shows the greetings; 1 to 3 show as little as no level.

    TensorFlow logs more where Python is interactive, as in a notebook: there is a prompt, sys.ps1.
    """
    code = '''
import os
from cifar10_lib.common.tf1 import tf
value = tf.train.string_input_producer(['a'], num_epochs=1).dequeue()
with tf.train.MonitoredTrainingSession() as session:
  print(session.run(value), os.environ['TF_CPP_MIN_LOG_LEVEL'])
'''
    interactive = "import sys; sys.ps1 = '>>> '\n" + code
    for level, text in ('1', code), ('2', code), ('3', interactive):
      self.assertEqual(run(text, TF_CPP_MIN_LOG_LEVEL=level), (0, "b'a' %s\n" % level, ''))
    code, out, err = run(code, TF_CPP_MIN_LOG_LEVEL='0')
    self.assertEqual((code, out), (0, "b'a' 0\n"))
    self.assertIn('cuda', err.lower())

  def testOneDnnIsOnUnlessItIsTurnedOff(self):
    """oneDNN replaces convolutions in the graph that runs, as the names of ops show."""
    code = '''
from cifar10_lib.common.tf1 import tf
with tf.device('/cpu:0'):
  y = tf.nn.conv2d(tf.random.normal([2, 8, 8, 3]), tf.random.normal([3, 3, 3, 4]), 1, 'SAME')
seen = tf.RunMetadata()
tf.Session().run(y, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), run_metadata=seen)
print(any('_Mkl' in node.timeline_label for device in seen.step_stats.dev_stats
          for node in device.node_stats))
'''
    if platform.machine() in ('x86_64', 'AMD64'):
      self.assertEqual(run(code)[1], 'True\n')
    self.assertEqual(run(code, TF_ENABLE_ONEDNN_OPTS='0')[1], 'False\n')

  def testWrongUsageIsAnsweredBeforeTensorFlowLoads(self):
    """A stand-in for TensorFlow tells when a program loads it."""
    stand_in = os.path.join(self.get_temp_dir(), 'tensorflow')
    os.makedirs(stand_in, exist_ok=True)
    with open(os.path.join(stand_in, '__init__.py'), 'w') as file:
      file.write('print("TensorFlow loads")')
    wrong = [('train', ['--nosuch']), ('train', ['--batch_size=abc']), ('train', ['--recipe=x']),
             ('train', ['--batch_size=-1']), ('train', ['stray']), ('train', ['--augment=x']),
             ('train_multi_gpu', ['--num_gpus=0']), ('train_distributed', ['--local=x']),
             ('eval', ['--views=3']), ('predict', ['--top_k=0', 'a.png']), ('predict', [])]
    for name, arguments in wrong:
      with self.subTest(program=name, arguments=arguments):
        done = subprocess.run(
            [sys.executable, os.path.join(ROOT, 'cifar10_%s.py' % name), *arguments], check=False,
            capture_output=True, text=True, timeout=60, env=os.environ | {
                'PYTHONPATH': os.path.dirname(stand_in)})
        self.assertEqual((done.returncode, done.stdout), (2, ''), done.stderr)
        self.assertLen(done.stderr.splitlines(), 1)
    # The test itself can fail: a right command line does load it.
    done = subprocess.run(
        [sys.executable, os.path.join(ROOT, 'cifar10_predict.py'), 'a.png',
         '--checkpoint_dir=' + self.get_temp_dir()], check=False, capture_output=True, text=True,
        timeout=60, env=os.environ | {'PYTHONPATH': os.path.dirname(stand_in)})
    self.assertIn('TensorFlow loads', done.stdout)

  def testAProgramSignalledWhileItLoadsEndsWithTheDocumentedCode(self):
    stand_in = os.path.join(self.get_temp_dir(), 'slow', 'tensorflow')
    os.makedirs(stand_in, exist_ok=True)
    with open(os.path.join(stand_in, '__init__.py'), 'w') as file:
      file.write('import os, signal\nos.kill(os.getpid(), int(os.environ["NUMBER"]))\n'
                 'raise SystemExit(99)')
    for number in 2, 15:
      done = subprocess.run(
          [sys.executable, os.path.join(ROOT, 'cifar10_predict.py'), 'a.png',
           '--checkpoint_dir=' + self.get_temp_dir()], check=False, capture_output=True, text=True,
          timeout=60, preexec_fn=testing.default_signals, env=os.environ | {
              'PYTHONPATH': os.path.dirname(stand_in), 'NUMBER': str(number)})
      self.assertEqual((done.returncode, done.stderr), (128 + number, ''))


if __name__ == '__main__':
  tf.test.main()
