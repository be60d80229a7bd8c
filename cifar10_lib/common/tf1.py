"""TensorFlow as every module uses it: the TF1 interface in graph mode, fast and quiet to start.

TensorFlow reads most of its settings once, while it is loaded. So they are made here, before the
import, for every program. A program loads TensorFlow when it first uses it.

  oneDNN   makes products and convolutions on x86 faster. By default TensorFlow uses it only on
           newer processors; it pays with AVX2 too (docs/speed.md). TF_ENABLE_ONEDNN_OPTS=0 turns
           it off.
  Keras    would be loaded with TensorFlow. Without it the first step finishes 13% sooner and peak
           memory is 5% lower. `tf.keras` still loads it on first use.
  garbage  collection is paused during the import, and skips the imported objects afterwards. The
           first step finishes 14% sooner.
  logging  TF_CPP_MIN_LOG_LEVEL=0 shows everything. Otherwise a successful run prints no line of
           TensorFlow's own, such as warnings that there is no GPU or that queue runners are
           deprecated.

Figures: cifar10_train.py, two cores of an AMD EPYC, means of five starts by turns, 2026-11-28.
"""
import contextlib
import errno
import gc
import importlib.util
import logging
import os
import re
import sys
import tempfile
import threading
import types

from cifar10_lib.common import programs

# Lines that the C++ library prints at every level, because it has not read the setting yet.
GREETINGS = (b'absl::InitializeLog() is called', b'Could not find cuda drivers',
             b'oneDNN custom operations are on')


@contextlib.contextmanager
def stderr_without(greetings):
  """Holds back what the block writes to file descriptor 2, then prints all but the greetings."""
  sys.stderr.flush()
  stderr = os.dup(2)
  with tempfile.TemporaryFile() as held:
    os.dup2(held.fileno(), 2)
    try:
      yield
    finally:
      os.dup2(stderr, 2)
      os.close(stderr)
      held.seek(0)
      os.write(2, b''.join(line for line in held if not any(text in line for text in greetings)))


@contextlib.contextmanager
def _without_keras():
  """Makes `import keras.src` fail in the block: TensorFlow then assumes Keras is not installed."""
  spec = None if 'keras' in sys.modules else importlib.util.find_spec('keras')
  if spec:  # the stand-in is empty, but has Keras's location, which `tf.keras` needs later
    sys.modules['keras'] = types.ModuleType('keras')
    sys.modules['keras'].__spec__ = spec
  try:
    yield
  finally:
    if spec:
      del sys.modules['keras']


def _load():
  """Loads TensorFlow with the settings above; returns tensorflow.compat.v1."""
  level = os.environ.get('TF_CPP_MIN_LOG_LEVEL')
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')
  quiet = contextlib.nullcontext()
  if level != '0':
    # Level 3 hides even errors. They reach Python as exceptions, except that no GPU was found.
    os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
    logging.getLogger('tensorflow').setLevel(logging.ERROR)
    quiet = stderr_without(GREETINGS)
  collects = gc.isenabled()
  gc.disable()
  with programs.ending_at_once(), quiet, _without_keras():
    import tensorflow.compat.v1 as tensorflow
  if level != '0':
    logging.getLogger('tensorflow').setLevel(logging.ERROR)  # a notebook's import sets INFO
  gc.freeze()
  if collects:
    gc.enable()
  # A program started from here finds what the user has set.
  if level is None:
    os.environ.pop('TF_CPP_MIN_LOG_LEVEL', None)
  else:
    os.environ['TF_CPP_MIN_LOG_LEVEL'] = level
  tensorflow.disable_eager_execution()
  # TensorBoard would draw its functions, one a branch, beside the graph.
  tensorflow.disable_control_flow_v2()
  return tensorflow


class _OnFirstUse(types.ModuleType):
  """tensorflow.compat.v1, loaded when a name of it is first used.

  So a program answers wrong usage and --help in 0.3 s. Code that uses a name while it is imported,
  as a base class for example, only loads TensorFlow earlier.
  """
  _lock = threading.RLock()

  def __getattr__(self, name):
    if name.startswith('__') and name != '__version__':  # asked by tools that look at modules
      raise AttributeError(name)
    with self._lock:
      loaded = self.__dict__.get('_loaded') or self.__dict__.setdefault('_loaded', _load())
    return getattr(loaded, name)


programs.open_streams()
tf = _OnFirstUse('tensorflow.compat.v1') if programs.IS_STARTED else _load()


class SessionRunHook:
  """The methods of tf.train.SessionRunHook, without loading TensorFlow for it."""

  def begin(self):
    """Is called once, before the session is created; may add ops to the graph."""

  def after_create_session(self, session, coord):
    """Is called when a session has been created."""

  def before_run(self, run_context):
    """Is called before each run of the session; returns tf.train.SessionRunArgs to add, or None."""

  def after_run(self, run_context, run_values):
    """Is called after each run of the session."""

  def end(self, session):
    """Is called once, at the end."""


class CheckpointSaverListener:
  """The methods of tf.train.CheckpointSaverListener, without loading TensorFlow for it."""

  def begin(self):
    """Is called once, before the session is created."""

  def before_save(self, session, global_step_value):
    """Is called before a checkpoint is saved."""

  def after_save(self, session, global_step_value):
    """Is called when a checkpoint has been saved; returns True to end training."""

  def end(self, session, global_step_value):
    """Is called once, at the end."""


@contextlib.contextmanager
def saving():
  """Raises FileNotFoundError where tf.train.Saver raises ValueError: the directory has vanished."""
  try:
    yield
  except ValueError as error:
    vanished = re.match(r"Parent directory of (.*) doesn't exist", str(error), re.DOTALL)
    if not vanished:
      raise
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), vanished[1]) from error


def reason(error):
  """Returns the line of a tf.errors.OpError that says what happened, without stack and node."""
  found = re.search(r"^Node: '.*\n(.+)", error.message, re.MULTILINE)
  return found[1] if found else error.message.splitlines()[0]
