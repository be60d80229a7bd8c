"""Trains on a few pictures only, and scores what a network knows of these and of new ones.

Lesson 3 uses it to show what augmentation is for. Data, training and scores are those of
benchmarks/augmentation.py, on a budget of seconds.
"""
import contextlib
import io

import cifar10_train
from benchmarks import augmentation, runs
from cifar10_lib.training import checkpoints
from lessons import draw, lesson

PICTURES = 150  # training pictures; each of the five files gives a fifth
STEPS = 160
BATCH_SIZE = 16  # so that 160 steps are 17 epochs
POINTS = 4  # of each curve
SCORED = 1000  # test pictures


def curves(augment, name):
  """Trains a network on PICTURES pictures, and scores its checkpoints.

  Args:
    augment: value of --augment.
    name: directory in runs/ for data and checkpoints; what is there is deleted.

  Returns:
    A dict from 'training' and 'test' to (steps, accuracies), two lists of length POINTS. The
    training pictures are scored undistorted, as the test pictures are.

  Raises:
    KeyboardInterrupt: the cell was interrupted.
  """
  out = lesson.directory(name, fresh=True)
  data, _ = augmentation.split(lesson.data_dir, out, PICTURES, held_out_examples=5)
  train_dir = out + '/train'
  options = lesson.options(
      cifar10_train, data_dir=data, train_dir=train_dir, augment=augment, recipe='fast', seed=1,
      max_steps=STEPS, batch_size=BATCH_SIZE, save_checkpoint_steps=STEPS // POINTS,
      keep_checkpoints=POINTS + 1, summary_steps=STEPS)
  with contextlib.redirect_stdout(io.StringIO()):
    code = cifar10_train.train(options)
  if code:
    raise KeyboardInterrupt(lesson.say('Training was interrupted. Run the cell again.'))
  paths = [path for path in checkpoints.find_all(train_dir) if checkpoints.step_of(path)]
  found = {}
  for kind, part in ('training', 'train_eval'), ('test', 'test'):
    scorer = runs.Scorer(data_dir=data, eval_data=part, num_examples=SCORED, batch_size=500)
    found[kind] = ([checkpoints.step_of(path) for path in paths],
                   [scorer.accuracy(path) for path in paths])
  return found


def draw_curves(**results):
  """Draws results of `curves`: training dashed, test solid, a colour for each name."""
  _, axis = draw.pyplot.subplots(figsize=(7, 4), layout='constrained')
  for colour, (name, found) in zip(draw.COLOURS, results.items(), strict=False):
    for kind, style in ('training', '--'), ('test', '-'):
      axis.plot(*found[kind], style, color=colour, marker='o', markersize=4,
                label='%s: %s' % (name.replace('_', ' '), kind + ' pictures'))
  axis.set(xlabel='step', ylabel='accuracy', ylim=(0, 1.03))
  axis.legend(fontsize=9)
