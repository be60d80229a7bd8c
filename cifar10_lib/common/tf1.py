"""TensorFlow as every room here uses it: the TF1 interface in graph mode, quick and quiet to start.

Graphs and queues need graph mode, which must be chosen before the first op: here, once, for every
program. TensorFlow reads the following only once, while it is loaded:

  oneDNN   has the faster products and convolutions on x86. TensorFlow uses it unasked only where it
           finds AVX-512; with AVX2 alone it pays as well (docs/speed.md). TF_ENABLE_ONEDNN_OPTS=0
           turns it off.
  Keras    is loaded with TensorFlow, and matplotlib and SciPy with Keras: a fifth of the loading
           time and 46 MiB. No module here uses it; `tf.keras` still loads it on first use.
  garbage  collection runs again and again while a million lasting objects are created. Pausing it
           saves a seventh of the loading time. Freezing these objects saves as much again while a
           graph is built.
  malloc   keeps a pool for each thread, and no thread uses what is free in another's. One pool for
           all takes 50 MiB less. MALLOC_ARENA_MAX, which glibc reads itself, overrides this.
  logging  On a machine without a GPU, TensorFlow 2.21 prints warnings before a program's first
           line, and it reports each queue runner as deprecated. A successful run prints none here.
           TF_CPP_MIN_LOG_LEVEL=0 shows everything; 1 to 3 are as quiet as without it.
"""
import contextlib
import ctypes
import gc
import importlib.util
import logging
import os
import platform
import re
import sys
import tempfile
import types

# What the C++ side writes while it is loaded, before it reads any setting, level 3 included.
_GREETINGS = (b'absl::InitializeLog() is called', b'Could not find cuda drivers',
              b'oneDNN custom operations are on')


@contextlib.contextmanager
def _stderr_without(greetings):
  """Holds back what the block writes to file descriptor 2, then passes on all but the greetings."""
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
      rest = [line for line in held if not any(text in line for text in greetings)]
      os.write(2, b''.join(rest))


@contextlib.contextmanager
def _without_keras():
  """Makes `import keras.src` fail, which TensorFlow takes as Keras not being installed.

  An empty stand-in has Keras's location, which `from tensorflow.keras import layers` needs later.
  """
  spec = None if 'keras' in sys.modules else importlib.util.find_spec('keras')
  if spec is None:
    yield
    return
  stand_in = types.ModuleType('keras')
  stand_in.__spec__ = spec
  sys.modules['keras'] = stand_in
  try:
    yield
  finally:
    del sys.modules['keras']


@contextlib.contextmanager
def _without_collection():
  """Pauses garbage collection, and excludes the objects made in the block from later ones."""
  was = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    gc.freeze()
    if was:
      gc.enable()


def _one_pool():
  """Makes glibc's malloc, where glibc is used, serve all threads from one pool."""
  m_arena_max = -8  # malloc.h
  if platform.libc_ver()[0] == 'glibc' and 'MALLOC_ARENA_MAX' not in os.environ:
    ctypes.CDLL(None).mallopt(m_arena_max, 1)


_one_pool()
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')
_level = os.environ.get('TF_CPP_MIN_LOG_LEVEL')
with _without_keras(), _without_collection():
  if _level == '0':
    import tensorflow.compat.v1 as tf
  else:
    # 3 hides even errors: they reach Python as exceptions. The one that does not is the search for
    # a GPU where there is none. The greetings come whatever the level is.
    os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
    logging.getLogger('tensorflow').setLevel(logging.ERROR)
    with _stderr_without(_GREETINGS):
      import tensorflow.compat.v1 as tf
    # TensorFlow has read it. A program started from here finds what the user has set.
    if _level is None:
      del os.environ['TF_CPP_MIN_LOG_LEVEL']
    else:
      os.environ['TF_CPP_MIN_LOG_LEVEL'] = _level

tf.disable_eager_execution()
tf.disable_control_flow_v2()  # functions, one a branch, that TensorBoard draws beside the graph


def reason(error):
  """Returns the one line of a tf.errors.OpError that says what happened, without stack and node."""
  found = re.search(r"^Node: '.*\n(.+)", error.message, re.MULTILINE)
  return found[1] if found else error.message.splitlines()[0]
