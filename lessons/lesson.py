"""What the cells of all lessons share: the data, programs, curves, exercises, plain errors.

The first cell of each notebook finds the project and calls `start`. All files that a lesson writes
lie in runs/, below the working directory of the notebook.
"""
import contextlib
import functools
import glob
import importlib
import os
import shutil
import signal
import subprocess
import sys
import types

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.dataset import download, records, sample
from lessons import errors

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUNS = 'runs'  # directory of what the lessons write, relative to the working directory
LANGUAGES = 'en', 'zh'

data_dir = None  # directory of the eight files; `start` sets it
_language = 'en'


def say(text):
  """Returns a text in the language of the notebook; English where there is no translation."""
  if _language == 'zh':
    from lessons.zh import texts
    return texts.TEXTS.get(text, text)
  return text


def start(data='sample', language='en'):
  """Prepares a notebook: finds or makes the data set, and makes errors readable.

  Args:
    data: 'sample' for the drawn sample data set, or the directory of CIFAR-10, relative to the
      working directory or to the project. CIFAR-10 is fetched (170 MB) if the directory is empty.
    language: 'en' or 'zh', of what the lesson prints.

  Returns:
    The directory of the eight files (str).
  """
  global data_dir, _language
  _language = language
  errors.install(say, os.path.join(PROJECT, 'lessons', '' if language == 'en' else language))
  if data == 'sample':
    data_dir = sample.make_sample(os.path.join(RUNS, 'sample'))
  else:
    places = [data, os.path.join(PROJECT, data)]
    found = [place for place in places if not records.missing_files(records.find_directory(place))]
    place = (found or places[-1:])[0]
    data_dir = download.maybe_download_and_extract(place)
  counts = list(records.check_data(data_dir).values())
  kind = say('sample data set') if sample.is_sample(data_dir) else 'CIFAR-10'
  print(say('Data: %s, %d training and %d test pictures, in %s')
        % (kind, sum(counts[:-1]), counts[-1], data_dir))
  return data_dir


def is_sample():
  """Returns whether the lesson runs on the sample data set (bool)."""
  return sample.is_sample(data_dir)


def names():
  """Returns the names of the classes, by label: list of str [10]."""
  return records.class_names(data_dir)


def test_picture(number):
  """Returns a picture of the test file by its number, uint8 [1, 32, 32, 3]."""
  path, = records.data_files(data_dir, eval_data=True)
  record = np.fromfile(path, np.uint8, records.RECORD_BYTES, offset=number * records.RECORD_BYTES)
  return record[records.LABEL_BYTES:].reshape(1, 3, 32, 32).transpose(0, 2, 3, 1)


def directory(name, fresh=False):
  """Returns the path runs/NAME; with `fresh`, what is in it is deleted. Training makes it.

  For CIFAR-10 it is runs/cifar10/NAME: training on it must not go on from weights of the sample.
  """
  path = os.path.join(RUNS, name) if is_sample() else os.path.join(RUNS, 'cifar10', name)
  if fresh:
    shutil.rmtree(path, ignore_errors=True)
  return path


# Programs.


def options(*modules, **changes):
  """Returns what the command line of a program would give: an object with all flags as attributes.

    cifar10_train.train(lesson.options(cifar10_train, max_steps=100, train_dir='runs/train'))

  Args:
    modules: the programs whose flags to take, such as cifar10_train; cifar10's are there always.
    changes: flags by name. --data_dir is the lesson's data, if not given.
  """
  import cifar10  # loads TensorFlow, which not every lesson needs
  from absl import flags
  defined = flags.FLAGS.flags_by_module_dict()
  values = {flag.name: flag.default for module in (cifar10, *modules)
            for flag in defined[module.__name__]}
  unknown = changes.keys() - values.keys()
  if unknown:
    raise Failure(say('There is no flag --%s.') % sorted(unknown)[0])
  return types.SimpleNamespace(**{**values, 'data_dir': data_dir, **changes})


@contextlib.contextmanager
def _passing_on_interrupts(child):
  """Passes an interrupt of the kernel on to a program; yields a list of the interrupts.

  The program has a session of its own, so the kernel's interrupt does not reach it twice. After
  the first interrupt a trainer saves and ends. A second one ends any program at once.
  """
  interrupts = []
  def pass_on(number, frame):
    interrupts.append(number)
    child.send_signal(signal.SIGINT if len(interrupts) == 1 else signal.SIGKILL)
  before = signal.signal(signal.SIGINT, pass_on)
  try:
    yield interrupts
  finally:
    signal.signal(signal.SIGINT, before)


def _start(program, flags, show):
  """Runs a program of the project to its end; calls `show` with each line as it comes."""
  command = [sys.executable, '-u', os.path.join(PROJECT, program), *map(str, flags)]
  child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, errors='replace',
                           start_new_session=True)
  try:
    with _passing_on_interrupts(child) as interrupts:
      for line in child.stdout:
        show(line)
      code = child.wait()
  finally:
    child.kill()  # has no effect on a program that has ended
    child.wait()
    child.stdout.close()
  if interrupts:
    raise KeyboardInterrupt(say('%s was interrupted. Run the cell again.') % program)
  if code:
    raise Failure(say('%s ended with code %d; the lines above say why.') % (program, code))


def run(program, *flags):
  """Runs a program, such as cifar10_train.py, and shows its lines as they come.

  Interrupting the cell ends the program as Ctrl-C does in a terminal: a trainer saves first.

  Raises:
    Failure: the program failed.
    KeyboardInterrupt: the cell was interrupted. The program has ended.
  """
  _start(program, flags, functools.partial(print, end='', flush=True))


def output(program, *flags):
  """Runs a program as `run` does, but returns its lines (list of str) instead of showing them."""
  lines = []
  try:
    _start(program, flags, lines.append)
  except Failure:
    print(''.join(lines), end='')
    raise
  return [line.rstrip('\n') for line in lines]


def scalars(*directories):
  """Reads the curves of event files.

  Args:
    directories: directories that a trainer or an evaluator wrote.

  Returns:
    A dict from tag, such as 'total_loss_1', to (steps, values), two arrays of one length.
  """
  from cifar10_lib.common.tf1 import tf
  points = {}
  for place in directories:
    for path in glob.glob(os.path.join(place, 'events.*')):
      for event in tf.train.summary_iterator(path):
        for value in event.summary.value:
          if value.HasField('simple_value'):
            points.setdefault(value.tag, {})[event.step] = value.simple_value
          elif value.HasField('tensor') and not value.tensor.tensor_shape.dim:
            points.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
  return {tag: (np.array(sorted(of_tag)), np.array([of_tag[step] for step in sorted(of_tag)]))
          for tag, of_tag in points.items()}


# Exercises.


def check(exercise, answer=...):
  """Says whether an answer is right, and why.

  Args:
    exercise: such as '1.2', lesson and number. exercises_1.exercise_2(answer) checks this one; it
      returns whether the answer is right, and the reason.
    answer: what the reader found; `...`, or a tuple with `...` in it, if nothing yet.
  """
  parts = answer if isinstance(answer, tuple) else (answer,)
  if any(part is ... for part in parts):
    print(say('Exercise %s: put your answer in place of the dots and run this cell again.')
          % exercise)
    return
  number, part = exercise.split('.')
  function = getattr(importlib.import_module('lessons.exercises_' + number), 'exercise_' + part)
  try:
    right, why = function(answer)
  except (TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
    right, why = False, say('the answer has the wrong form (%s).') % error
  print('%s: %s %s' % (exercise, say('Right:') if right else say('Not yet:'), say(why)))
