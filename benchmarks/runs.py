"""Helps benchmarks to run the trainer and the evaluator: options, scores, stored results."""
import json
import os
import re
import types
from datetime import datetime

from absl import flags

import cifar10_eval
from cifar10_lib.common.programs import Failure
from cifar10_lib.training import trainer_files

_LINE = re.compile(r'^(\S+ \S+): step (\d+), ', re.MULTILINE)


def options(module, **changes):
  """Returns the defaults of a program's flags and the shared flags, with `changes` applied."""
  defined = flags.FLAGS.flags_by_module_dict()
  found = {flag.name: flag.value for flag in defined['cifar10'] + defined[module.__name__]}
  return types.SimpleNamespace(**dict(found, **changes))


def times(log):
  """Returns a dict from step to the time of its line in a trainer's log, in seconds."""
  return {int(step): datetime.fromisoformat(when).timestamp() for when, step in _LINE.findall(log)}


class Scorer:
  """Scores checkpoints on one set of pictures, with a graph that is built once."""

  def __init__(self, **changes):
    """Takes the evaluator's options that differ from its defaults."""
    self._evaluation = cifar10_eval.Evaluation(options(cifar10_eval, **changes))

  def accuracy(self, checkpoint):
    """Returns the accuracy of a checkpoint, 0 to 1."""
    return float(self._evaluation.scores(checkpoint).right.mean())


def read(path):
  """Returns the content of a JSON file, or None if the file does not exist."""
  if not os.path.exists(path):
    return None
  with open(path) as file:
    return json.load(file)


def kept(path, run):
  """Returns the content of a JSON file; if there is none, writes the result of `run()` first."""
  if not os.path.exists(path):
    trainer_files.replace(path, json.dumps(run()))
  return read(path)


def read_lines(path):
  """Returns the objects of a file of JSON lines, a list; an empty one if it does not exist."""
  if not os.path.exists(path):
    return []
  with open(path, encoding='utf-8') as file:
    return [json.loads(line) for line in file]


def stored_line(path, key, run):
  """Returns the run of a file of JSON lines that has this key. If none has, makes and adds it.

  Args:
    path: the file.
    key: dict of the settings that tell this run from the others.
    run: function without arguments that makes the run and returns its results, a dict.
  """
  for line in read_lines(path):
    if key.items() <= line.items():
      return line
  line = {**key, **run()}
  add_line(path, line)
  return line


def read_stored(path):
  """Returns the objects of a file of JSON lines, a list; raises Failure if it has none."""
  found = read_lines(path)
  if not found:
    raise Failure('No stored runs in %s. Give another --runs, or leave it out to measure.' % path)
  return found


def add_line(path, result):
  """Appends an object to a file of JSON lines."""
  with open(path, 'a', encoding='utf-8') as file:
    file.write(json.dumps(result) + '\n')
