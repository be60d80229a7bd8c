"""Starts and ends every program: parses flags, prints failures in one line, sets the exit code.

  0      done
  1      failure; one line says what happened, to which path or value, and what to do
  2      wrong usage: an unknown flag, a stray argument, a value out of range
  128+n  ended by signal n after saving
"""
import functools
import os
import signal
import sys

from absl import app, flags

SIGPIPE = 13  # Windows does not define signal.SIGPIPE


class Failure(Exception):
  """A failure that the user can fix. Its text is one line: what, where, and what to do next."""


def wrong_usage(problem):
  """Prints what is wrong with the command line, and ends the program with code 2."""
  print('%s (--help lists the flags)' % problem, file=sys.stderr)
  sys.exit(2)


def parse_flags(argv, arguments=False):
  """Parses a command line into absl's flags; returns the program's name and the arguments.

  Args:
    argv: list of strings, starting with the program's name.
    arguments: whether arguments may stand before, between and after the flags.

  Raises:
    SystemExit: with code 2 for wrong usage, with code 0 after --help.
  """
  flags.FLAGS.set_gnu_getopt(arguments)
  try:
    rest = flags.FLAGS(argv)
  except flags.Error as error:
    wrong_usage(error)
  except SystemExit:  # absl exits with 1 after --help
    sys.exit(0)
  if len(rest) > 1 and not arguments:
    wrong_usage('unexpected argument %r: a flag is written --name=value' % rest[1])
  return rest


def parsed(options):
  """Returns options, and marks absl's flags as parsed if no program has parsed them.

  Options are these flags, or anything with their names as attributes. In a notebook nothing parses
  the command line, which is Jupyter's (-f kernel.json). The flags then have their defaults, or the
  values that were assigned.
  """
  if isinstance(options, flags.FlagValues) and not options.is_parsed():
    options.mark_as_parsed()
  return options


def run(main, arguments=False):
  """Parses the command line, calls `main(argv)` and exits with the code that it returns.

  `argv` and `arguments` are those of `parse_flags`. None as a code means 0.
  """
  def guarded(argv):
    try:
      code = main(argv)
      sys.stdout.flush()  # inside the try: the reader may have closed the pipe
      return code
    except Failure as failure:
      sys.stdout.flush()
      print('Error: %s' % failure, file=sys.stderr)
      return 1
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
      return 128 + SIGPIPE
    except KeyboardInterrupt:
      return 128 + signal.SIGINT
  app.run(guarded, flags_parser=functools.partial(parse_flags, arguments=arguments))
