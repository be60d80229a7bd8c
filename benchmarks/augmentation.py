"""What augmentation buys: the same budget of steps with each distortion, and with several.

  python benchmarks/augmentation.py --data_dir cifar10_data/ --out augmentation_runs/

Trains on few pictures, so that a short budget goes over them often and overfitting shows, with the
trainer and the evaluation that a user runs. Prints training accuracy (on the pictures as they are),
validation accuracy (training pictures held out: choose by this one), test accuracy and the gap
between training and test; draws them and their curves. A run that is done is kept in --out, so a
benchmark that was stopped goes on.
"""
import contextlib
import functools
import io
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # the rooms

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

import cifar10  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.training import checkpoints  # noqa: E402
import cifar10_input  # noqa: E402
import cifar10_train  # noqa: E402
from benchmarks import chart, runs  # noqa: E402
from cifar10_lib.common.programs import Failure  # noqa: E402
from cifar10_lib.dataset.download import RECORD_BYTES  # noqa: E402

FLAGS = flags.FLAGS
CHECKPOINTS = 4  # points of a curve
SETS = {
    'none': 'none',
    'translate': 'translate',
    'rotate': 'rotate',
    'flip': 'flip',
    'crop': 'crop',
    'scale': 'scale',
    'colour': 'colour',
    'noise': 'noise',
    "the tutorial's": 'crop,flip,colour',
    'crop, flip': 'crop,flip',
    'crop, flip, scale, rotate': 'crop,flip,scale,rotate:10',
    'all seven': 'translate,rotate,flip,crop,scale,colour,noise',
}


def define_flags():
  """Defines the flags of this program; where it is only imported, they might clash with others'."""
  flags.DEFINE_string('out', 'augmentation_runs', 'Directory of data, runs and results.')
  flags.DEFINE_integer('train_examples', 2000, 'Training pictures.', lower_bound=5)
  flags.DEFINE_integer('held_out_examples', 2500, 'Held-out training pictures.', lower_bound=5)
  flags.DEFINE_integer('steps', 800, 'Steps of each run.', lower_bound=4)
  flags.DEFINE_integer('seeds', 3, 'Runs of each set.', lower_bound=1)
  flags.adopt_module_key_flags(cifar10)


def split(data_dir, out, train_examples, held_out_examples):
  """Writes the data of the benchmark: the first records of each training file, and the last.

  Args:
    data_dir: directory of CIFAR-10.
    out: directory to write to.
    train_examples, held_out_examples: records; a fifth of each file's.

  Returns:
    (training, validation): data directories. The first has the test file as it is, the second the
    held-out records in its place.

  Raises:
    Failure: a record would have to be in both.
  """
  fewest = min(cifar10_input.count_records(cifar10_input.data_files(data_dir)))
  if train_examples // 5 + held_out_examples // 5 > fewest:
    raise Failure('--train_examples=%d and --held_out_examples=%d overlap: %s has %d pictures a '
                  'file. Ask for fewer.' % (train_examples, held_out_examples, data_dir, fewest))
  records = [np.fromfile(path, np.uint8).reshape(-1, RECORD_BYTES)
             for path in cifar10_input.data_files(data_dir)]
  test_file, = cifar10_input.data_files(data_dir, eval_data=True)
  held_out = np.concatenate([part[-(held_out_examples // 5):] for part in records])
  training, validation = (os.path.join(out, name) for name in ('training', 'validation'))
  for directory, test in (training, np.fromfile(test_file, np.uint8)), (validation, held_out):
    os.makedirs(os.path.join(directory, cifar10_input.DIRECTORY), exist_ok=True)
    for path, part in zip(cifar10_input.data_files(directory), records, strict=True):
      part[:train_examples // 5].tofile(path)
    test.tofile(cifar10_input.data_files(directory, eval_data=True)[0])
  return training, validation


def run(augment, seed, steps, batch_size, data_dir, train_dir, scorers):
  """Trains once and scores.

  Args:
    augment: distortions, as --augment takes them.
    seed: of the run.
    steps, batch_size: the budget.
    data_dir: of the training pictures.
    train_dir: for checkpoints.
    scorers: dict of runs.Scorer: 'training', 'validation' and 'test'.

  Returns:
    A dict of lists: 'step', and accuracies of 'training' and 'validation' at these steps; 'test'
    holds one, of the last.
  """
  options = runs.options(
      cifar10_train, data_dir=data_dir, train_dir=train_dir, augment=augment, seed=seed,
      max_steps=steps, batch_size=batch_size, save_checkpoint_steps=steps // CHECKPOINTS,
      summary_steps=steps, keep_checkpoints=CHECKPOINTS + 1)
  with contextlib.redirect_stdout(io.StringIO()):
    code = cifar10_train.train(options)
  if code:  # a signal; the next start goes on with this run
    sys.exit(code)
  paths = [path for path in checkpoints.find_all(train_dir)
           if checkpoints.step_of(path)]
  result = {name: [scorers[name].accuracy(path) for path in paths]
            for name in ('training', 'validation')}
  return dict(result, step=[checkpoints.step_of(path) for path in paths],
              test=[scorers['test'].accuracy(paths[-1])])


def run_all(options):
  """Runs every set with every seed, but for those that are done; returns all results.

  Args:
    options: the parsed flags.

  Returns:
    A dict of set to a list of what `run` returned, one a seed.
  """
  training, validation = split(options.data_dir, options.out, options.train_examples,
                               options.held_out_examples)
  scorers = {
      name: runs.Scorer(data_dir=data_dir, eval_data=part, num_examples=10**6, batch_size=500)
      for name, data_dir, part in (('training', training, 'train_eval'), ('test', training, 'test'),
                                   ('validation', validation, 'test'))}
  results = {name: [] for name in SETS}
  for seed in range(options.seeds):
    for name, augment in SETS.items():
      budget = '%d-%d-%d' % (options.train_examples, options.steps, options.batch_size)
      train_dir = os.path.join(options.out, '%s-%s-%d' % (name.replace(' ', '_'), budget, seed))
      path = os.path.join(train_dir, 'result.json')
      last = runs.kept(path, functools.partial(
          run, augment, seed, options.steps, options.batch_size, training, train_dir, scorers))
      results[name].append(last)
      print('seed %d %-26s training %.3f validation %.3f test %.3f' % (
          seed, name, last['training'][-1], last['validation'][-1], last['test'][-1]), flush=True)
  return results


def _last(runs, kind):
  """Returns the final accuracies of one kind, an array with one for each seed."""
  return np.array([each[kind][-1] for each in runs])


def best(results):
  """Returns the name of the set with the highest mean validation accuracy."""
  return max(results, key=lambda name: _last(results[name], 'validation').mean())


def table(results):
  """Returns the results as a Markdown table, best validation accuracy first."""
  lines = ['| distortions | training | validation | test | gap |',
           '| --- | --- | --- | --- | --- |']
  order = sorted(results, key=lambda name: -_last(results[name], 'validation').mean())
  for name in order:
    runs = results[name]
    cells = ['%.3f ± %.3f' % (_last(runs, kind).mean(), _last(runs, kind).std(ddof=1)
                              if len(runs) > 1 else 0)
             for kind in ('training', 'validation', 'test')]
    gap = (_last(runs, 'training') - _last(runs, 'test')).mean()
    lines.append('| %s | %s | %.3f |' % (name, ' | '.join(cells), gap))
  return '\n'.join(lines)


def draw(results, path):
  """Draws final accuracies as bars and three sets' curves over steps, into a PNG file."""
  with chart.panels(path, 2, size=(12, 5)) as (bars, curves):
    order = sorted(results, key=lambda name: _last(results[name], 'test').mean())
    place = np.arange(len(order))
    for kind, colour, shift in ('training', '#f2a03d', 0.2), ('test', '#3572b0', -0.2):
      finals = [_last(results[name], kind) for name in order]
      bars.barh(place + shift, [final.mean() for final in finals], 0.38, color=colour, label=kind,
                xerr=[final.std() for final in finals])
    bars.set(yticks=place, yticklabels=order, xlabel='accuracy at the end', xlim=(0, 1))
    bars.legend(loc='lower right')
    shown = dict.fromkeys(['none', "the tutorial's", best(results)])
    for name, colour in zip(shown, ('#b03535', '#3572b0', '#3a8f4a'), strict=False):
      for kind, style in ('training', '--'), ('validation', '-'):
        each_run = results[name]
        steps = each_run[0]['step']  # a run that was stopped once saved at others
        mean = np.mean([np.interp(steps, each['step'], each[kind]) for each in each_run], axis=0)
        curves.plot(steps, mean, style, color=colour, marker='o', label='%s, %s' % (name, kind))
    curves.set(xlabel='steps', ylabel='accuracy', ylim=(0, 1))
    curves.legend(fontsize=8)
    curves.grid(alpha=0.3)
    bars.figure.suptitle(
        'A wide gap between training and test is overfitting: augmentation narrows it')


def main(argv):
  del argv
  cifar10.maybe_download_and_extract()
  results = run_all(FLAGS)
  print(table(results))
  print('Best on the validation pictures: %s' % best(results))
  path = os.path.join(FLAGS.out, 'augmentation.png')
  draw(results, path)
  print('Bars and curves: %s' % path)


if __name__ == '__main__':
  define_flags()
  FLAGS.set_default('batch_size', 32)  # more steps out of few pictures
  programs.run(main)
