"""What recipes reach, in how many steps and seconds, and what each part of the fast one gives.

  python benchmarks/recipes.py --data_dir cifar10_data/ --out recipes/

Trains every recipe of --runs several times, by the trainer and the evaluation that a user runs, so
without a fixed seed, and scores each checkpoint. Prints a Markdown table of mean and spread, and
draws precision over seconds. Results are kept in --out and training goes on from its checkpoints,
so a benchmark that was stopped goes on where it was; with other settings it wants another --out.

How long a step takes is told by short runs at the end, by turns: hours of training meet a machine
that drifts, and other programs. So training itself may go on beside other work; leave the machine
idle for the end.

Choose by --score=validation: 5,000 training pictures are held out, and scored. --score=test trains
on all pictures and scores the test file: for the final table, when all is chosen.

  python benchmarks/recipes.py --data_dir cifar10_data/ --out ablation/ --runs=ablation
"""
import contextlib
import functools
import io
import os
import statistics
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # the rooms

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

import cifar10  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.training import checkpoints  # noqa: E402
import cifar10_train  # noqa: E402
from benchmarks import chart, runs  # noqa: E402
from cifar10_lib.common.programs import Failure  # noqa: E402

FLAGS = flags.FLAGS
FAST, TUTORIAL = cifar10.FAST, cifar10.TUTORIAL
KEEP = 10000  # checkpoints of a run: all, for each is a point of its curve
SETTINGS = 'settings.json'  # beside the checkpoints: what a run was begun with


def _distorted(augment, long_augment=None):
  """Returns the fast recipe with other distortions; those of long runs the same, if not given."""
  return FAST._replace(augment=augment, long_augment=long_augment or augment)


ABLATION = {
    'the fast recipe': FAST,
    'no Muon': FAST._replace(muon_rate=0.0),
    'no Muon, no momentum, rate 0.1': FAST._replace(muon_rate=0.0, momentum=0.0, learning_rate=0.1),
    'no warm-up': FAST._replace(warmup=0.0),
    'rate constant, no warm-up': FAST._replace(epochs_per_decay=350.0),
    "the tutorial's average": FAST._replace(moving_average_decay=0.9999),
    "Muon's rate and decay not by the length": FAST._replace(muon_steps=None),
    "Muon's steps of local3 as often as the others": FAST._replace(muon_every=1),
    'no decay of weights by Muon': FAST._replace(muon_decay=0.0),
    "the tutorial's decay of weights": FAST._replace(muon_decay=0.0, weight_decay=0.004,
                                                     long_weight_decay=0.004),
    'no weight decay in the loss': FAST._replace(weight_decay=0.0),
    'weight decay in the loss': FAST._replace(long_weight_decay=FAST.weight_decay),
    'label smoothing 0.1': FAST._replace(label_smoothing=0.1),
    'no mixup': FAST._replace(mixup=0.0),
    'mixup by Beta(0.2, 0.2)': FAST._replace(mixup_steps=None),
    "the tutorial's distortions": _distorted(TUTORIAL.augment),
    'with contrast': _distorted('%s,contrast:0.6-1.4' % FAST.augment,
                                '%s,contrast:0.6-1.4' % FAST.long_augment),
    'crop of 4 pixels throughout': _distorted('crop:4,flip'),
    'crop from 4 pixels to 1': _distorted('crop:4..1,flip'),
    'crop of 1 pixel throughout': _distorted('crop:1,flip'),
    'no crop': _distorted('flip'),
    'no flip': _distorted('crop:4..1', 'crop:4'),
    'no distortion': _distorted('none'),
}


def define_flags():
  """Defines the flags of this program; where it is only imported, they might clash with others'."""
  flags.DEFINE_string('out', 'recipes', 'Directory of runs and results.')
  flags.DEFINE_list('runs', ['fast:4000', 'fast:12000'],
                    'RECIPE:STEPS, with commas between; or ablation, which leaves out one part of '
                    'the fast recipe after the other.')
  flags.DEFINE_integer('ablation_steps', 4000, 'Steps of each run of the ablation.', lower_bound=1)
  flags.DEFINE_integer('seeds', 3, 'Independent runs of each.', lower_bound=1)
  flags.DEFINE_integer('points', 8, 'Checkpoints that are scored on the way.', lower_bound=1)
  flags.DEFINE_integer('pace_steps', 150, 'Steps that are timed of each, in each round.',
                       lower_bound=1)
  flags.DEFINE_integer('pace_rounds', 3, 'Rounds in which they are.', lower_bound=1)
  flags.DEFINE_enum('score', 'validation', ['validation', 'test'], 'What to score on.')
  flags.DEFINE_list('score_views', ['1'], 'Views to score the last checkpoint with.')
  flags.adopt_module_key_flags(cifar10)


def planned(texts, ablation_steps):
  """Returns what to run; of the ablation, what differs from the whole recipe at that length.

  Args:
    texts: list of 'RECIPE:STEPS', or ['ablation'].
    ablation_steps: of each run of the ablation.

  Returns:
    A dict of name to (Recipe, steps).

  Raises:
    Failure: a text is neither.
  """
  if texts == ['ablation']:
    whole = cifar10.fitted(FAST, ablation_steps)
    return {name: (recipe, ablation_steps) for name, recipe in ABLATION.items()
            if recipe is FAST or cifar10.fitted(recipe, ablation_steps) != whole}
  plan = {}
  for text in texts:
    name, _, steps = text.partition(':')
    if name not in cifar10.RECIPES or not steps.isdigit() or not int(steps):
      raise Failure('--runs: %r is not RECIPE:STEPS with a recipe of %s, nor ablation.'
                    % (text, ', '.join(sorted(cifar10.RECIPES))))
    plan['%s, %s steps' % (name, steps)] = cifar10.RECIPES[name], int(steps)
  return plan


def _held_out(options):
  """Returns how many training pictures are held out: none, where the test file is scored."""
  return options.validation_examples if options.score == 'validation' else 0


def _train_options(recipe, steps, directory, options, save_steps):
  """Returns the trainer's options for a recipe, whatever its name."""
  cifar10.RECIPES['benchmark'] = recipe
  return runs.options(
      cifar10_train, data_dir=options.data_dir, train_dir=directory, batch_size=options.batch_size,
      max_steps=steps, recipe='benchmark', augment=None,
      validation_examples=_held_out(options), save_checkpoint_steps=save_steps,
      keep_checkpoints=KEEP, summary_steps=1000, use_fp16=options.use_fp16)


def _train(train):
  """Trains, or goes on, as the trainer does; returns the checkpoints, those of stops too."""
  with contextlib.redirect_stdout(io.StringIO()):
    code = cifar10_train.train(train)
  if code:  # a signal; the next start goes on with this run
    sys.exit(code)
  return checkpoints.find_all(train.train_dir)


def _run_options(recipe, steps, directory, options):
  """Returns the trainer's options for a run that is scored."""
  return _train_options(recipe, steps, directory, options, max(1, steps // options.points))


def run(recipe, steps, directory, options):
  """Trains once, or goes on, and scores.

  Args:
    recipe: a Recipe.
    steps: the budget.
    directory: for checkpoints.
    options: the parsed flags.

  Returns:
    A dict of lists 'step' and 'precision', one a checkpoint, and a dict 'views' of the last
    checkpoint's precision by views.
  """
  paths = _train(_run_options(recipe, steps, directory, options))
  scorers = {
      views: runs.Scorer(data_dir=options.data_dir, batch_size=options.batch_size, views=views,
                         eval_data=options.score, validation_examples=_held_out(options))
      for views in ['1', *options.score_views]}
  return {'step': [checkpoints.step_of(path) for path in paths],
          'precision': [scorers['1'].accuracy(path) for path in paths],
          'views': {views: scorers[views].accuracy(paths[-1]) for views in options.score_views}}


def pace(recipe, options):
  """Returns the seconds of a step: those from one checkpoint of a new run to the next."""
  count = options.pace_steps
  with tempfile.TemporaryDirectory() as directory:
    *_, first, last = _train(_train_options(recipe, 2 * count, directory, options, count))
    return (os.stat(last + '.index').st_mtime - os.stat(first + '.index').st_mtime) / count


def paces(options):
  """Times all that is planned, by turns, once.

  Returns:
    A dict of name to a list of seconds a step, one a round.
  """
  found = {}
  for number in range(options.pace_rounds):
    for name, (recipe, _) in planned(options.runs, options.ablation_steps).items():
      found.setdefault(name, []).append(pace(recipe, options))
      print('round %d %-28s %.1f ms a step' % (number + 1, name, 1e3 * found[name][-1]), flush=True)
  return found


def _planned_runs(options):
  """Yields seed, name, Recipe, steps and directory of each run, in the order in which they go."""
  for seed in range(options.seeds):
    for name, (recipe, steps) in planned(options.runs, options.ablation_steps).items():
      yield seed, name, recipe, steps, os.path.join(options.out, '%s-%s-%d-%d' % (
          name.replace(' ', '_').replace(',', ''), options.score, steps, seed))


def _settings(recipe, steps, directory, options):
  """Returns what the result of a run depends on, by name."""
  train = _run_options(recipe, steps, directory, options)
  return cifar10_train.hyper_parameters(train) | {
      'points': options.points, 'score_views': options.score_views}


def check_settings(options):
  """Raises Failure if a planned run was begun with other settings: a table is of one piece."""
  for _, _, recipe, steps, directory in _planned_runs(options):
    path = os.path.join(directory, SETTINGS)
    now = _settings(recipe, steps, directory, options)
    begun = runs.read(path) or now
    other = sorted(name for name in {**begun, **now} if begun.get(name) != now.get(name))
    if other:
      raise Failure('%s is of a run with another %s; give another --out, or move that run away.'
                    % (path, ' and '.join(other)))


def check_paces(path, options):
  """Raises Failure if the paces that are kept are of other runs: by turns means all at once."""
  timed = runs.read(path)
  absent = planned(options.runs, options.ablation_steps).keys() - (timed or {}).keys()
  if timed is not None and absent:
    raise Failure('%s has no pace of %s; move it away to time all anew, or give another --out.'
                  % (path, ', '.join(sorted(absent))))


def run_all(options):
  """Runs what is planned with every seed, but for what is done; returns name to list of results."""
  check_settings(options)  # of all, before the first takes its hours
  results = {}
  for seed, name, recipe, steps, directory in _planned_runs(options):
    os.makedirs(directory, exist_ok=True)
    runs.kept(os.path.join(directory, SETTINGS),
              functools.partial(_settings, recipe, steps, directory, options))
    last = runs.kept(os.path.join(directory, 'result.json'),
                     functools.partial(run, recipe, steps, directory, options))
    results.setdefault(name, []).append(last)
    print('seed %d %-28s %.4f' % (seed, name, last['precision'][-1]), flush=True)
  return results


def steps_to(result, precision):
  """Returns after how many steps a run first had a precision, between checkpoints by a line."""
  at, values = result['step'], result['precision']
  for i in range(1, len(at)):
    if values[i] >= precision:
      share = (precision - values[i - 1]) / (values[i] - values[i - 1])
      return at[i - 1] + share * (at[i] - at[i - 1])
  return None


def table(results, seconds, goals=(0.7, 0.75, 0.8)):
  """Returns mean and standard deviation of each run as a Markdown table.

  Args:
    results: a dict of name to a list of what `run` returned.
    seconds: what `paces` returned.
    goals: precisions, to tell after how many seconds they were reached.
  """
  views = sorted({count for repeats in results.values() for each in repeats
                  for count in each['views']}, key=int)
  head = ['run', 'seeds', 'ms a step', 'seconds',
          *('precision @ 1 (%s view%s)' % (n, 's' * (n != '1')) for n in views),
          *('s to %.2f' % goal for goal in goals)]
  lines = ['| ' + ' | '.join(head) + ' |', '| --- ' * len(head) + '|']
  for name, repeats in results.items():
    step = statistics.median(seconds[name])
    cells = [name, str(len(repeats)), '%.0f' % (1e3 * step), '%.0f' % (
        step * repeats[0]['step'][-1])]
    for count in views:
      last = [each['views'][count] for each in repeats]
      spread = ' ± %.4f' % np.std(last, ddof=1) if len(last) > 1 else ''
      cells.append('%.4f%s' % (np.mean(last), spread))
    for goal in goals:
      steps = [steps_to(each, goal) for each in repeats]
      cells.append('-' if None in steps else '%.0f' % (step * np.mean(steps)))
    lines.append('| ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)


def draw(results, seconds, path):
  """Draws precision over seconds, one line a run and a colour a name, into a PNG file."""
  with chart.panels(path, 1, size=(10, 6)) as (axes,):
    for number, (name, repeats) in enumerate(results.items()):
      for i, each in enumerate(repeats):  # where one was stopped, it has points of its own
        at = statistics.median(seconds[name]) * np.array(each['step'][1:])
        axes.plot(at, each['precision'][1:], marker='.', color='C%d' % (number % 10),
                  label=None if i else name)
    axes.set(xscale='log', xlabel='seconds of training', ylabel='precision @ 1, one view')
    axes.grid(alpha=0.3)
    axes.legend()


def main(argv):
  del argv
  cifar10.maybe_download_and_extract()
  timed = os.path.join(FLAGS.out, 'paces.json')
  check_paces(timed, FLAGS)  # hours before they are asked for
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
