"""Writes docs/flags.md: all flags of all programs, as --helpfull shows them.

  python docs/make_flags.py > docs/flags.md
"""
import importlib
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # finds cifar10

from absl import flags  # noqa: E402

HEAD = '''# All flags

`--help` shows the flags that people use, `--helpfull` all of them. A misspelt flag or a value out
of range ends a program at once, with exit code 2. `python docs/make_flags.py > docs/flags.md`
writes this page.
'''
SECTIONS = {
    'cifar10': 'Every program (`cifar10_convert.py`: `--data_dir`, and `--seed` below)',
    'cifar10_train': '`cifar10_train.py`, and the two other trainers',
    'cifar10_train_multi_gpu': '`cifar10_train_multi_gpu.py`',
    'cifar10_train_distributed': '`cifar10_train_distributed.py`',
    'cifar10_eval': '`cifar10_eval.py`',
    'cifar10_predict': '`cifar10_predict.py`',
    'cifar10_convert': '`cifar10_convert.py`',
}


def _default(flag):
  """Returns the default of a flag as one types it."""
  if flag.boolean:
    return 'on' if flag.default else 'off'
  return 'none' if flag.default is None else '`%s`' % flag.default


def _help(flag):
  """Returns the help of a flag as sentences."""
  text = ' '.join(flag.help.split()).rstrip('.') + '.'
  return re.sub(r'^<(.*?)>: ', lambda found: 'One of %s. ' % found[1].replace('|', ', '), text)


def page():
  """Returns the text of docs/flags.md."""
  parts = [HEAD]
  for module, title in SECTIONS.items():
    importlib.import_module(module)
    defined = sorted(flags.FLAGS.flags_by_module_dict()[module], key=lambda flag: flag.name)
    lines = ['- **`--%s`**, default %s. %s' % (flag.name, _default(flag), _help(flag))
             for flag in defined]
    parts.append('## %s\n\n%s\n' % (title, '\n'.join(lines)))
  return '\n'.join(parts)


if __name__ == '__main__':
  sys.stdout.write(page())
