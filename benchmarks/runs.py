"""Runs of the trainer and evaluator by a benchmark: options, scores, results that are kept."""
import json
import os
import re
import types
from datetime import datetime

from absl import flags

from cifar10_lib.training import checkpoints
import cifar10_eval

_LINE = re.compile(r'^(\S+ \S+): step (\d+), ', re.MULTILINE)


def options(module, **changes):
  """Returns the defaults of a program's flags and of the shared ones, but for the changes."""
  defined = flags.FLAGS.flags_by_module_dict()
  found = {flag.name: flag.value for flag in defined['cifar10'] + defined[module.__name__]}
  return types.SimpleNamespace(**dict(found, **changes))


def times(log):
  """Returns a dict of step to the time in seconds at which a trainer's log has it."""
  return {int(step): datetime.fromisoformat(when).timestamp() for when, step in _LINE.findall(log)}


class Scorer:
  """Scores checkpoints on one set of pictures; its graph is built once."""

  def __init__(self, **changes):
    """Takes the options of the evaluator that are not its defaults."""
    self._evaluation = cifar10_eval.Evaluation(options(cifar10_eval, **changes))

  def accuracy(self, checkpoint):
    """Returns the share, 0 to 1, that a checkpoint names right."""
    return float(self._evaluation.scores(checkpoint).right.mean())


def read(path):
  """Returns what a JSON file holds, or None where there is none."""
  if not os.path.exists(path):
    return None
  with open(path) as file:
    return json.load(file)


def kept(path, run):
  """Returns the result that a JSON file holds; where there is none, that of `run()`, now kept."""
  if not os.path.exists(path):
    checkpoints.write_whole(path, json.dumps(run()))
  return read(path)
