"""Tests of programs and tf1: exit codes, failures in one line, no output of TensorFlow's own.

Each program runs in its own process, because the tests check exit codes and streams.
"""
import os
import signal
import subprocess
import sys
import textwrap

from absl import flags

from cifar10_lib.common import programs
from cifar10_lib.common.tf1 import tf
from tests import testing

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(programs.__file__))))

PROGRAM = '''
"""A program with two flags."""
from absl import flags
from cifar10_lib.common import programs

flags.DEFINE_string('what', 'nothing', 'What to do.')
flags.DEFINE_integer('count', 1, 'How often.', lower_bound=1)


def main(argv):
  print('argv', len(argv), 'count', flags.FLAGS.count)
  what = flags.FLAGS.what
  if what == 'fail':
    raise programs.Failure('/some/file: 7 bytes are missing. Fetch it again.')
  if what == 'bug':
    return 1 // 0
  if what == 'interrupt':
    raise KeyboardInterrupt
  if what == 'three':
    return 3


programs.run(main)
'''

# TensorFlow prints no greeting, neither here nor in a child process (a notebook's
# `!python cifar10_train.py`). Other lines, and all later lines, are printed.
QUIET = '''
import os
import subprocess
import sys
from cifar10_lib.common import tf1
from cifar10_lib.common.tf1 import tf

queue = tf.train.string_input_producer(['a', 'b'], num_epochs=2, shuffle=False)
value = queue.dequeue()
with tf.train.MonitoredTrainingSession() as session:
  while True:
    print(session.run(value).decode(), end='')
subprocess.run([sys.executable, '-c', 'from cifar10_lib.common import tf1'], check=True)
with tf1.stderr_without([b'a greeting']):
  os.write(2, b'this is a greeting for you\\nkept\\n')
os.write(2, b'later: a greeting\\n')
'''


def execute(program, *arguments, **environment):
  """Runs Python code that can import the project; returns the CompletedProcess."""
  env = {name: value for name, value in os.environ.items() if name != 'TF_CPP_MIN_LOG_LEVEL'}
  env.update(environment, PYTHONPATH=ROOT, PYTHONUNBUFFERED='')
  return subprocess.run([sys.executable, '-c', textwrap.dedent(program), *arguments], env=env,
                        capture_output=True, text=True, timeout=120, check=False)


class AppTest(tf.test.TestCase):

  def testSuccessIsExitCode0(self):
    result = execute(PROGRAM, '--count=2')
    self.assertEqual((result.returncode, result.stderr), (0, ''))
    self.assertEqual(result.stdout, 'argv 1 count 2\n')

  def testWrongUsageIsExitCode2(self):
    for arguments, text in [
        (['--cuont=2'], 'cuont'),  # the flag is misspelt
        (['--count=0'], 'count'),  # out of range
        (['--count=two'], 'two'),
        (['--what'], 'what'),  # no value
        (['sraty'], 'sraty'),
        (['--count=2', '--', '--sraty'], 'sraty')]:
      result = execute(PROGRAM, *arguments)
      self.assertEqual(result.returncode, 2, arguments)
      self.assertEqual(result.stdout, '', 'main ran with %s' % arguments)
      self.assertIn(text, result.stderr)
      self.assertNotIn('Traceback', result.stderr)

  def testFailureIsOneLine(self):
    result = execute(PROGRAM, '--what=fail')
    self.assertEqual(result.returncode, 1)
    self.assertEqual(result.stderr, 'Error: /some/file: 7 bytes are missing. Fetch it again.\n')
    self.assertEqual(result.stdout, 'argv 1 count 1\n')

  def testReturnedCodeIsTheExitCode(self):
    self.assertEqual(execute(PROGRAM, '--what=three').returncode, 3)

  def testInterruptIsExitCode130(self):
    result = execute(PROGRAM, '--what=interrupt')
    self.assertEqual((result.returncode, result.stderr), (130, ''))

  def testClosedPipeIsExitCode141(self):
    program = """
        from cifar10_lib.common import programs
        def main(argv):
          for number in range(100000):
            print(number)
        programs.run(main)
    """
    command = [sys.executable, '-c', textwrap.dedent(program)]
    with subprocess.Popen(command, env=dict(os.environ, PYTHONPATH=ROOT), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
      self.assertEqual(process.stdout.readline(), '0\n')
      process.stdout.close()
      self.assertEqual(process.stderr.read(), '')
    self.assertEqual(process.returncode, 141)  # 128 + SIGPIPE

  def testArgumentsBesideFlagsAreAccepted(self):
    program = PROGRAM.replace('programs.run(main)', 'programs.run(main, arguments=True)')
    self.assertNotEqual(program, PROGRAM)
    result = execute(program, 'a.png', '--count=2', '-', 'b.png')
    self.assertEqual((result.returncode, result.stderr), (0, ''))
    self.assertEqual(result.stdout, 'argv 4 count 2\n')
    self.assertEqual(execute(program, 'a.png', '--cuont=2').returncode, 2)

  def testBugShowsATraceback(self):
    result = execute(PROGRAM, '--what=bug')
    self.assertEqual(result.returncode, 1)
    self.assertIn('Traceback', result.stderr)
    self.assertIn('ZeroDivisionError', result.stderr)
    self.assertNotIn('Error: ', result.stderr.splitlines()[0])

  def testHelpShowsTheDocstringAndFlags(self):
    result = execute(PROGRAM, '--help')
    self.assertEqual((result.returncode, result.stderr), (0, ''))
    self.assertIn('A program with two flags.', result.stdout)
    self.assertIn('How often.', result.stdout)
    self.assertNotIn('argv', result.stdout)


class PrintableTest(tf.test.TestCase):

  def testWhatATerminalWouldObeyIsEscaped(self):
    for text, shown in [
        ('cat é 猫.png', 'cat é 猫.png'), ('a\nb\r\tc\0', r'a\nb\r\tc\x00'),
        ('\x1b]0;title\x07', r'\x1b]0;title\x07'), ('\x9b2J', r'\x9b2J'),
        ('\u202egnp', r'\u202egnp'), ('line\u2028end', r'line\u2028end'),
        (os.fsdecode(b'caf\xe9'), r'caf\xe9'), ('\ud800', r'\ud800')]:
      self.assertEqual(programs.printable(text), shown)
      self.assertEqual(programs.printable(shown), shown)  # nothing is escaped twice

  def testLongTextIsCut(self):
    self.assertEqual(programs.printable('x' * 5000, 100), 'x' * 97 + '...')
    self.assertEqual(programs.printable('x' * 100, 100), 'x' * 100)
    self.assertLen(programs.printable('\0' * 100, 100), 100)


class TensorFlowTest(tf.test.TestCase):

  def testOnlyGreetingsAreDropped(self):
    result = execute(QUIET)
    self.assertEqual((result.returncode, result.stdout), (0, 'abab'))
    self.assertEqual(result.stderr, 'kept\nlater: a greeting\n')

  def testLogLevelCanBeOverridden(self):
    result = execute('from cifar10_lib.common import tf1', TF_CPP_MIN_LOG_LEVEL='0')
    self.assertEqual(result.returncode, 0)
    self.assertNotEmpty(result.stderr)

  def testGraphModeIsOn(self):
    self.assertFalse(tf.executing_eagerly())


class EarlySignalTest(tf.test.TestCase):

  def testASignalWhileTensorFlowLoadsEndsWithItsCode(self):
    path = os.path.join(self.get_temp_dir(), 'cifar10_program.py')
    with open(path, 'w') as file:
      file.write('import os, sys\n'
                 'from cifar10_lib.common import programs\n'
                 'os.kill(os.getpid(), int(sys.argv[1]))\n'
                 'import time; time.sleep(20)\n')
    for number in signal.SIGINT, signal.SIGTERM:
      done = subprocess.run(
          [sys.executable, path, str(int(number))], capture_output=True, text=True, check=False,
          env=dict(os.environ, PYTHONPATH=ROOT), timeout=60, preexec_fn=testing.default_signals)
      self.assertEqual((done.returncode, done.stderr), (128 + number, ''))


class LocalPathTest(tf.test.TestCase):

  def testHomeIsExpandedAndOtherSchemesAreRefused(self):
    self.assertEqual(programs.local_path('data_dir', '~'), os.path.expanduser('~'))
    self.assertEqual(programs.local_path('data_dir', 'a/b:c'), 'a/b:c')
    for path in 'gs://a/b', 'file:///a', 's3://x', 'x' * 5000, 'a\0b', '\udc80':
      with self.assertRaises(flags.Error):
        programs.local_path('data_dir', path)


if __name__ == '__main__':
  tf.test.main()
