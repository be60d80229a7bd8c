"""Tests that a signal while a program loads its libraries ends it with the documented code."""
import os
import signal
import subprocess
import sys

import cifar10_train
from cifar10_lib.common.tf1 import tf
from tests import testing

ROOT = os.path.dirname(os.path.abspath(cifar10_train.__file__))
PROGRAMS = ('cifar10_train', 'cifar10_train_multi_gpu', 'cifar10_train_distributed', 'cifar10_eval',
            'cifar10_predict')


class EarlySignalsTest(testing.DirectoryTestCase):

  def testSignalWhileNumPyLoads(self):
    for name in 'SIGINT', 'SIGTERM':
      number = getattr(signal, name)
      with open(self.path('numpy.py'), 'w') as file:  # found before the real one
        file.write('import os\nos.kill(os.getpid(), %d)\n' % number)
      for program in PROGRAMS:
        done = subprocess.run(
            [sys.executable, os.path.join(ROOT, program + '.py')], capture_output=True, text=True,
            env=dict(os.environ, PYTHONPATH=self.directory), check=False,
            preexec_fn=testing.default_signals)
        self.assertEqual((done.returncode, done.stderr), (128 + number, ''), program)


if __name__ == '__main__':
  tf.test.main()
