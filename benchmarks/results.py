"""Prints the tables of docs/accuracy.md from the stored runs, and draws its picture.

  python benchmarks/results.py

benchmarks/results/ holds the raw numbers, one JSON line a run. The picture goes to
docs/accuracy.png.
"""
import os
import statistics
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # finds cifar10

import numpy as np  # noqa: E402

from benchmarks import chart, recipes, runs  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(ROOT, 'benchmarks', 'results')

# Rows of the first table, lines of the picture: heading, run in recipes.jsonl, run in paces.jsonl.
LONG_RUNS = (
    ('`fast`, 12,000 steps', 'fast, 12000 steps', 'fast'),
    ('`fast`, 60,000 steps', 'fast, 60000 steps', 'fast'),
    ('`tutorial`, 36,000 steps', 'tutorial, 36000 steps', 'tutorial'),
)
RECOMMENDED = 2200  # steps in two minutes


def stored(name):
  """Returns the runs of one benchmark: list of dict."""
  return runs.read_lines(os.path.join(RESULTS, name + '.jsonl'))


def mean_and_spread(values):
  """Returns the mean and, of more than one value, the standard deviation, as text."""
  spread = ' ± %.4f' % statistics.stdev(values) if len(values) > 1 else ''
  return '%.4f%s' % (statistics.mean(values), spread)


def _row(*cells):
  return '| ' + ' | '.join(cells) + ' |'


def seconds_a_step():
  """Returns the median seconds a step: dict from a name in paces.jsonl to a float."""
  lines = stored('paces')
  found = {line['run']: statistics.median(line['seconds_a_step']) for line in lines}
  assert len(found) == len(lines), 'a run has two lines'
  return found


def accuracy_table():
  """Returns the first table of docs/accuracy.md: list of lines."""
  short = [line for line in stored('two_minutes') if line['steps'] == RECOMMENDED]
  seconds = [line['seconds of the steps'] for line in short]
  rows = [_row(
      f'`fast`, {RECOMMENDED:,} steps', str(len(short)),
      '%.0f (%.0f-%.0f)' % (statistics.mean(seconds), min(seconds), max(seconds)),
      *[mean_and_spread([line['views'][views] for line in short]) for views in '12'],
      'not scored')]
  pace = seconds_a_step()
  for heading, name, paced in LONG_RUNS:
    found = _long_run(name)
    rows.append(_row(
        heading, str(len(found)), f"{pace[paced] * found[0]['step'][-1]:,.0f}",
        *[mean_and_spread([line['views'][views] for line in found]) for views in ('1', '2', '18')]))
  return [_row('run', 'runs', 'seconds', '1 view', '2 views', '18 views'),
          '| --- ' * 6 + '|', *rows]


def _ablation():
  """Returns the runs of the ablation: dict from a row's name to a list of 'views' of its runs."""
  found = {}
  for line in stored('ablation'):
    found.setdefault(line['run'], []).append(line['views'])
  return found


def ablation_table():
  """Returns the table of what mattered, the largest loss first: list of lines."""
  found = _ablation()
  means = {name: statistics.mean(views['1'] for views in repeats)
           for name, repeats in found.items()}
  lost = {name: 100 * (means[recipes.WHOLE] - mean) for name, mean in means.items()}
  rows = [_row(name, '%.1f' % (round(lost[name], 1) + 0.0), *[  # no -0.0
      '%.4f' % statistics.mean(views[count] for views in found[name]) for count in '12'])
          for name in sorted(lost, key=lambda name: -lost[name])]
  return [_row('change', 'points lost, 1 view', '1 view', '2 views'), '| --- ' * 4 + '|', *rows]


def ablation_spread():
  """Returns the standard deviation of one run with one view, pooled over all rows, in points."""
  rows = [[views['1'] for views in repeats] for repeats in _ablation().values()]
  squares = sum(sum((value - statistics.mean(row)) ** 2 for value in row) for row in rows)
  return 100 * (squares / sum(len(row) - 1 for row in rows)) ** 0.5


def _long_run(name):
  """Returns the stored lines of a run of recipes.jsonl; there must be one."""
  found = [line for line in stored('recipes') if line['run'] == name]
  assert found, name + ' is not stored'
  return found


def draw(path):
  """Draws precision over seconds into a PNG file: a line for each run, a colour for each recipe."""
  pace = seconds_a_step()
  with chart.panels(path, 1, size=(10, 6)) as (axes,):
    for number, (heading, name, paced) in enumerate(LONG_RUNS):
      for i, line in enumerate(_long_run(name)):
        axes.plot(pace[paced] * np.array(line['step'][1:]), line['precision'][1:], marker='.',
                  color='C%d' % number, label=None if i else heading.replace('`', ''))
    axes.set(xscale='log', xlabel='seconds of training', ylabel='precision @ 1, one view')
    axes.grid(alpha=0.3)
    axes.legend()


def main():
  print('\n'.join(accuracy_table()), end='\n\n')
  print('\n'.join(ablation_table()), end='\n\n')
  print('One run varies by %.2f points (standard deviation).' % ablation_spread())
  draw(os.path.join(ROOT, 'docs', 'accuracy.png'))


if __name__ == '__main__':
  main()
