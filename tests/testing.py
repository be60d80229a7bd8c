"""Helpers that several tests share: a sample data set, directories, options, saved values."""
import contextlib
import glob
import os
import shutil
import signal
import tempfile
import types

import numpy as np
from absl import flags

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records, sample
from cifar10_lib.training import trainer_files


def defaults(*modules, **changes):
  """Returns the default flags of the given modules, with `changes` applied."""
  defined = flags.FLAGS.flags_by_module_dict()
  options = {flag.name: flag.default for module in modules for flag in defined[module.__name__]}
  return types.SimpleNamespace(**dict(options, **changes))


def relabel(data_dir, names, copy):
  """Copies a data set and gives its records the labels 0, 1, 2 and so on in turn.

  Args:
    data_dir: directory of the data set.
    names: list of str [K], the names of the new classes.
    copy: directory to make.
  """
  shutil.copytree(data_dir, copy)
  for path in records.data_files(copy) + records.data_files(copy, True):
    data = np.fromfile(path, np.uint8).reshape(-1, records.RECORD_BYTES)
    data[:, 0] = np.arange(len(data)) % len(names)
    data.tofile(path)
  trainer_files.keep_names(records.find_directory(copy), names)


def steps_of_events(directory):
  """Returns the step of each summary in a directory's event files, in the order written."""
  steps = []
  for path in sorted(glob.glob(os.path.join(directory, 'events.*')), key=os.path.getmtime):
    with contextlib.suppress(tf.errors.DataLossError):  # a killed process leaves a cut record
      steps += [event.step for event in tf.train.summary_iterator(path)
                if event.HasField('summary')]
  return steps


def default_signals():
  """Gives a new process the default signals, whatever started the tests (nohup, a script's &)."""
  for name in 'SIGINT', 'SIGTERM', 'SIGHUP':
    signal.signal(getattr(signal, name), signal.SIG_DFL)


def tensors(path):
  """Returns a dict from variable name to array, read from a checkpoint."""
  reader = tf.train.NewCheckpointReader(path)
  return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


class DirectoryTestCase(tf.test.TestCase):
  """Has a new `directory` for each test."""

  def setUp(self):
    super().setUp()
    self.directory = tempfile.mkdtemp(dir=self.get_temp_dir())

  def path(self, *names):
    return os.path.join(self.directory, *names)

  def touch(self, *names):
    """Creates empty files in the directory."""
    for name in names:
      with open(self.path(name), 'w'):
        pass


class SampleTestCase(tf.test.TestCase):
  """Base class with a sample data set, `data_dir`, in `root`. All tests of a class share both."""
  EXAMPLES, TEST_EXAMPLES = 50, 20  # numbers of training and test pictures

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.root = tempfile.mkdtemp()
    cls.data_dir = os.path.join(cls.root, 'data')
    sample.make_sample(cls.data_dir, cls.EXAMPLES, cls.TEST_EXAMPLES)

  @classmethod
  def tearDownClass(cls):
    shutil.rmtree(cls.root)
    super().tearDownClass()


class TrainerTestCase(SampleTestCase):
  """Base class that also gives each test a new `train_dir`."""
  EXAMPLES = 96  # 12 batches of 8

  def setUp(self):
    super().setUp()
    self.train_dir = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), 'train')
