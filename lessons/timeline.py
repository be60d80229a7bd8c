"""Draws who worked when, for the three ways to feed a trainer: see feeding.py."""
from cifar10_lib.common.programs import Failure

HEADINGS = ('1  Read a batch, then compute on it, in turn',
            '2  One thread reads ahead into a queue in memory',
            '3  A queue of file names lets several threads read ahead')
# Colours of bars. The two shades alternate so that neighbouring bars are distinct.
READING = '#f2a03d', '#f7c480'
COMPUTING = '#2f6aa8', '#6b9bcb'
WAITING = '#f3c9c6'


def lanes(spans):
  """Splits spans of (begin, end) into the fewest lists in which none overlap."""
  found = []
  for span in sorted(spans):
    free = [lane for lane in found if lane[-1][1] <= span[0]]
    if free:
      free[0].append(span)
    else:
      found.append([span])
  return found


def _draw_bars(axis, spans, bottom, height, colours):
  axis.broken_barh([(begin, end - begin) for begin, end in spans], (bottom, height),
                   facecolors=[colours[i % 2] for i in range(len(spans))])


def _draw_way(axis, result, heading, until):
  """Draws one way on a time axis of `until` seconds: readers above, the trainer below."""
  end = result.steps[-1][1]
  reads = [(begin, min(done, end)) for begin, done in result.reads if begin < end]
  rows = lanes(reads)
  height = 0.8 / max(1, len(rows))
  for i, lane in enumerate(rows):
    _draw_bars(axis, lane, 1.8 - (i + 1) * height, 0.9 * height, READING)
  _draw_bars(axis, [(0, end)], 0, 0.8, [WAITING])
  _draw_bars(axis, result.steps, 0, 0.8, COMPUTING)
  for i, (begin, done) in enumerate(result.steps):
    if done - begin > until / 70:  # a narrower bar has no room for its number
      axis.text((begin + done) / 2, 0.4, i + 1, color='white', ha='center', va='center', fontsize=8)
  waits = 1 - sum(done - begin for begin, done in result.steps) / end
  axis.set(yticks=[0.4, 1.4], yticklabels=['computing', 'reading'], ylim=(-0.1, 1.9),
           xlim=(0, until))
  axis.set_title('%s:  %d batches in %.1f s, waiting %.0f%% of the time'
                 % (heading, len(result.steps), end, 100 * waits), loc='left', fontsize=11)
  axis.spines[['top', 'right', 'left']].set_visible(False)
  axis.grid(False)
  axis.tick_params(left=False)


def show(results):
  """Draws the ways as bars over one time axis, in a new figure of pyplot.

  Args:
    results: the Results that `feeding.compare` returns.
  """
  from matplotlib import patches, pyplot
  ways = results[1:]
  until = max(result.steps[-1][1] for result in ways)  # seconds
  figure, axes = pyplot.subplots(len(ways), sharex=True, figsize=(11, 6.6))
  for axis, result, heading in zip(axes, ways, HEADINGS, strict=True):
    _draw_way(axis, result, heading, until)
  axes[-1].set_xlabel('seconds')
  figure.suptitle('Three ways to feed the same network, measured: a bar is one batch', fontsize=14)
  figure.legend(loc='upper center', bbox_to_anchor=(0.5, 0.95), ncols=3, frameon=False, handles=[
      patches.Patch(color=colour, label=label) for colour, label in (
          (READING[0], 'reading'), (COMPUTING[0], 'computing'), (WAITING, 'waiting for a batch'))])
  figure.tight_layout(rect=(0, 0, 1, 0.95))


def write(results, path):
  """Draws as `show` does, and writes a PNG file.

  Raises:
    Failure: the file cannot be written.
  """
  import matplotlib
  matplotlib.use('Agg')
  from matplotlib import pyplot
  show(results)
  try:
    pyplot.savefig(path, dpi=80, format='png')
  except OSError as error:
    raise Failure('Cannot write %s: %s. Choose another --timeline.'
                  % (path, error.strerror)) from error
  finally:
    pyplot.close()
