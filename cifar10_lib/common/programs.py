"""Starts and ends every program: parses flags, prints failures in one line, sets the exit code.

  0      done
  1      failure; one line says what happened, to which path or value, and what to do
  2      wrong usage: an unknown flag, a stray argument, a value out of range
  128+n  ended by signal n after saving
"""
import contextlib
import errno
import functools
import os
import re
import signal
import sys
import threading

from absl import app, flags

from cifar10_lib.common import helping

# Flags that give a path.
PATHS = ('data_dir', 'train_dir', 'init_from', 'eval_dir', 'checkpoint_dir', 'checkpoint_path',
         'confusion_csv', 'predictions_csv', 'mistakes_png', 'save_input', 'export')
MAX_PATH_BYTES = 3000  # Linux allows 4096, and names of files follow
SIGPIPE = 13  # Windows does not define signal.SIGPIPE
SPACE = '30 MB'  # what a run needs for two checkpoints of at most 13 MB each, and for events


class Failure(Exception):
  """A failure that the user can fix. Its text is one line: what, where, and what to do next."""


def printable(text, most=1000):
  """Returns a text of unknown origin as one line that is safe to print.

  A file name, a member of an archive or a host's answer may hold escape sequences, which a terminal
  would obey. A printable text stays as it is, so that a text may pass through here twice.

  Args:
    text: str. A byte of a file name that is not valid UTF-8 is shown as \\xNN.
    most: largest number of characters of the result; a longer one is cut.
  """
  def escaped(character):
    if '\udc80' <= character <= '\udcff':  # how Python keeps such a byte
      return '\\x%02x' % (ord(character) - 0xdc00)
    return character if character.isprintable() else character.encode('unicode_escape').decode()
  shown = ''.join(map(escaped, text[:most + 1]))
  return shown if len(shown) <= most else shown[:most - 3] + '...'


def is_full(error):
  """Returns whether an error means that the disk is full or the user's quota is used up.

  An OSError has a number for it. TensorFlow's errors have only the text.
  """
  if isinstance(error, OSError):
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
  return os.strerror(errno.ENOSPC) in str(error)


def no_space(what):
  """Returns the Failure for a full disk: `what`, such as 'Training in train/', failed."""
  return Failure('%s failed: no space left on device. Free about %s and run the same command again.'
                 % (what, SPACE))


def drop_output():
  """Sends standard output nowhere from now on, because its reader is gone."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_streams():
  """Opens standard input, output and error, on nothing, if the program was started without them.

  Otherwise the next file that is opened would take their place, and TensorFlow would log into it.
  """
  for descriptor, name in enumerate(('stdin', 'stdout', 'stderr')):
    try:
      os.fstat(descriptor)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # takes the lowest number, which is `descriptor`
    if getattr(sys, name) is None:
      setattr(sys, name, open(os.devnull, 'w' if descriptor else 'r'))


def wrong_usage(problem):
  """Prints what is wrong with the command line, and ends the program with code 2."""
  print('%s (--help lists the flags)' % printable(str(problem)), file=sys.stderr)
  sys.exit(2)


def local_path(name, path):
  """Returns the path that a flag gives, with ~ expanded; raises flags.Error if it cannot be one.

  TensorFlow would read gs://... from a network; locks and renames need a file system.
  """
  if re.match(r'[a-z][a-z0-9+.-]*://', path):
    raise flags.Error('--%s=%s: only paths of mounted file systems work. Mount it, or copy it.'
                      % (name, path))
  try:
    too_long = len(path.encode()) > MAX_PATH_BYTES
  except UnicodeEncodeError:
    raise flags.Error('--%s=%s is not valid UTF-8. Rename it.' % (name, path)) from None
  if too_long or '\0' in path:
    raise flags.Error('--%s=%.40s... is no path: it is too long, or holds a zero byte.'
                      % (name, path))
  return os.path.expanduser(path)


def parse_flags(argv, arguments=False):
  """Parses a command line into absl's flags; returns the program's name and the arguments.

  Args:
    argv: list of strings, starting with the program's name.
    arguments: whether arguments may stand before, between and after the flags.

  Raises:
    SystemExit: with code 2 for wrong usage, with code 0 after --help and --helpfull.
  """
  flags.FLAGS.set_gnu_getopt(arguments)
  if IS_STARTED and {'--help', '-help', '-h'}.intersection(argv[1:]):  # else absl prints its own
    print(helping.main_text())
    sys.exit(0)
  try:
    rest = flags.FLAGS(argv)
    for name in PATHS:
      if name in flags.FLAGS and flags.FLAGS[name].value:
        flags.FLAGS[name].value = local_path(name, flags.FLAGS[name].value)
  except flags.Error as error:
    wrong_usage(error)
  except SystemExit:  # absl exits with 1 after --helpfull
    sys.exit(0)
  if len(rest) > 1 and not arguments:
    wrong_usage('unexpected argument %r: a flag is written --name=value' % rest[1])
  return rest


def check_flag(name, parse):
  """Makes a flag refuse, as wrong usage, a value for which the function `parse` raises Failure."""
  def check(value):
    try:
      parse(value)
    except Failure as failure:
      raise flags.ValidationError(str(failure)) from failure
    return True
  flags.register_validator(name, check)


def parsed(options):
  """Returns options, and marks absl's flags as parsed if no program has parsed them.

  Options are these flags, or anything with their names as attributes. In a notebook nothing parses
  the command line, which is Jupyter's (-f kernel.json). The flags then have their defaults, or the
  values that were assigned.
  """
  if isinstance(options, flags.FlagValues) and not options.is_parsed():
    options.mark_as_parsed()
  return options


# Whether one of the programs was started, rather than a notebook or a program that imports them.
IS_STARTED = bool(re.fullmatch(r'cifar10_\w+(?<!_test)\.py', os.path.basename(sys.argv[0] or '')))


def _end_at_once(number, frame):
  os._exit(128 + number)


@contextlib.contextmanager
def ending_at_once():
  """Lets a signal end a program of ours in the block with the documented code, not a traceback.

  Signals that a program already handles stay as they are.
  """
  mine = IS_STARTED and threading.current_thread() is threading.main_thread()  # as Python demands
  free = [number for number in (signal.SIGINT, signal.SIGTERM) if mine and signal.getsignal(
      number) in (signal.SIG_DFL, signal.default_int_handler)]
  before = {number: signal.signal(number, _end_at_once) for number in free}
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


# Until `run` has parsed the flags. Imports take 0.3 s.
_imports = contextlib.ExitStack()
_imports.enter_context(ending_at_once())


def run(main, arguments=False):
  """Parses the command line, calls `main(argv)` and exits with the code that it returns.

  `argv` and `arguments` are those of `parse_flags`. None as a code means 0.
  """
  def guarded(argv):
    _imports.close()
    try:
      code = main(argv)
      sys.stdout.flush()  # inside the try: the reader may have closed the pipe
      return code
    except Failure as failure:
      sys.stdout.flush()
      print('Error: %s' % printable(str(failure)), file=sys.stderr)
      return 1
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
      drop_output()
      return 128 + SIGPIPE
    except KeyboardInterrupt:
      return 128 + signal.SIGINT
  app.run(guarded, flags_parser=functools.partial(parse_flags, arguments=arguments))
