"""How every program here starts and ends: strict flags, failures in one line, telling exit codes.

  0      done
  1      a failure, said in one line: what, which path or value, what to do next
  2      wrong usage: an unknown flag, a stray argument, a value out of range
  128+n  ended by signal n after saving
"""
import functools
import os
import signal
import sys

from absl import app, flags


SIGPIPE = 13  # which Windows has no name for


class Failure(Exception):
  """A failure that the user can mend, in one line: what, where, and what to do next."""


def wrong_usage(problem):
  """Says what is wrong with a command line, and ends the program with code 2."""
  print('%s (--help lists the flags)' % problem, file=sys.stderr)
  sys.exit(2)


def parse_flags(argv, arguments=False):
  """Parses the command line into absl's flags; anything that is no flag of ours ends the program.

  Args:
    argv: list of strings, the program's name first.
    arguments: whether the program takes arguments beside flags, before, between or after them.

  Returns:
    A list of the program's name, and of the arguments.

  Raises:
    SystemExit: with code 2 on an unknown flag, a value out of range or a stray argument; with 0
      after --help.
  """
  flags.FLAGS.set_gnu_getopt(arguments)
  try:
    rest = flags.FLAGS(argv)
  except flags.Error as error:
    wrong_usage(error)
  except SystemExit:  # absl ends --help with 1
    sys.exit(0)
  if len(rest) > 1 and not arguments:
    wrong_usage('unexpected argument %r: a flag is written --name=value' % rest[1])
  return rest


def parsed(options):
  """Returns options; absl's flags that no program has parsed are marked as parsed first.

  A notebook's command line (Jupyter's -f) is not ours: its flags have their defaults, and what was
  assigned.

  Args:
    options: absl's FlagValues, or anything else with the flags' names as attributes.
  """
  if isinstance(options, flags.FlagValues) and not options.is_parsed():
    options.mark_as_parsed()
  return options


def run(main, arguments=False):
  """Parses the command line, calls `main(argv)` and exits with the code that it returns, or 0.

  Args:
    main: function from the program's name and arguments to an exit code or None.
    arguments: as for `parse_flags`.
  """
  def guarded(argv):
    try:
      code = main(argv)
      sys.stdout.flush()  # here, where a reader that has gone is no bug
      return code
    except Failure as failure:
      sys.stdout.flush()
      print('Error: %s' % failure, file=sys.stderr)
      return 1
    except BrokenPipeError:  # who reads our output has enough: head, or a pager that was left
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
      return 128 + SIGPIPE
    except KeyboardInterrupt:
      return 128 + signal.SIGINT
  app.run(guarded, flags_parser=functools.partial(parse_flags, arguments=arguments))
