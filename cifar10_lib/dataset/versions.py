"""Finds other versions of the data set where CIFAR-10's binary files should be, and names them."""
import os

CIFAR100_DIRECTORY = 'cifar-100-binary'
CIFAR100_ARCHIVE = 'cifar-100-binary.tar.gz'
# Archives that hold no binary files, and what they unpack to.
NOT_BINARY = {
    'CIFAR-10': ['cifar-10-batches-py', 'cifar-10-batches-mat', 'cifar-10-python.tar.gz',
                 'cifar-10-matlab.tar.gz'],
    'CIFAR-100': ['cifar-100-python', 'cifar-100-matlab', 'cifar-100-python.tar.gz',
                  'cifar-100-matlab.tar.gz']}


def _find(directory, names):
  """Returns the path of the first of `names` that is in or beside `directory`, or ''."""
  places = directory, os.path.dirname(os.path.abspath(directory))
  paths = [os.path.join(place, name) for name in names for place in places]
  return next(filter(os.path.exists, paths), '')


def not_binary(directory, title):
  """Names files of CIFAR in another form than the binary one, in or beside `directory`.

  Args:
    directory: path of a cifar-10-batches-bin directory, which may be missing.
    title: the data set, 'CIFAR-10' or 'CIFAR-100'.

  Returns:
    A sentence (str), or '' if there are none.
  """
  found = _find(directory, NOT_BINARY[title])
  return found and 'Found %s; this program needs the BINARY version of %s.' % (found, title)


def cifar100(directory):
  """Says what to do about CIFAR-100's binary files in or beside `directory`, or '' if none are."""
  found = _find(directory, [CIFAR100_DIRECTORY, CIFAR100_ARCHIVE, CIFAR100_ARCHIVE + '.part'])
  return found and ('Found %s, which is CIFAR-100. Pass --data_url=cifar100 to use it, or choose '
                    'another --data_dir for CIFAR-10.' % found)


def way_out(directory):
  """Says what to do about missing data (str); names another version in or beside `directory`."""
  return (not_binary(directory, 'CIFAR-10') or cifar100(directory)
          or not_binary(directory, 'CIFAR-100')
          or 'Run cifar10_train.py to fetch CIFAR-10, or choose another --data_dir.')
