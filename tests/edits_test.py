"""Tests the edits of the network that learners make first, each on a copy of the project.

The edited copy must train, evaluate, predict a picture and export.
"""
import glob
import os
import shutil
import subprocess
import sys
import tempfile

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
      content = self._read(path)
      self.assertIn(text, content)
      with open(path, 'w', encoding='utf-8') as file:
        file.write(content.replace(text, replacement))
    return copy

  def _read(self, path):
    with open(path, encoding='utf-8') as file:
      return file.read()

  def testEditedNetworksWorkInAllPrograms(self):
    picture = os.path.join(self.root, 'picture.png')
    Image.fromarray(np.arange(48 * 40 * 3, dtype=np.uint8).reshape(48, 40, 3)).save(picture)
    twelve = os.path.join(self.root, 'twelve')
    testing.relabel(self.data_dir, list('abcdefghijkl'), twelve)
    copies = {name: self._edited(edits) for name, edits in EDITS.items()}
    done = subprocess.run(
        [sys.executable, '-m', 'tests.edited', picture,
         *('%s=%s' % (copy, twelve if name == 'twelve classes' else self.data_dir)
           for name, copy in copies.items())],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    codes = dict(line.split() for line in done.stdout.splitlines())
    for name, copy in copies.items():
      with self.subTest(name):
        out, err = (self._read(os.path.join(copy, stream)) for stream in ('stdout', 'stderr'))
        self.assertEqual((codes[copy], err[-2000:]), ('0', ''))
        self.assertRegex(out, r'precision @ 1 = \d\.\d{3} \(\d+/20\) at step 2')
        self.assertIn('picture.png: ', out)
        self.assertTrue(os.path.exists(os.path.join(copy, 'work', 'model', 'saved_model.pb')))


if __name__ == '__main__':
  tf.test.main()
