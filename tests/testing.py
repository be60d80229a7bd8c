"""What tests share: a small data set, a directory, options, what was saved."""
import contextlib
import glob
import os
import shutil
import tempfile
import types

from absl import flags

from cifar10_lib.dataset import sample
from cifar10_lib.common.tf1 import tf


def defaults(*modules, **changes):
  """Returns the defaults of the flags that modules define, but for the changes."""
  defined = flags.FLAGS.flags_by_module_dict()
  options = {flag.name: flag.default for module in modules for flag in defined[module.__name__]}
  return types.SimpleNamespace(**dict(options, **changes))


def steps_of_events(directory):
  """Returns the steps of all values in a directory's event files, in the order of writing."""
  steps = []
  for path in sorted(glob.glob(os.path.join(directory, 'events.*')), key=os.path.getmtime):
    with contextlib.suppress(tf.errors.DataLossError):  # of a process that was killed
      steps += [event.step for event in tf.train.summary_iterator(path)
                if event.HasField('summary')]
  return steps


def tensors(path):
  """Returns all that a checkpoint holds, by name."""
  reader = tf.train.NewCheckpointReader(path)
  return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


class SampleTestCase(tf.test.TestCase):
  """Has `data_dir`, a drawn data set, in `root`, a directory that all tests of the class share."""
  EXAMPLES, TEST_EXAMPLES = 50, 20  # pictures for training, and in the test file

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
  """Has a new `train_dir` for each test, too."""
  EXAMPLES = 96  # 12 batches of 8

  def setUp(self):
    super().setUp()
    self.train_dir = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), 'train')
