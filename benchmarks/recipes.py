"""Measures the accuracy and time of recipes, and the contribution of each part of the fast one.

  python benchmarks/recipes.py --data_dir cifar10_data/ --out recipes/

Trains every recipe of --runs several times and scores each checkpoint. It uses the trainer and the
evaluation that a user runs, so the seed is not fixed. It prints a Markdown table of mean and
spread, and draws precision over seconds. Results and checkpoints stay in --out, so a stopped
benchmark resumes where it was. Other settings need another --out.

Short runs at the end, in turn, measure the time of a step. Hours of training would include the
machine's drift and other programs. So training may run beside other work. Leave the machine idle
for the end.

Choose settings with --score=validation: it holds out 5,000 training pictures and scores them. Use
--score=test for the final table: it trains on all pictures and scores the test file.

  python benchmarks/recipes.py --data_dir cifar10_data/ --out ablation/ --runs=ablation
"""
import contextlib
import functools
import io
import os
import statistics
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # finds cifar10

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

import cifar10  # noqa: E402
import cifar10_train  # noqa: E402
from benchmarks import chart, runs  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.common.programs import Failure  # noqa: E402
from cifar10_lib.training import checkpoints  # noqa: E402
from cifar10_lib.training import run as trainer_run  # noqa: E402

FLAGS = flags.FLAGS
WHOLE = 'the fast recipe'  # the row of the ablation that nothing is taken from
KEEP = 10000  # checkpoints of a run to keep: all, because each is a point of its curve
RESULTS = 'results.jsonl'  # in --out: one line a finished run, as in benchmarks/results/
SETTINGS = 'settings.json'  # beside the checkpoints: the settings at the start of a run


def define_flags():
  """Defines the flags of this program. An import does not, so that flags do not clash."""
  flags.DEFINE_string('out', 'recipes', 'Directory for runs and results.')
  flags.DEFINE_list('runs', ['fast:4000', 'fast:12000'],
                    'RECIPE:STEPS, separated by commas; or ablation, which changes one part of the '
                    'fast recipe in each run.')
  flags.DEFINE_integer('ablation_steps', 4000, 'Number of steps in each run of the ablation.',
                       lower_bound=1)
  flags.DEFINE_integer('seeds', 3, 'Number of independent runs of each.', lower_bound=1)
  flags.DEFINE_integer('points', 8, 'Number of checkpoints to score in a run.', lower_bound=1)
  flags.DEFINE_integer('pace_steps', 150, 'Timed steps of each, in each round.',
                       lower_bound=1)
  flags.DEFINE_integer('pace_rounds', 3, 'Number of rounds of timing.', lower_bound=1)
  flags.DEFINE_enum('score', 'validation', ['validation', 'test'], 'Pictures to score.')
  flags.DEFINE_list('score_views', ['1'], 'Numbers of views to score the last checkpoint with.')
  flags.adopt_module_key_flags(cifar10)


def ablation(steps):
  """Returns the fast recipe for a run of `steps`, whole and with one part changed in each row.

  A change that equals the whole recipe at this length has no row.

  Args:
    steps: number of training steps.

  Returns:
    A dict from name to Recipe, WHOLE first.
  """
  whole = cifar10.RECIPES['fast'](steps)
  shortest = cifar10.RECIPES['fast'](1)  # has the numbers that long runs change
  changes = {
      'no Muon': dict(muon_rate=0.0),
      'no Muon, no momentum, rate 0.1': dict(muon_rate=0.0, momentum=0.0, learning_rate=0.1),
      'rate constant, no warm-up': dict(warmup_steps=0.0, final_rate=1.0),
      "the tutorial's average": dict(moving_average_decay=cifar10.MOVING_AVERAGE_DECAY),
      "Muon's rate and decay not by the length": dict(muon_rate=shortest.muon_rate,
                                                      muon_decay=shortest.muon_decay),
      "Muon's steps of local3 as often as the others": dict(muon_every=1),
      'no decay of weights by Muon': dict(muon_decay=0.0),
      'no weight decay in the loss': dict(weight_decay=0.0),
      'weight decay in the loss': dict(weight_decay=shortest.weight_decay),
      'label smoothing 0.1': dict(label_smoothing=0.1),
      'no mixup': dict(mixup=0.0),
      'mixup by Beta(0.2, 0.2)': dict(mixup=0.2),
      "the tutorial's distortions": dict(augment=cifar10.tutorial().augment),
      'crop of 4 pixels throughout': dict(augment='crop:4,flip'),
      'crop from 4 pixels to 1': dict(augment='crop:4..1,flip'),
      'no crop': dict(augment='flip'),
      'no flip': dict(augment=whole.augment.replace(',flip', '')),
      'no distortion': dict(augment='none'),
  }
  rows = {name: whole._replace(**fields) for name, fields in changes.items()}
  return {WHOLE: whole} | {
      name: recipe for name, recipe in rows.items() if recipe != whole}


def planned(texts, ablation_steps):
  """Returns the runs to make.

  Args:
    texts: list of 'RECIPE:STEPS', or ['ablation'].
    ablation_steps: number of steps in each run of the ablation.

  Returns:
    A dict from name to Recipe; its `max_steps` is the number of steps to train.

  Raises:
    Failure: a text is neither.
  """
  if texts == ['ablation']:
    return ablation(ablation_steps)
  plan = {}
  for text in texts:
    name, _, steps = text.partition(':')
    if name not in cifar10.RECIPES or not steps.isdigit() or not int(steps):
      raise Failure('--runs: %r is not RECIPE:STEPS with a recipe of %s, nor ablation.'
                    % (text, ', '.join(sorted(cifar10.RECIPES))))
    plan['%s, %s steps' % (name, steps)] = cifar10.RECIPES[name](int(steps))
  return plan


def _held_out(options):
  """Returns the number of held-out training pictures: 0 where the test file is scored."""
  return options.validation_examples if options.score == 'validation' else 0


def _train_options(recipe, steps, directory, options, save_steps):
  """Returns the trainer's options for `steps` of any Recipe, registered or not."""
  cifar10.RECIPES['benchmark'] = lambda max_steps: recipe
  return runs.options(
      cifar10_train, data_dir=options.data_dir, train_dir=directory, batch_size=options.batch_size,
      max_steps=steps, recipe='benchmark', augment=None,
      validation_examples=_held_out(options), save_checkpoint_steps=save_steps,
      keep_checkpoints=KEEP, summary_steps=1000, use_fp16=options.use_fp16)


def _train(train):
  """Trains or resumes as the trainer does; returns all checkpoints, including those of stops."""
  with contextlib.redirect_stdout(io.StringIO()):
    code = cifar10_train.train(train)
  if code:  # ended by a signal; the next start resumes this run
    sys.exit(code)
  return checkpoints.find_all(train.train_dir)


def _run_options(recipe, directory, options):
  """Returns the trainer's options for a scored run."""
  steps = recipe.max_steps
  return _train_options(recipe, steps, directory, options, max(1, steps // options.points))


def run(recipe, directory, options):
  """Trains or resumes one run, and scores its checkpoints.

  Args:
    recipe: a Recipe; its `max_steps` is the number of steps to train.
    directory: directory for checkpoints.
    options: the parsed flags.

  Returns:
    A dict of 'step' and 'precision', lists with one entry for each checkpoint, and 'views', a dict
    from the number of views to the precision of the last checkpoint.
  """
  paths = _train(_run_options(recipe, directory, options))
  scorers = {
      views: runs.Scorer(data_dir=options.data_dir, batch_size=options.batch_size, views=views,
                         eval_data=options.score, validation_examples=_held_out(options))
      for views in ['1', *options.score_views]}
  return {'step': [checkpoints.step_of(path) for path in paths],
          'precision': [scorers['1'].accuracy(path) for path in paths],
          'views': {views: scorers[views].accuracy(paths[-1]) for views in options.score_views}}


def pace(recipe, options):
  """Returns the seconds a step, from one checkpoint of a new run to the next."""
  count = options.pace_steps
  with tempfile.TemporaryDirectory() as directory:
    *_, first, last = _train(_train_options(recipe, 2 * count, directory, options, count))
    return (os.stat(last + '.index').st_mtime - os.stat(first + '.index').st_mtime) / count


def paces(options):
  """Times every planned run once in each round, in turn.

  Returns:
    A dict from name to a list of seconds a step, one for each round.
  """
  found = {}
  for number in range(options.pace_rounds):
    for name, recipe in planned(options.runs, options.ablation_steps).items():
      found.setdefault(name, []).append(pace(recipe, options))
      print('round %d %-28s %.1f ms a step' % (number + 1, name, 1e3 * found[name][-1]), flush=True)
  return found


def _planned_runs(options):
  """Yields seed, name, Recipe and directory of each run, in the order of the runs."""
  for seed in range(options.seeds):
    for name, recipe in planned(options.runs, options.ablation_steps).items():
      yield seed, name, recipe, os.path.join(options.out, '%s-%s-%d-%d' % (
          name.replace(' ', '_').replace(',', ''), options.score, recipe.max_steps, seed))


def _settings(recipe, directory, options):
  """Returns the settings that the result of a run depends on, as a dict."""
  train = _run_options(recipe, directory, options)
  return trainer_run.hyper_parameters(train, recipe) | {
      'points': options.points, 'score_views': options.score_views}


def check_settings(options):
  """Raises Failure if a planned run started with other settings, which must not mix in a table."""
  for _, _, recipe, directory in _planned_runs(options):
    path = os.path.join(directory, SETTINGS)
    now = _settings(recipe, directory, options)
    begun = runs.read(path) or now
    other = sorted(name for name in {**begun, **now} if begun.get(name) != now.get(name))
    if other:
      raise Failure('%s is of a run with another %s; give another --out, or move that run away.'
                    % (path, ' and '.join(other)))


def check_paces(path, options):
  """Raises Failure if the stored paces lack a run: all runs must be timed together, in turn."""
  timed = runs.read(path)
  absent = planned(options.runs, options.ablation_steps).keys() - (timed or {}).keys()
  if timed is not None and absent:
    raise Failure('%s has no pace of %s; move it away to time all anew, or give another --out.'
                  % (path, ', '.join(sorted(absent))))


def run_all(options):
  """Makes every planned run that is not done; returns a dict from name to a list of results."""
  check_settings(options)  # checks all runs before the first, which may take hours
  results, stored = {}, os.path.join(options.out, RESULTS)
  for seed, name, recipe, directory in _planned_runs(options):
    os.makedirs(directory, exist_ok=True)
    runs.kept(os.path.join(directory, SETTINGS),
              functools.partial(_settings, recipe, directory, options))
    key = {'run': name, 'score': options.score, 'seed': seed}
    last = next((line for line in runs.read_lines(stored) if key.items() <= line.items()), None)
    if last is None:
      last = key | run(recipe, directory, options)
      runs.add_line(stored, last)
    results.setdefault(name, []).append(last)
    print('seed %d %-28s %.4f' % (seed, name, last['precision'][-1]), flush=True)
  return results


def steps_to(result, precision):
  """Returns the step at which a run first reached a precision, interpolated linearly; or None."""
  at, values = result['step'], result['precision']
  for i in range(1, len(at)):
    if values[i] >= precision:
      share = (precision - values[i - 1]) / (values[i] - values[i - 1])
      return at[i - 1] + share * (at[i] - at[i - 1])
  return None


def table(results, seconds, goals=(0.7, 0.75, 0.8)):
  """Returns mean and standard deviation of each run as a Markdown table.

  Args:
    results: a dict from name to a list of results of `run`.
    seconds: the result of `paces`.
    goals: precisions; the table has the seconds to each.
  """
  views = sorted({count for repeats in results.values() for result in repeats
                  for count in result['views']}, key=int)
  head = ['run', 'seeds', 'ms a step', 'seconds',
          *('precision @ 1 (%s view%s)' % (n, 's' * (n != '1')) for n in views),
          *('s to %.2f' % goal for goal in goals)]
  lines = ['| ' + ' | '.join(head) + ' |', '| --- ' * len(head) + '|']
  for name, repeats in results.items():
    step = statistics.median(seconds[name])
    cells = [name, str(len(repeats)), '%.0f' % (1e3 * step), '%.0f' % (
        step * repeats[0]['step'][-1])]
    for count in views:
      last = [result['views'][count] for result in repeats]
      spread = ' ± %.4f' % np.std(last, ddof=1) if len(last) > 1 else ''
      cells.append('%.4f%s' % (np.mean(last), spread))
    for goal in goals:
      steps = [steps_to(result, goal) for result in repeats]
      cells.append('-' if None in steps else '%.0f' % (step * np.mean(steps)))
    lines.append('| ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)


def draw(results, seconds, path):
  """Draws precision over seconds into a PNG file: a line for each run, a colour for each name."""
  with chart.panels(path, 1, size=(10, 6)) as (axes,):
    for number, (name, repeats) in enumerate(results.items()):
      for i, result in enumerate(repeats):  # a stopped run has other steps than the rest
        at = statistics.median(seconds[name]) * np.array(result['step'][1:])
        axes.plot(at, result['precision'][1:], marker='.', color='C%d' % (number % 10),
                  label=None if i else name)
    axes.set(xscale='log', xlabel='seconds of training', ylabel='precision @ 1, one view')
    axes.grid(alpha=0.3)
    axes.legend()


def main(argv):
  del argv
  cifar10.maybe_download_and_extract()
  timed = os.path.join(FLAGS.out, 'paces.json')
  check_paces(timed, FLAGS)  # fails now, not after hours of training
  results = run_all(FLAGS)
  seconds = runs.kept(timed, functools.partial(paces, FLAGS))
  print(table(results, seconds))
  path = os.path.join(FLAGS.out, 'recipes.png')
  draw(results, seconds, path)
  print('Curves: %s' % path)


if __name__ == '__main__':
  define_flags()
  FLAGS.set_default('validation_examples', 5000)  # of 50,000
  programs.run(main)
