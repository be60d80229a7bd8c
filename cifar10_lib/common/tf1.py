"""TensorFlow as every module uses it: the TF1 interface in graph mode, fast and quiet to start.

TensorFlow reads most of its settings once, while it is loaded. So they are made here, before the
import, for every program:

  oneDNN   makes products and convolutions on x86 faster. By default TensorFlow uses it only on
           processors with AVX-512; it pays with AVX2 too (docs/speed.md). TF_ENABLE_ONEDNN_OPTS=0
           turns it off.
  Keras    would be loaded with TensorFlow. Without it the first step finishes 13% sooner and peak
           memory is 5% lower. `tf.keras` still loads it on first use.
  garbage  collection is paused during the import, and skips the imported objects afterwards. The
           first step finishes 14% sooner.
  logging  TF_CPP_MIN_LOG_LEVEL=0 shows everything. Otherwise a successful run prints no line of
           TensorFlow's own, such as warnings that there is no GPU or that queue runners are
           deprecated.

Both figures: cifar10_train.py, two cores, means of five starts by turns, 2026-11-28.
"""
import contextlib
import gc
import importlib.util
import logging
import os
import re
import sys
import tempfile
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


programs.open_streams()
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')
_level = os.environ.get('TF_CPP_MIN_LOG_LEVEL')
_quiet = contextlib.nullcontext()
if _level != '0':
  # Level 3 hides even errors. They reach Python as exceptions, except that no GPU was found.
  os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
  logging.getLogger('tensorflow').setLevel(logging.ERROR)
  _quiet = stderr_without(GREETINGS)
_collects = gc.isenabled()
gc.disable()
with _quiet, _without_keras():
  import tensorflow.compat.v1 as tf
if _level != '0':
  logging.getLogger('tensorflow').setLevel(logging.ERROR)  # the import in a notebook sets INFO
gc.freeze()
if _collects:
  gc.enable()
# A program started from here finds what the user has set.
if _level is None:
  os.environ.pop('TF_CPP_MIN_LOG_LEVEL', None)
else:
  os.environ['TF_CPP_MIN_LOG_LEVEL'] = _level

tf.disable_eager_execution()
tf.disable_control_flow_v2()  # TensorBoard would draw its functions, one a branch, beside the graph


def reason(error):
  """Returns the line of a tf.errors.OpError that says what happened, without stack and node."""
  found = re.search(r"^Node: '.*\n(.+)", error.message, re.MULTILINE)
  return found[1] if found else error.message.splitlines()[0]
