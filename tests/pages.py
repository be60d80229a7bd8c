"""What the pages hold: commands, Python snippets and output, and how `run_pages` runs each command.

Everything that a page may hold stands in the tables below. A line that no table knows is 'unknown',
and fails the test, so a new kind of command cannot escape.
"""
import contextlib
import glob
import pathlib
import re
import shlex
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ('*.md', 'docs/*.md', 'deploy/*.md', 'lessons/*.md', 'lessons/zh/*.md')

# The first words of commands. Behind assignments such as TF_CONFIG=... they count too.
PROGRAMS = {'python', 'source', 'export', 'pip', 'jupyter', 'tensorboard', 'ruff', './demo.sh',
            './test.sh', 'docker', 'kubectl', 'sbatch', '%load_ext', '%tensorboard'}

# Lines of output, as patterns. A command of the page must print a line of the same pattern.
TIME = r'^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}: '
OUTPUT = (
    r'^\.\.\.$',
    TIME + r'step 1, loss = \d+\.\d\d \(first step after \d+\.\d sec\)$',
    TIME + r'step \d+, loss = \d+\.\d\d \(\d+\.\d examples/sec; \d\.\d{3} sec/batch\), '
    r'accuracy \d\.\d\d, \d:\d\d:\d\d left$',
    TIME + r'precision @ 1 = \d\.\d{3} \(\d+/\d+\) at step \d+, mean loss = \d\.\d{3}'
    r'( \(sample data set\))?$',
    r'^Starting in \w+/\.$',
    r'^Done: step (\d+) of \1, saved in \w+/\.$',
    r'^Training has ended, and its last checkpoint is scored\.$',
    r'^true class accuracy   airpl autom  bird   cat  deer   dog  frog horse  ship truck$',
    r'^(airplane|truck)  +\d\.\d{3}( +\d+){10}$',
    r'^\w+/model\.ckpt-\d+, step \d+$',
    r'^[\w/]+\.(jpg|png)(: |, )\w+ \d\.\d{3}, \w+ \d\.\d{3}, \w+ \d\.\d{3}$',
)
DRAWING = r'^cifar10_train\.py  cifar10_train_multi_gpu\.py'  # the house of CONTRIBUTING.md

# What makes a long job short: pattern of a command, replacement. Applied one after the other.
STEPS = 20
SHORTER = (
    (r'/tmp/', 'scratch/'),
    (r'--(max_steps|steps|short_steps|ablation_steps)([= ])\d+', r'--\1\g<2>%d' % STEPS),
    # The three trainers of README go on from one another, so each gets a larger total.
    (r'^(python cifar10_train\.py (?!.*--max_steps).*)', r'\1 --max_steps=%d' % STEPS),
    (r'^(python cifar10_train_multi_gpu\.py .*)', r'\1 --max_steps=%d' % (STEPS + 10)),
    (r'^(python cifar10_train_distributed\.py .*)', r'\1 --max_steps=%d' % (STEPS + 20)),
    (r'^(TF_CONFIG=.* python cifar10_train_distributed\.py .*?)( &)?$',
     r'\1 --max_steps=%d\2' % (STEPS + 40)),
    (r'--save_checkpoint_steps \d+', '--save_checkpoint_steps 10'),
    (r'(cifar10_eval\.py .*--views=18)', r'\1 --num_examples=500'),
    # Two machines become this one. The chief runs while the worker's command follows.
    (r'10\.0\.0\.2:2223', '127.0.0.1:2224'),
    (r'10\.0\.0\.1', '127.0.0.1'),
    (r'(TF_CONFIG=.*"chief.*)', r'\1 &'),
    (r'(--runs=\w+):\d+', r'\1:%d' % STEPS),
    (r'--(seeds|points|rounds)([= ])\d+', r'--\1\g<2>1'),
    (r'(benchmarks/recipes\.py .*)', r'\1 --pace_rounds=1 --pace_steps=10'),
    (r'(benchmarks/augmentation\.py .*)', r'\1 --steps=4'),
    (r'(benchmarks/devices\.py .*)--steps=\d+', r'\1--steps=100'),  # the fewest
    (r'(benchmarks/growth\.py .*)', r'\1 --long_steps=100'),
    (r'PYTHON_WITH_TORCH', '.venv/bin/python'),
    (r'(benchmarks/speed\.py .*)', r'\1 --rounds=1 --steps=%d' % STEPS),
    (r'(benchmarks/transfer\.py .*)', r'\1 --pictures 10 --seeds 1'),
    (r'--sizes=\d+', '--sizes=2'),
    (r'--minutes=\d+', '--minutes=0.5'),
    (r'--cases=\d+', '--cases=20'),
    (r'^\./test\.sh$', './test.sh tests/docs_test.py'),
    (r'^python lessons/build\.py$', 'python lessons/build.py 1_data'),
    (r'^pip install', 'pip install --dry-run'),
    (r'^%load_ext (\w+)$', r"ipython -c '%load_ext \1'"),
    (r'^%tensorboard', 'tensorboard'),
    (r'^(tensorboard .*)', r'\1 --port=0'),
    (r'^(jupyter lab .*)', r'\1 --no-browser --allow-root --port=0'),
)

# What a reader has and a fresh copy has not: a name in a command, what makes it if it is not there.
MADE = {
    'photos/': 'from cifar10_lib.dataset import sample\n'
               'sample.draw_pictures("photos/cup", 10, seed=1)\n'
               'sample.draw_pictures("photos/key", 10, seed=2)',
    'new.jpg': 'import shutil; shutil.copy("lessons/img/1.jpg", "new.jpg")',
    'cat.png': 'import shutil; shutil.copy("lessons/img/star.png", "cat.png")',
    'model/': 'import subprocess, sys; subprocess.run([sys.executable, "cifar10_predict.py", '
              '"--checkpoint_dir=cifar10_train/", "--export=model/"], check=True)',
    'runs': 'import os; os.mkdir("runs")',
}

# What cannot run here: pattern of a command, the reason.
NOT_RUN = (
    (r'^docker ', 'needs Docker'),
    (r'^kubectl ', 'needs a Kubernetes cluster'),
    (r'^sbatch ', 'needs Slurm'),
    (r'^PYTHON=', 'installs TensorFlow for another Python, from the network'),
)


class Item(NamedTuple):
  """A piece of a page that is run or checked."""
  page: str
  line: int
  kind: str  # 'command', 'snippet' (Python), 'output' (one line), or 'unknown'
  text: str


def first_word(text):
  """Returns the program of a command, without assignments before it, or '' for other text."""
  with contextlib.suppress(ValueError):  # an open quotation
    for word in shlex.split(text):
      if not re.match(r'\w+=', word):
        return word.removeprefix('.venv/bin/')
  return ''


def blocks(text):
  """Yields each indented or fenced block: the number of its first line, its lines, its language."""
  found, start, fence = [], 0, None
  for number, line in enumerate([*text.splitlines(), ''], 1):
    if line.startswith('```'):
      if fence is not None:
        yield start, found, fence
      fence, found, start = (line[3:], [], number + 1) if fence is None else (None, [], 0)
    elif fence is not None:
      found.append(line)
    elif line.startswith('    '):
      start = start or number
      found.append(line[4:])
    elif found:
      yield start, found, ''
      found, start = [], 0


def items_of_block(page, start, lines):
  """Yields the items of a block; lines that end in a backslash go on in the next one."""
  if re.match(r'(import|from) ', lines[0]):
    yield Item(page, start, 'snippet', '\n'.join(lines))
    return
  whole = re.sub(r'\\\n *', lambda match: '\0', '\n'.join(lines)).split('\n')
  for line in whole:
    number, start = start, start + 1 + line.count('\0')
    command = re.sub(r'(^|\s+)#.*', '', line.replace('\0', ''))
    if first_word(command) in PROGRAMS:
      yield Item(page, number, 'command', command)
    elif any(re.search(pattern, line) for pattern in OUTPUT):
      yield Item(page, number, 'output', line)
    elif command:
      yield Item(page, number, 'unknown', line)


def items(page, text):
  """Returns the items of a page in their order (list of Item), those between backticks too."""
  found, prose = [], text.splitlines()
  for start, lines, language in blocks(text):
    prose[start - 1:start - 1 + len(lines)] = [''] * len(lines)
    cell = language == 'python' and page.startswith('lessons/')  # the tests of lessons run these
    if not cell and not re.match(DRAWING, lines[0]):
      found += items_of_block(page, start, lines)
  prose = re.sub(r'^```.*', '', '\n'.join(prose), flags=re.MULTILINE)
  for span in re.finditer(r'`([^`]+)`', prose):
    command = ' '.join(span[1].split())
    line, words = 1 + prose[:span.start()].count('\n'), command.split()
    if first_word(command) in PROGRAMS and (len(words) > 1 or command.startswith('./')):
      found.append(Item(page, line, 'command', command.removeprefix('.venv/bin/')))
    elif re.match(r'[\w./%]+ (.* )?--\w', command):
      found.append(Item(page, line, 'unknown', command))
  return sorted(found, key=lambda item: item.line)


def read_all(root=ROOT):
  """Returns a dict from page, such as 'docs/speed.md', to its items."""
  paths = sorted(path for pattern in PAGES for path in glob.glob(pattern, root_dir=root))
  return {path: items(path, (root / path).read_text(encoding='utf-8')) for path in paths}


def shortened(command):
  """Returns the command that is run in place of a page's."""
  for pattern, replacement in SHORTER:
    command = re.sub(pattern, replacement, command)
  return command


def reason_not_run(item):
  """Returns why an item cannot run here, or ''."""
  return ''.join(reason for pattern, reason in NOT_RUN
                 if item.kind == 'command' and re.search(pattern, item.text))


def shown(item):
  """Returns an item in one line: the command that is run, or the first line of a snippet."""
  text = shortened(item.text) if item.kind == 'command' else item.text
  return text.partition('\n')[0]
