"""Finds the commands, Python snippets and lines of output in the pages, for `run_pages`.

The tables say what a page may hold, how each program is made short, and what cannot run. A line of
a block that no table knows is 'unknown' and fails the test, so a new kind of command cannot escape.
"""
import contextlib
import glob
import itertools
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
PYTHON = r'(import|from) \w|[\w, ]+ = '  # the start of a snippet
# A comment, or a quotation (group 1), in which # is text.
COMMENT = r"""("(?:\\.|[^"])*"|'[^']*')|(?:^|\s+)#.*"""
DRAWING = r'^cifar10_train\.py  cifar10_train_multi_gpu\.py'  # the house of CONTRIBUTING.md

# What makes a program short: options behind those of the page, which they override.
SHORT_OPTIONS = {
    # The trainers of README go on from one another, so each gets a larger total.
    'cifar10_train.py': '--max_steps=20 --save_checkpoint_steps=10',
    'cifar10_train_multi_gpu.py': '--max_steps=40',
    'cifar10_train_distributed.py': '--max_steps=60',
    'cifar10_eval.py': '--num_examples=500',
    'benchmarks/augmentation.py': '--seeds=1 --steps=4 --train_examples=500 '
                                  '--held_out_examples=500',
    'benchmarks/devices.py': '--rounds=1 --steps=100 --warmup=10',
    'benchmarks/faults.py': '--cases=20',
    'benchmarks/full_disk.py': '--sizes=2',
    'benchmarks/growth.py': '--short_steps=20 --long_steps=100',
    'benchmarks/kills.py': '--rounds=1',
    'benchmarks/kills_cluster.py': '--rounds=1 --kinds=launcher',
    'benchmarks/recipes.py': '--seeds=1 --points=1 --score_views=2 --ablation_steps=20 '
                             '--pace_rounds=1 --pace_steps=10',
    'benchmarks/soak.py': '--minutes=3',  # a tenth of it must be longer than the start of a program
    'benchmarks/speed.py': '--rounds=1 --steps=20 --warmup=10',
    'benchmarks/speed_parts.py': '--rounds=1 --steps=20 --warmup=10',
    'benchmarks/step_profile.py': '--steps=2 --warmup=2',
    'tensorboard': '--port=0',
    'jupyter': '--no-browser --allow-root --port=0',
}

# What else is changed in commands and snippets: pattern, replacement. One after the other.
REPLACED = (
    (r'/tmp/', 'scratch/'),
    (r'(max_steps\W{1,4})\d+', r'\g<1>20'),
    (r'model\.ckpt-\d+', 'model.ckpt-20'),
    (r'((--runs=|,)(fast|tutorial)):\d+', r'\1:20'),
    (r'^\./test\.sh$', './test.sh tests/docs_test.py'),
    (r'^python lessons/build\.py$', 'python lessons/build.py 1_data'),
    (r'\bpip install', 'pip install --dry-run'),
    (r'^%load_ext (\w+)$', r"ipython -c '%load_ext \1'"),
    (r'^%tensorboard', 'tensorboard'),
    (r'PYTHON_WITH_TORCH', 'python'),
    # Two machines become this one. The chief runs while the worker's command follows.
    (r'10\.0\.0\.2:2223', '127.0.0.1:2224'),
    (r'10\.0\.0\.1', '127.0.0.1'),
    (r'(TF_CONFIG=.*"chief.*)', r'\1 &'),
)
CLUSTER_OPTIONS = '--max_steps=80'  # with TF_CONFIG: more than the command on one machine before

# What a reader has and a fresh copy has not: pattern of an item, its path, commands that make it.
MADE = (
    (r'(--checkpoint_dir|--init_from)[= ]cifar10_train/', 'cifar10_train',
     'python cifar10_train.py --data_dir cifar10_data/ --train_dir cifar10_train/ --max_steps=20'),
    (r'\bphotos/', 'photos',
     'python -c "from cifar10_lib.dataset.sample import draw_pictures\n'
     'for seed, name in enumerate([\'cup\', \'key\']): '
     'draw_pictures(\'photos/\' + name, 10, seed)"'),
    (r'\bnew\.jpg', 'new.jpg', 'cp lessons/img/1.jpg new.jpg'),
    (r'\bcat\.png', 'cat.png', 'cp lessons/img/star.png cat.png'),
    (r'--logdir runs\b', 'runs', 'mkdir runs'),
)

# What cannot run here: pattern of a command or snippet, the reason.
NOT_RUN = (
    (r'^docker ', 'needs Docker'),
    (r'^kubectl ', 'needs a Kubernetes cluster'),
    (r'^sbatch ', 'needs Slurm'),
    (r'^PYTHON=', 'installs TensorFlow for another Python, from the network'),
    (r'onnx', 'needs tf2onnx and ONNX Runtime, which the project does not install'),
)
# Pages with the same commands and snippets as another; tests/docs_test.py compares them.
SAME = {'README.zh-CN.md': 'README.md'}


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


def program(command):
  """Returns the program of a command: the script behind `python`, or else its first word."""
  found = re.search(r'\bpython (\S+\.py)', command)
  return found[1] if found else first_word(command)


def blocks(text):
  """Yields each indented or fenced block: the number of its first line, its lines, its language."""
  found, start, fence, lines = [], 0, None, [*text.splitlines(), '', '']
  for number, (line, after) in enumerate(itertools.pairwise(lines), 1):
    goes_on = not line and after.startswith('    ') and found and re.match(PYTHON, found[0])
    if line.startswith('```'):
      if fence is not None:
        yield start, found, fence
      fence, found, start = (line[3:], [], number + 1) if fence is None else (None, [], 0)
    elif fence is not None:
      found.append(line)
    elif line.startswith('    ') or goes_on:
      start = start or number
      found.append(line[4:])
    elif found:
      yield start, found, ''
      found, start = [], 0


def items_of_block(page, start, lines, language):
  """Yields the items of a block; lines that end in a backslash go on in the next one."""
  if language == 'python' or re.match(PYTHON, lines[0]):
    yield Item(page, start, 'snippet', '\n'.join(lines))
    return
  whole = re.sub(r'\\\n *', lambda match: '\0', '\n'.join(lines)).split('\n')
  for line in whole:
    number, start = start, start + 1 + line.count('\0')
    command = re.sub(COMMENT, lambda match: match[1] or '', line.replace('\0', ''))
    if first_word(command) in PROGRAMS:
      yield Item(page, number, 'command', command)
    elif any(re.search(pattern, line) for pattern in OUTPUT):
      yield Item(page, number, 'output', line)
    elif command:
      yield Item(page, number, 'unknown', line)


def prose(text):
  """Returns a page with its blocks blank, so that lines keep their numbers."""
  lines = text.splitlines()
  for start, block, _ in blocks(text):
    lines[start - 1:start - 1 + len(block)] = [''] * len(block)
  return re.sub(r'^```.*', '', '\n'.join(lines), flags=re.MULTILINE)


def items(page, text):
  """Returns the items of a page in their order (list of Item), those between backticks too."""
  found, spans = [], prose(text)
  for start, lines, language in blocks(text):
    cell = language == 'python' and page.startswith('lessons/')  # lessons/build.py runs these
    if not cell and not re.match(DRAWING, lines[0]):
      found += items_of_block(page, start, lines, language)
  for span in re.finditer(r'`([^`]+)`', spans):
    command = ' '.join(span[1].split())
    line, words = 1 + spans[:span.start()].count('\n'), command.split()
    if first_word(command) in PROGRAMS and (len(words) > 1 or command.startswith('./')):
      found.append(Item(page, line, 'command', command.removeprefix('.venv/bin/')))
    elif re.match(r'[\w./%]+ (.* )?--\w', command):
      found.append(Item(page, line, 'unknown', command))
  return sorted(found, key=lambda item: item.line)


def read_all(root=ROOT):
  """Returns a dict from page, such as 'docs/speed.md', to its items."""
  paths = sorted(path for pattern in PAGES for path in glob.glob(pattern, root_dir=root))
  return {path: items(path, (root / path).read_text(encoding='utf-8')) for path in paths}


def shortened(item):
  """Returns the command or snippet that is run in place of a page's."""
  text = item.text
  for pattern, replacement in REPLACED:
    text = re.sub(pattern, replacement, text)
  if item.kind != 'command':
    return text
  background = ' &' if text.endswith(' &') else ''
  text = text.removesuffix(' &')
  options = CLUSTER_OPTIONS if text.startswith('TF_CONFIG=') else SHORT_OPTIONS.get(program(text))
  return ' '.join(filter(None, [text, options])) + background


def reason_not_run(item):
  """Returns why an item cannot run here, or ''."""
  reasons = [reason for pattern, reason in NOT_RUN if re.search(pattern, item.text)]
  return reasons[0] if reasons and item.kind != 'output' else ''


def commands_before(item):
  """Returns what makes the files that an item needs: list of (path, command)."""
  return [(path, command) for pattern, path, command in MADE if re.search(pattern, item.text)]
