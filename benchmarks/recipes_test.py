"""Tests of the recipes benchmark: planning, running, tables."""
import contextlib
import io
import json
import os
import subprocess
import sys
import types
from unittest import mock

import cifar10
from benchmarks import recipes
from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import sample
from cifar10_lib.training import recipes as training


def result(steps, precision, views):
  """Returns a result of `recipes.run` whose first checkpoint has a precision of 0.1."""
  return {'step': [0, *steps], 'precision': [0.1, *precision], 'views': views}


class RecipesTest(tf.test.TestCase):

  def testPlannedRunsHaveTheirRecipes(self):
    self.assertEqual(recipes.planned(['fast:40', 'tutorial:600'], 7),
                     {'fast, 40 steps': training.fast(40),
                      'tutorial, 600 steps': cifar10.tutorial(600)})
    ablation = recipes.planned(['ablation'], 7)
    self.assertEqual({recipe.max_steps for recipe in ablation.values()}, {7})
    self.assertEqual([name for name, recipe in ablation.items() if recipe == training.fast(7)],
                     ['the fast recipe'])  # every other row changes something
    self.assertLen(set(ablation.values()), len(ablation))
    # A change that equals the recipe at a length has no row there.
    short, long, longest = (set(recipes.planned(['ablation'], steps))
                            for steps in (7, 24000, 60000))
    self.assertEqual(short - long, {'crop of 4 pixels throughout', 'no weight decay in the loss'})
    self.assertEqual(long - short, {'crop from 4 pixels to 1', 'weight decay in the loss',
                                    "Muon's rate and decay not by the length"})
    self.assertEqual(long ^ longest, {'mixup by Beta(0.2, 0.2)', 'no mixup'})
    for wrong in 'fast', 'fast:', 'fast:0', 'fast:many', 'slow:40':
      with self.assertRaisesRegex(Failure, 'is not RECIPE:STEPS'):
        recipes.planned([wrong], 7)

  def testStepsToAPrecisionAreInterpolated(self):
    run = result([10, 20, 40], [0.3, 0.5, 0.7], {})
    self.assertAlmostEqual(recipes.steps_to(run, 0.2), 5.0)
    self.assertAlmostEqual(recipes.steps_to(run, 0.5), 20.0)
    self.assertAlmostEqual(recipes.steps_to(run, 0.65), 35.0)
    self.assertIsNone(recipes.steps_to(run, 0.71))

  def testTableShowsMeansAndSpreads(self):
    runs = [result([100, 200], [0.7, 0.9], {'1': 0.9, '18': 0.92}),
            result([100, 200], [0.7, 0.8], {'1': 0.8, '18': 0.94})]
    self.assertEqual(
        recipes.table({'a': runs}, {'a': [0.1, 0.2, 0.9]}, goals=(0.75, 0.85)).splitlines(), [
            '| run | seeds | ms a step | seconds | precision @ 1 (1 view) '
            '| precision @ 1 (18 views) | s to 0.75 | s to 0.85 |',
            '| --- | --- | --- | --- | --- | --- | --- | --- |',
            '| a | 2 | 200 | 40 | 0.8500 ± 0.0707 | 0.9300 ± 0.0141 | 28 | - |'])
    # One run has no spread.
    self.assertEndsWith(recipes.table({'a': runs[:1]}, {'a': [0.2]}, goals=(0.75,)),
                        '| a | 1 | 200 | 40 | 0.9000 | 0.9200 | 25 |')

  def testTrainsScoresAndKeepsResults(self):
    directory = self.get_temp_dir()
    data_dir = os.path.join(directory, 'data')
    sample.make_sample(data_dir, 200, 50)
    options = types.SimpleNamespace(
        out=os.path.join(directory, 'out'), runs=['fast:6'], ablation_steps=1, seeds=1, points=2,
        score='test', score_views=['2'], data_dir=data_dir, batch_size=16, use_fp16=False,
        pace_steps=2, pace_rounds=2)
    with contextlib.redirect_stdout(io.StringIO()):
      results = recipes.run_all(options)
      with mock.patch.object(recipes, 'run', side_effect=AssertionError('it was done')):
        self.assertEqual(recipes.run_all(options), results)
    found, = results['fast, 6 steps']
    # Runs of one table must have the same settings.
    for changes, other in [(dict(use_fp16=True), 'use_fp16'), (dict(score_views=['1']), 'score_v'),
                           (dict(batch_size=8, points=3), 'batch_size and points')]:
      with self.assertRaisesRegex(Failure, 'is of a run with another %s.*--out' % other):
        recipes.run_all(types.SimpleNamespace(**{**vars(options), **changes}))
    # The failure comes before the first run, although only the last run has other settings.
    with mock.patch.object(recipes, 'run', side_effect=AssertionError('it was begun')):
      with self.assertRaisesRegex(Failure, 'another use_fp16'):
        recipes.run_all(types.SimpleNamespace(
            **{**vars(options), 'use_fp16': True, 'runs': ['fast:7', 'fast:6']}))
    slow = training.fast(6)._replace(warmup_steps=3.0)
    with mock.patch.dict(cifar10.RECIPES, fast=lambda max_steps: slow):
      with self.assertRaisesRegex(Failure, 'another warmup_steps;'):
        recipes.run_all(options)
    # A run whose settings lack a name fails too: it started with an older version.
    path = os.path.join(options.out, 'fast_6_steps-test-6-0', 'settings.json')
    with open(path) as file:
      begun = json.load(file)
    with open(path, 'w') as file:
      json.dump({name: begun[name] for name in begun if name != 'momentum'}, file)
    with self.assertRaisesRegex(Failure, 'another momentum;'):
      recipes.run_all(options)
    self.assertEqual(found['step'], [0, 3, 6])
    # Resumes a run that stopped at step 2. Its earlier checkpoints are scored too.
    again = os.path.join(directory, 'again')
    recipes.run(training.fast(2), again, options)
    resumed = recipes.run(training.fast(6), again, options)
    self.assertEqual(resumed['step'], [0, 1, 2, 5, 6])
    results['fast, 6 steps'].append(resumed)
    self.assertAllInRange(found['precision'], 0, 1)
    self.assertEqual(list(found['views']), ['2'])
    with contextlib.redirect_stdout(io.StringIO()):
      seconds = recipes.paces(options)
    self.assertLen(seconds['fast, 6 steps'], 2)
    self.assertGreater(min(seconds['fast, 6 steps']), 0)
    paces = os.path.join(directory, 'paces.json')
    recipes.check_paces(paces, options)  # none yet
    with open(paces, 'w') as file:
      json.dump(seconds, file)
    recipes.check_paces(paces, options)
    options.runs = ['fast:6', 'fast:7']
    with self.assertRaisesRegex(Failure, 'has no pace of fast, 7 steps; move it away'):
      recipes.check_paces(paces, options)
    path = os.path.join(directory, 'curves.png')
    recipes.draw(results, seconds, path)
    self.assertGreater(os.path.getsize(path), 1000)

  def testFlagsDoNotClash(self):
    """Run as a program, its flags do not clash with those of the trainer and the evaluator."""
    for program, flag in ('recipes', '--score_views'), ('augmentation', '--held_out_examples'):
      path = os.path.join(os.path.dirname(recipes.__file__), program + '.py')
      done = subprocess.run([sys.executable, path, '--help'], capture_output=True, text=True,
                            timeout=120, env=dict(os.environ), check=False)
      self.assertIn(flag, done.stdout + done.stderr)


if __name__ == '__main__':
  tf.test.main()
