"""Plugin of pytest: what the tests do not take from the user's environment or from TensorFlow.

Tests compare what programs print, and TensorFlow prints more at level 0, so they set
TF_CPP_MIN_LOG_LEVEL themselves.
"""
import os

os.environ.pop('TF_CPP_MIN_LOG_LEVEL', None)


def pytest_collection_modifyitems(items):
  """Leaves out tf.test.TestCase.test_session: every class inherits it, and it is no test."""
  items[:] = [item for item in items if item.name != 'test_session']
