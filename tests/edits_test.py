"""Tests the edits of the network that learners make first, each on a copy of the project.

The edited copy must train, evaluate, predict a picture and export.
"""
import glob
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent import futures

import numpy as np
from PIL import Image

import cifar10
from cifar10_lib.common.tf1 import tf
from tests import testing

ROOT = os.path.dirname(os.path.abspath(cifar10.__file__))
CONV2 = "  x = _conv('conv2', x, 64, bias=0.1, dtype=dtype)  # [B, 12, 12, 64]\n"
POOL2 = "  x = layers.max_pool(x, name='pool2')  # [B, 6, 6, 64]\n"
BATCH_NORM = '''
  with tf.variable_scope('batch_norm'):
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    average = tf.get_variable('mean', [64], initializer=tf.zeros_initializer(), trainable=False)
    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, average.assign(0.9 * average + 0.1 * mean))
    x = (x - mean) * tf.math.rsqrt(variance + 1e-3)
'''

# Maps the name of an edit to a list of (file, text, replacement).
EDITS = {
    'pictures of 20 pixels': [('cifar10_input.py', 'IMAGE_SIZE = 24', 'IMAGE_SIZE = 20')],
    'pictures of 28 pixels': [('cifar10_input.py', 'IMAGE_SIZE = 24', 'IMAGE_SIZE = 28')],
    'pictures of 30 pixels': [('cifar10_input.py', 'IMAGE_SIZE = 24', 'IMAGE_SIZE = 30')],
    'pictures of 32 pixels': [('cifar10_input.py', 'IMAGE_SIZE = 24', 'IMAGE_SIZE = 32')],
    'ELU': [('cifar10.py', 'x = tf.nn.relu(x, name=scope.name)',
             'x = tf.nn.elu(x, name=scope.name)')],
    '3x3 kernels, 32 filters': [('cifar10.py', '_weights([5, 5, x.', '_weights([3, 3, x.'),
                                ('cifar10.py', "'conv1', images, 64", "'conv1', images, 32")],
    '7x7 kernels, 96 filters': [('cifar10.py', '_weights([5, 5, x.', '_weights([7, 7, x.'),
                                ('cifar10.py', "'conv2', x, 64", "'conv2', x, 96")],
    '20 filters': [('cifar10.py', "'conv1', images, 64", "'conv1', images, 20")],
    'average pooling, no normalisation': [
        ('cifar10.py', POOL2, "  x = tf.nn.avg_pool2d(x, 3, 2, 'SAME', name='pool2')\n"),
        ('cifar10.py',
         "  x = layers.lrn(x, 4, bias=1.0, alpha=0.001 / 9.0, beta=0.75, name='norm1')\n", '')],
    'third convolution': [('cifar10.py', CONV2, CONV2 + CONV2.replace('conv2', 'conv3'))],
    'batch normalisation': [('cifar10.py', CONV2, CONV2 + BATCH_NORM)],
    'another optimiser': [('cifar10.py', 'optimizer = recipes.optimizer(rate, recipe)',
                           'optimizer = tf.train.AdamOptimizer(1e-3)')],
    'twelve classes': [],  # in the data: twelve names in batches.meta.txt
}

# All programs run in one process, because loading TensorFlow takes longer than they do.
PROGRAMS = r'''
import os, sys
data_dir, work, picture = sys.argv[1:]
import cifar10_eval, cifar10_predict, cifar10_train
from cifar10_lib.common.tf1 import tf
FLAGS = cifar10_train.FLAGS
FLAGS(['program', '--data_dir=' + data_dir, '--train_dir=' + work, '--checkpoint_dir=' + work,
       '--eval_dir=' + work + '/eval', '--batch_size=8', '--max_steps=2', '--run_once',
       '--summary_steps=1'])
assert cifar10_train.train(FLAGS) == 0
cifar10_eval.evaluate(FLAGS)
assert not cifar10_predict.main(['program', picture])
FLAGS.export = work + '/model'
assert not cifar10_predict.main(['program'])
averages = [name for name, _ in tf.train.list_variables(tf.train.latest_checkpoint(work))]
if 'batch_norm/mean' in averages:
  assert tf.train.load_variable(tf.train.latest_checkpoint(work), 'batch_norm/mean').any()
'''


class EditsTest(testing.SampleTestCase):
  EXAMPLES = 40

  def _edited(self, edits):
    """Copies the project and applies the edits; returns the directory of the copy."""
    copy = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), 'copy')
    shutil.copytree(os.path.join(ROOT, 'cifar10_lib'), os.path.join(copy, 'cifar10_lib'),
                    ignore=shutil.ignore_patterns('*_test.py', '*_test.*.pyc'))
    for path in glob.glob(os.path.join(ROOT, 'cifar10*.py')):
      shutil.copy(path, copy)
    for name, text, replacement in edits:
      path = os.path.join(copy, name)
      with open(path, encoding='utf-8') as file:
        content = file.read()
      self.assertIn(text, content)
      with open(path, 'w', encoding='utf-8') as file:
        file.write(content.replace(text, replacement))
    return copy

  def testEditedNetworksWorkInAllPrograms(self):
    picture = os.path.join(self.root, 'picture.png')
    Image.fromarray(np.arange(48 * 40 * 3, dtype=np.uint8).reshape(48, 40, 3)).save(picture)
    with futures.ThreadPoolExecutor(2) as threads:
      runs = {name: threads.submit(self._run, name, edits, picture)
              for name, edits in EDITS.items()}
    for name, run in runs.items():
      with self.subTest(name):
        done = run.result()
        self.assertEqual((done.returncode, done.stderr[-2000:]), (0, ''), name)
        self.assertRegex(done.stdout, r'precision @ 1 = \d\.\d{3} \(\d+/20\) at step 2')
        self.assertIn('picture.png: ', done.stdout)

  def _run(self, name, edits, picture):
    """Runs all programs in an edited copy; returns a subprocess.CompletedProcess."""
    copy, data_dir = self._edited(edits), self.data_dir
    if name == 'twelve classes':
      data_dir = os.path.join(copy, 'data')
      testing.relabel(self.data_dir, list('abcdefghijkl'), data_dir)
    return subprocess.run(
        [sys.executable, '-c', PROGRAMS, data_dir, os.path.join(copy, 'work'), picture],
        capture_output=True, text=True, timeout=100, cwd=copy, check=False,
        env=dict(os.environ, PYTHONPATH=copy))


if __name__ == '__main__':
  tf.test.main()
