"""Plugin of pytest: the environment of the tests, and their order.

It keeps the user's TF_CPP_MIN_LOG_LEVEL from the tests, which set their own: they compare what
programs print, and TensorFlow prints more at level 0.
"""
import os

os.environ.pop('TF_CPP_MIN_LOG_LEVEL', None)
# Files of more than 20 s come first, so that both workers of test.sh end at about the same time.
SLOW = ('faults_test.py', 'lessons_4_to_6_test.py', 'lessons_1_to_3_test.py', 'survival_test.py',
        'cifar10_train_distributed_test.py', 'cifar10_train_test.py')


def pytest_collection_modifyitems(items):
  """Sorts the tests by file; the order within a file stays."""
  items.sort(key=lambda item: SLOW.index(item.path.name) if item.path.name in SLOW else len(SLOW))
