"""Kills programs at random moments, starts them again, and checks that nothing was lost.

  python benchmarks/kills.py --part=training --rounds=50

prints one JSON line for each signal: rounds, losses and what was found. A loss is described on
standard error. A signal goes to the process, to its process group, or comes twice, by lot. Parts:

  training    The second start must go on from the last checkpoint. That checkpoint is at most three
              steps before the last step of the log; after one SIGTERM or SIGINT it is not before
              it. Steps of the events never go back, except to where the second start goes on. No
              unfinished file is left.
  towers      The same, with two towers.
  download    A slow host on loopback. The second start must end with the right files.
  evaluation  Of one checkpoint or of all. The second start must give the same scores and the same
              predictions, and the events must be readable.
  export      The second start must write the model, unless the first has: then it must refuse, and
              the model predicts as it should.
"""
import argparse
import collections
import csv
import functools
import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import attacks, kills_download  # noqa: E402
from cifar10_lib.common.tf1 import tf  # noqa: E402
from cifar10_lib.training import checkpoints  # noqa: E402

# From the start to the signal, relative to an undisturbed run. Python itself, which takes 0.1 s to
# start, answers SIGINT with a traceback: no program can prevent that.
MOMENTS = (0.06, 1.2)


def training(directory, program='cifar10_train', **flags):
  """Returns the function that kills a trainer once."""
  data_dir = attacks.draw_sample(directory)
  start = functools.partial(attacks.trainer, program, data_dir, **flags)
  whole = attacks.seconds_of(start(os.path.join(directory, 'first'), 10))

  def one_round(blow, moment, place):
    train_dir = os.path.join(place, 'train')
    with attacks.running(start(train_dir, 10**6)) as process:
      time.sleep(moment * whole)
      output = blow.strike(process)
    latest = checkpoints.find_latest(train_dir)
    saved = checkpoints.step_of(latest) if latest else 0
    logged = max(attacks.steps_of(output), default=0)
    assert saved >= logged - (0 if blow.saves else 3), 'saved step %d, made step %d' % (
        saved, logged)
    output = attacks.run(start(train_dir, saved + 4))
    assert not latest or 'Continuing from %s.' % latest in output, output
    assert not attacks.leftovers(train_dir), os.listdir(train_dir)
    *before, steps = attacks.event_steps(train_dir)
    assert steps[-1] == saved + 4 and steps[0] >= saved, (saved, steps)
    last = max(sum(before, []), default=0)
    assert not blow.saves or steps[0] >= last, 'events up to step %d, then %s' % (last, steps)
    return 'step %d' % saved if latest else 'before a checkpoint'
  return one_round


def _scores(output):
  """Returns what an evaluator printed about scores, without times: dict from step to text."""
  return {int(step): text for text, step in re.findall(
      r'(precision @ 1 = .* at step (\d+), .*)', output)}


def _rows(path):
  with open(path, newline='') as file:
    return list(csv.reader(file))


def _trained(directory):
  """Trains 10 steps; returns --data_dir and a directory with six checkpoints."""
  data_dir, train_dir = attacks.draw_sample(directory), os.path.join(directory, 'train')
  attacks.run(attacks.trainer('cifar10_train', data_dir, train_dir, 10, keep_checkpoints=10))
  return data_dir, train_dir


def evaluation(directory):
  """Returns the function that kills an evaluator once, of one checkpoint or of all."""
  data_dir, train_dir = _trained(directory)

  def argv(place, once):
    return attacks.command(
        'cifar10_eval', data_dir=data_dir, checkpoint_dir=train_dir, batch_size=50, run_once=once,
        eval_dir=os.path.join(place, 'eval'), predictions_csv=os.path.join(place, 'rows.csv'))

  expected, whole = {}, {}
  for once in True, False:
    began = time.monotonic()
    expected[once] = _scores(attacks.run(argv(directory, once)))
    whole[once] = time.monotonic() - began
    assert len(expected[once]) == (1 if once else 6), expected
  rows = _rows(os.path.join(directory, 'rows.csv'))

  def one_round(blow, moment, place):
    once = moment * 1000 % 1 < 0.5
    path = os.path.join(place, 'rows.csv')
    with attacks.running(argv(place, once)) as process:
      time.sleep(moment * whole[once])
      output = blow.strike(process, codes=[0])
    assert _scores(output).items() <= expected[once].items(), output
    # Whatever step the rows are of, the file is absent or whole.
    assert not os.path.exists(path) or [len(rows), *map(len, rows)] == [
        len(_rows(path)), *map(len, _rows(path))], 'a part of the predictions'
    assert _scores(attacks.run(argv(place, once))) == expected[once]
    assert _rows(path) == rows, 'other predictions'
    steps = attacks.event_steps(os.path.join(place, 'eval'))
    assert {*steps[-1]} == {*expected[once]}, steps
    assert not attacks.leftovers(place), os.listdir(place)
    return '%d of %d scored' % (len(_scores(output)), len(expected[once]))
  return one_round


def _predictions(model):
  """Returns what both SavedModels of an export predict for a picture: two float32 [1, 10]."""
  picture = [[[7 * (row + column) % 256] * 3 for column in range(32)] for row in range(32)]
  found = []
  for place, name in (model, 'images'), (os.path.join(model, 'encoded'), 'encoded'):
    with tf.Graph().as_default(), tf.Session() as session:
      fed = picture if name == 'images' else session.run(
          tf.io.encode_png(tf.constant(picture, tf.uint8)))
      signature = tf.saved_model.load(session, ['serve'], place).signature_def['serving_default']
      found.append(session.run(signature.outputs['probabilities'].name,
                               {signature.inputs[name].name: [fed]}).tolist())
  return found


def exporting(directory):
  """Returns the function that kills an export once."""
  _, train_dir = _trained(directory)

  def argv(model):
    return attacks.command('cifar10_predict', checkpoint_dir=train_dir, export=model)

  sound = os.path.join(directory, 'model')
  whole, expected = attacks.seconds_of(argv(sound)), None
  expected = _predictions(sound)

  def one_round(blow, moment, place):
    model = os.path.join(place, 'model')
    with attacks.running(argv(model)) as process:
      time.sleep(moment * whole)
      blow.strike(process, codes=[0])
    left = os.listdir(model) if os.path.exists(model) else []
    if sorted(left) == attacks.EXPORTED:
      assert _predictions(model) == expected, 'a wrong model'
      assert model in attacks.run(argv(model), code=1)
      return 'whole'
    attacks.run(argv(model))
    assert _predictions(model) == expected and sorted(
        os.listdir(model)) == attacks.EXPORTED and len(os.listdir(place)) == 1, left
    return 'unfinished' if left else 'nothing'
  return one_round


PARTS = {'training': training,
         'towers': functools.partial(training, program='cifar10_train_multi_gpu', num_gpus=2),
         'download': kills_download.download, 'evaluation': evaluation, 'export': exporting}


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--part', choices=PARTS, default='training')
  parser.add_argument('--rounds', type=int, default=50, help='of each signal')
  parser.add_argument('--seed', type=int, default=1)
  options = parser.parse_args()
  total = 0
  with attacks.workplace('kills') as directory:
    one_round = PARTS[options.part](directory)
    for name in attacks.SIGNALS:
      draw = random.Random('%s %s %d' % (options.part, name, options.seed))
      row, ways = '%s, %s' % (options.part, name), collections.Counter()

      def strike(number, name=name, draw=draw, row=row, ways=ways):
        blow, moment = attacks.Blow.draw(draw, name), draw.uniform(*MOMENTS)
        ways[blow.way] += 1
        place = os.path.join(directory, '%s-%d' % (name, number))
        os.mkdir(place)
        return one_round(blow, moment, place)
      began = time.monotonic()
      results, losses = attacks.repeat(row, options.rounds, strike)
      attacks.report(row, rounds=options.rounds, losses=losses, ways=ways,
                     found=collections.Counter(results),
                     seconds=round(time.monotonic() - began))
      total += losses
  return 1 if total else 0


if __name__ == '__main__':
  sys.exit(main())
