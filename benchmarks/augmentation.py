"""Measures the gain from augmentation: one budget of steps, with each distortion and with several.

  python benchmarks/augmentation.py --data_dir cifar10_data/ --out augmentation_runs/

The trainer and the evaluation are those that a user runs. The training set is small, so even a
short budget has many epochs and shows overfitting. The benchmark prints the accuracy on undistorted
training pictures, on the held-out set and on the test set, and the gap between training and test.
Choose distortions by the held-out set. The benchmark also draws the accuracies and their curves.
Each run appends one line to --results. Runs that are there are not repeated, so the same command
goes on with a benchmark that was stopped. --results=benchmarks/results/augmentation.jsonl --seeds=2
shows those of docs/augmentation.md.
"""
import contextlib
import functools
import io
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # repository root

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

import cifar10  # noqa: E402
import cifar10_train  # noqa: E402
from benchmarks import chart, runs  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.common.programs import Failure  # noqa: E402
from cifar10_lib.dataset import records  # noqa: E402
from cifar10_lib.training import checkpoints  # noqa: E402

FLAGS = flags.FLAGS
CHECKPOINTS = 4  # points on each curve
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
  """Defines the flags of this program; an import alone does not, to avoid duplicate flags."""
  flags.DEFINE_string('out', 'augmentation_runs', 'Directory for data and runs.')
  flags.DEFINE_string('results', None, 'File of results, one JSON line a run; by default '
                                       'results.jsonl in --out.')
  flags.DEFINE_integer('train_examples', 2000, 'Training pictures.', lower_bound=5)
  flags.DEFINE_integer('held_out_examples', 2500, 'Held-out training pictures.', lower_bound=5)
  flags.DEFINE_integer('steps', 800, 'Steps in each run.', lower_bound=4)
  flags.DEFINE_integer('seeds', 3, 'Runs with each set of distortions.', lower_bound=1)
  flags.adopt_module_key_flags(cifar10)


def split(data_dir, out, train_examples, held_out_examples):
  """Writes two data directories: the first records of each training file, and a held-out set.

  Args:
    data_dir: directory of CIFAR-10.
    out: directory for the two data directories.
    train_examples: number of training records; each of the five files gives a fifth.
    held_out_examples: number of held-out records, the last of each file; each gives a fifth.

  Returns:
    The paths (training, validation) of the data directories. Both have the same training records.
    The first has the original test file; the second has the held-out records as its test file.

  Raises:
    Failure: the training records and the held-out records overlap.
  """
  paths = records.data_files(data_dir)
  fewest = min(records.count_records(paths))
  if train_examples // 5 + held_out_examples // 5 > fewest:
    raise Failure('--train_examples=%d and --held_out_examples=%d overlap: %s has %d pictures a '
                  'file. Ask for fewer.' % (train_examples, held_out_examples, data_dir, fewest))
  parts = [np.fromfile(path, np.uint8).reshape(-1, records.RECORD_BYTES) for path in paths]
  test_file, = records.data_files(data_dir, eval_data=True)
  held_out = np.concatenate([part[-(held_out_examples // 5):] for part in parts])
  training, validation = (os.path.join(out, name) for name in ('training', 'validation'))
  for directory, test in (training, np.fromfile(test_file, np.uint8)), (validation, held_out):
    paths = records.data_files(directory)
    os.makedirs(os.path.dirname(paths[0]), exist_ok=True)
    for path, part in zip(paths, parts, strict=True):
      part[:train_examples // 5].tofile(path)
    test.tofile(records.data_files(directory, eval_data=True)[0])
  return training, validation


def run(augment, seed, steps, batch_size, data_dir, train_dir, scorers):
  """Trains one network and scores its checkpoints.

  Args:
    augment: value of --augment.
    seed: random seed of the run.
    steps: number of steps.
    batch_size: pictures in each batch.
    data_dir: data directory with the training pictures.
    train_dir: directory for checkpoints.
    scorers: dict from 'training', 'validation' and 'test' to a runs.Scorer.

  Returns:
    A dict of lists. 'step' holds the steps of the checkpoints. 'training' and 'validation' hold the
    accuracy at each of them, 'test' only that at the last. Accuracies are 0 to 1.
  """
  options = runs.options(
      cifar10_train, data_dir=data_dir, train_dir=train_dir, augment=augment, seed=seed,
      max_steps=steps, batch_size=batch_size, save_checkpoint_steps=steps // CHECKPOINTS,
      summary_steps=steps, keep_checkpoints=CHECKPOINTS + 1)
  with contextlib.redirect_stdout(io.StringIO()):
    code = cifar10_train.train(options)
  if code:  # a signal ended the run; the next start continues it
    sys.exit(code)
  paths = [path for path in checkpoints.find_all(train_dir)
           if checkpoints.step_of(path)]
  result = {name: [scorers[name].accuracy(path) for path in paths]
            for name in ('training', 'validation')}
  return dict(result, step=[checkpoints.step_of(path) for path in paths],
              test=[scorers['test'].accuracy(paths[-1])])


def run_all(options):
  """Runs every set with every seed and returns all results; finished runs are read from --results.

  Args:
    options: the parsed flags.

  Returns:
    A dict from the name of a set to a list with the result of `run` for each seed.
  """
  training, validation = split(options.data_dir, options.out, options.train_examples,
                               options.held_out_examples)
  scorers = {
      name: runs.Scorer(data_dir=data_dir, eval_data=part, num_examples=10**6, batch_size=500)
      for name, data_dir, part in (('training', training, 'train_eval'), ('test', training, 'test'),
                                   ('validation', validation, 'test'))}
  path = options.results or os.path.join(options.out, 'results.jsonl')
  results = {name: [] for name in SETS}
  for seed in range(options.seeds):
    for name, augment in SETS.items():
      budget = '%d-%d-%d' % (options.train_examples, options.steps, options.batch_size)
      train_dir = os.path.join(options.out, '%s-%s-%d' % (name.replace(' ', '_'), budget, seed))
      key = dict(set=name, seed=seed, train_examples=options.train_examples,
                 held_out_examples=options.held_out_examples, steps=options.steps,
                 batch_size=options.batch_size)
      last = runs.stored_line(path, key, functools.partial(
          run, augment, seed, options.steps, options.batch_size, training, train_dir, scorers))
      results[name].append(last)
      print('seed %d %-26s training %.3f validation %.3f test %.3f' % (
          seed, name, last['training'][-1], last['validation'][-1], last['test'][-1]), flush=True)
  return results


def _last(finished, kind):
  """Returns the final accuracies of one kind, a float array with one value for each seed."""
  return np.array([result[kind][-1] for result in finished])


def _spread(finals):
  """Returns the standard deviation of final accuracies; 0 for a single one."""
  return finals.std(ddof=1) if len(finals) > 1 else 0.0


def _ranked(results):
  """Returns the names of the sets, the highest mean validation accuracy first."""
  return sorted(results, key=lambda name: -_last(results[name], 'validation').mean())


def best(results):
  """Returns the name of the set with the highest mean validation accuracy."""
  return _ranked(results)[0]


def table(results):
  """Returns the results as a Markdown table, best validation accuracy first."""
  lines = ['| distortions | training | validation | test | gap |',
           '| --- | --- | --- | --- | --- |']
  for name in _ranked(results):
    finals = {kind: _last(results[name], kind) for kind in ('training', 'validation', 'test')}
    cells = ['%.3f ± %.3f' % (final.mean(), _spread(final)) for final in finals.values()]
    gap = (finals['training'] - finals['test']).mean()
    lines.append('| %s | %s | %.3f |' % (name, ' | '.join(cells), gap))
  return '\n'.join(lines)


def draw(results, path):
  """Draws a PNG file: bars of all final accuracies, and the curves of three sets over steps."""
  with chart.panels(path, 2, size=(12, 5)) as (bars, curves):
    order = _ranked(results)[::-1]
    place = np.arange(len(order))
    for kind, colour, shift in ('training', '#f2a03d', 0.2), ('test', '#3572b0', -0.2):
      finals = [_last(results[name], kind) for name in order]
      bars.barh(place + shift, [final.mean() for final in finals], 0.38, color=colour, label=kind,
                xerr=[_spread(final) for final in finals])
    bars.set(yticks=place, yticklabels=order, xlabel='accuracy at the end', xlim=(0, 1))
    bars.legend(loc='lower right')
    shown = dict.fromkeys(['none', "the tutorial's", best(results)])
    for name, colour in zip(shown, ('#b03535', '#3572b0', '#3a8f4a'), strict=False):
      for kind, style in ('training', '--'), ('validation', '-'):
        finished = results[name]
        steps = finished[0]['step']  # a run that was stopped has other steps
        mean = np.mean([np.interp(steps, run['step'], run[kind]) for run in finished], axis=0)
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
  FLAGS.set_default('batch_size', 32)  # more steps in each epoch of few pictures
  programs.run(main)
