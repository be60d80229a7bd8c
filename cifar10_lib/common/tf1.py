"""TensorFlow as every room here uses it: the TF1 interface in graph mode, quick and quiet to start.

Graphs and queues need graph mode, and it must be chosen before the first op: here, once, for every
program. So are the things that TensorFlow reads once, while it is loaded:

  oneDNN   has the faster products and convolutions on x86. TensorFlow uses it unasked only where it
           finds AVX-512; with AVX2 alone it pays as well (docs/speed.md). TF_ENABLE_ONEDNN_OPTS=0
           turns it off.
  Keras    is loaded with TensorFlow, and matplotlib and SciPy with Keras: a fifth of the time and
           46 MiB. No module here uses it; `tf.keras` still loads it when it is first asked for.
  garbage  is looked for by Python time and again while a million objects are made that stay.
           Not to do so meanwhile saves a seventh of the time; to leave them out of later searches
           saves again as much while a graph is built.
  malloc   keeps a pool for each thread, and what is free in one serves no other. One pool for all
           is 50 MiB less. MALLOC_ARENA_MAX, which glibc reads itself, says otherwise.
  logging  On a machine without a GPU TensorFlow 2.21 prints warnings before a program's first
           line, and it marks each queue runner as deprecated; a run that works should print none.
           Set TF_CPP_MIN_LOG_LEVEL (0 shows everything, 3 the least) to see what it has to say.
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

# What the C++ side writes while it is loaded, before it reads any setting.
_GREETINGS = (b'absl::InitializeLog() is called', b'Could not find cuda drivers',
              b'oneDNN custom operations are on')


@contextlib.contextmanager
def _stderr_without(greetings):
  """Holds back what goes to file descriptor 2, then passes on all lines but the greetings."""
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
  """Has `import keras.src` fail, which TensorFlow takes as Keras not being installed.

  A stand-in tells where Keras lies, for `from tensorflow.keras import layers` needs that, but has
  nothing in it.
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
  """Has Python not look for unreachable objects, nor later among those made in the block."""
  was = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    gc.freeze()
    if was:
      gc.enable()


def _one_pool():
  """Has glibc's malloc, where it is glibc's, serve all threads from one pool."""
  m_arena_max = -8  # malloc.h
  if platform.libc_ver()[0] == 'glibc' and 'MALLOC_ARENA_MAX' not in os.environ:
    ctypes.CDLL(None).mallopt(m_arena_max, 1)


_one_pool()
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')
with _without_keras(), _without_collection():
  if 'TF_CPP_MIN_LOG_LEVEL' in os.environ:
    import tensorflow.compat.v1 as tf
  else:
    # 3 hides even errors: they reach Python as exceptions. The one that does not is the search for
    # a GPU where there is none.
    os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
    logging.getLogger('tensorflow').setLevel(logging.ERROR)
    with _stderr_without(_GREETINGS):
      import tensorflow.compat.v1 as tf
    del os.environ['TF_CPP_MIN_LOG_LEVEL']  # read by now; a program started from here chooses anew

tf.disable_eager_execution()
tf.disable_control_flow_v2()  # functions, one a branch, that TensorBoard draws beside the graph


def reason(error):
  """Returns the one line of a tf.errors.OpError that says what happened, without stack and node."""
  found = re.search(r"^Node: '.*\n(.+)", error.message, re.MULTILINE)
  return found[1] if found else error.message.splitlines()[0]
