"""Writes what --help prints: the flags that people use, in groups. --helpfull prints all."""
import sys
import textwrap

from absl import flags

WIDTH = 96  # characters
NAME_WIDTH = 24  # characters, of a flag with its default
# A program shows those of its own flags that are named here.
GROUPS = {
    'Data': ('data_dir', 'data_url', 'labels', 'test_share'),
    'Network and training': ('train_dir', 'recipe', 'max_steps', 'batch_size', 'learning_rate',
                             'init_from', 'use_fp16'),
    'Several devices': ('num_gpus', 'local', 'sync'),
    'Checkpoints and results': ('checkpoint_dir', 'eval_dir', 'run_once', 'views', 'confusion_csv'),
    'Pictures': ('top_k', 'json', 'export'),
}


def _shown(flag):
  """Returns the name of a flag with its default, as one types it."""
  if flag.boolean:
    return '--' + flag.name
  return '--%s%s' % (flag.name, '' if flag.default is None else '=%s' % flag.default)


def _lines(flag):
  """Returns the lines on one flag, with the first sentence of its help."""
  name, first = _shown(flag), flag.help.replace('\n', ' ').split('. ')[0].rstrip('.') + '.'
  text = textwrap.wrap(first, WIDTH - NAME_WIDTH - 2)
  head = [name] if len(name) > NAME_WIDTH - 2 else []
  names = [''] * len(text) if head else [name] + [''] * (len(text) - 1)
  return ['  ' + line for line in head + [
      '%-*s%s' % (NAME_WIDTH, left, right) for left, right in zip(names, text, strict=True)]]


def text(program):
  """Returns the help of a program: its first lines and its commands, then the flags of GROUPS.

  Args:
    program: the program's module, whose docstring starts with what it does and how it is called.
  """
  own = {flag.name: flag for flag in flags.FLAGS.get_key_flags_for_module(program.__name__)}
  lines = program.__doc__.strip().split('\n\n')[:2]
  for group, names in GROUPS.items():
    known = [own[name] for name in names if name in own]
    if known:
      lines.append('\n'.join([group + ':'] + [line for flag in known for line in _lines(flag)]))
  return '\n\n'.join(lines) + '\n\n--helpfull shows all flags.'


def main_text():
  """Returns the help of the program that was started."""
  return text(sys.modules['__main__'])
