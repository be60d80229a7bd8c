"""Runs every command and snippet of the pages, each page in a fresh copy of the project.

  .venv/bin/python tests/run_pages.py --work RUNS [--data_dir DIRECTORY_OF_CIFAR-10] [PAGE ...]

The commands use the packages and programs of the environment that runs this script, as
`./test.sh` installs them. It prints one line a command: page:line, seconds, what it ran.
RUNS/PAGE.log keeps all that was printed. A command fails if its exit code is not 0 or if it prints
a traceback. A line of output on a page fails if no command of this page prints such a line. The
tables in `pages` say how long jobs are made short, and what cannot run. All pages take about an
hour on two cores.
"""
import argparse
import collections
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import pages  # noqa: E402

SERVERS = 'tensorboard', 'jupyter'  # run until SIGINT; each prints its address
STATE = 'source', 'export'  # hold for the later commands of the page too
LIMIT_SECONDS = 1200  # of one command
SERVER_SECONDS = 180  # until a server prints its address
ADDRESS = r'http://(localhost|127\.0\.0\.1):\d+\S*'


def make_environment(target):
  """Makes a virtual environment that finds the packages of the running one.

  It has no link to a directory outside: a program that removes the copy and follows links, as
  TensorFlow's rmtree does, would empty that directory.
  """
  venv.create(target, symlinks=True)
  packages, = target.glob('lib/python*/site-packages')
  (packages / 'running.pth').write_text(sysconfig.get_path('purelib') + '\n')
  for name in 'requirements.txt', 'requirements-dev.txt':  # env.sh's stamps of what is installed
    stamp = (ROOT / 'requirements.txt').read_text() + (ROOT / name).read_text()
    (target / ('installed-' + name)).write_text(stamp)


def copy_project(target, data_dir):
  """Copies what git knows or would add, with the running Python's environment and a data set."""
  names = subprocess.run(['git', 'ls-files', '-coz', '--exclude-standard'], cwd=ROOT, check=True,
                         stdout=subprocess.PIPE, text=True).stdout.split('\0')
  for name in filter(None, names):
    if (ROOT / name).exists():
      (target / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy2(ROOT / name, target / name)
  for name in 'cifar10_data', 'home', 'scratch':
    (target / name).mkdir()
  make_environment(target / '.venv')
  if data_dir:
    shutil.copytree(data_dir, target / 'cifar10_data', dirs_exist_ok=True)
  else:
    subprocess.run([sys.executable, '-c', 'from cifar10_lib.dataset import sample; '
                    'sample.make_sample("cifar10_data")'], cwd=target, check=True)


def heed_control_c():
  """Lets a new process end on SIGINT: a shell's `&` starts what follows with SIGINT ignored."""
  signal.signal(signal.SIGINT, signal.SIG_DFL)


def wrong_code(code):
  return 'not ended after %d s' % LIMIT_SECONDS if code is None else 'exit code %d' % code


class Page:
  """Runs the items of one page in a copy of the project, and keeps what they print in `log`."""

  def __init__(self, directory, log):
    self.directory, self.log = directory, log
    self.state, self.snippets, self.background, self.running = [], [], [], []
    self.environment = dict(
        os.environ, HOME=str(directory / 'home'), TMPDIR=str(directory / 'scratch'),
        PATH=':'.join([str(directory / '.venv/bin'), sysconfig.get_path('scripts'),
                       os.environ['PATH']]), PYTHONUNBUFFERED='1')
    for name in 'PYTHON', 'VIRTUAL_ENV', 'TF_CONFIG':
      self.environment.pop(name, None)
    log.write_text('')

  def printed(self, start=0):
    return self.log.read_bytes()[start:].decode(errors='replace')

  def start(self, words):
    with open(self.log, 'ab') as log:
      log.write(('\n$ %s\n' % words[-1]).encode())
      log.flush()
      self.running.append(subprocess.Popen(
          words, cwd=self.directory, env=self.environment, stdout=log, stderr=subprocess.STDOUT,
          stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=heed_control_c))
      return self.running[-1]

  def end(self, process):
    """Waits for a process, kills what it leaves behind; returns its exit code, None if late."""
    try:
      return process.wait(LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
      return None
    finally:
      self.kill(process)

  def kill(self, process):
    """Kills a process and its children; each process has a session of its own."""
    self.running.remove(process)
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGKILL)
    process.wait()

  def close(self):
    for process in list(self.running):
      self.kill(process)

  def serve(self, process, start):
    """Waits until a server answers at the address that it prints, then stops it by SIGINT."""
    limit = time.monotonic() + SERVER_SECONDS
    while not (address := re.search(ADDRESS, self.printed(start))):
      if process.poll() is not None or time.monotonic() > limit:
        return 'no address'
      time.sleep(0.2)
    urllib.request.urlopen(address[0], timeout=30).close()
    with contextlib.suppress(ProcessLookupError):
      for _ in range(2):  # Jupyter asks, at the first one
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(1)
    return ''

  def run(self, item):
    """Runs a command or a snippet; returns what is wrong ('' if nothing)."""
    start, fault = self.log.stat().st_size, ''
    for path, command in pages.commands_before(item):
      if not (self.directory / path).exists() and self.end(self.start(['bash', '-c', command])):
        fault = 'cannot make %s' % path
    text = pages.shortened(item)
    if item.kind == 'snippet':
      self.snippets.append(text)  # a later one may use the names of those before
      words = ['python', '-c', '\n'.join(self.snippets)]
    else:
      words = ['bash', '-c', '\n'.join([*self.state, text.removesuffix('&')])]
    if pages.first_word(text) in STATE:
      self.state.append(text)
    process = self.start(words)
    if text.endswith('&'):
      self.background.append((item, process))
      return fault
    if pages.first_word(text) in SERVERS:
      fault = fault or self.serve(process, start)
      if fault:
        self.kill(process)
        return fault
    code = self.end(process)
    stopped = pages.first_word(text) in SERVERS and code in (-signal.SIGINT, 128 + signal.SIGINT)
    if code != 0 and not stopped:
      fault = fault or wrong_code(code)
    if 'Traceback (most recent call last)' in self.printed(start):
      fault = fault or 'a traceback'
    return fault

  def check(self, item):
    """Returns what is wrong with an item ('' if nothing)."""
    if item.kind != 'output':
      return self.run(item)
    pattern = next(pattern for pattern in pages.OUTPUT if re.search(pattern, item.text))
    seen = pattern == pages.OUTPUT[0] or re.search(pattern, self.printed(), re.MULTILINE)
    return '' if seen else 'no command of the page prints such a line'

  def finish(self):
    """Waits for the commands that ran beside others; yields each item and what is wrong with it."""
    for item, process in self.background:
      code = self.end(process)
      yield item, '' if code == 0 else wrong_code(code)


def report(item, seconds, text):
  print('%s:%d  %.1f  %s' % (item.page, item.line, seconds, text), flush=True)


def run_items(page, found, counts):
  """Runs the items of a page, prints a line for each, and counts the results."""
  for item in found:
    reason, began = pages.reason_not_run(item), time.monotonic()
    fault = '' if reason else page.check(item)
    counts['failed' if fault else 'not run' if reason else item.kind] += 1
    if item.kind != 'output' or fault:
      report(item, time.monotonic() - began, pages.shortened(item).partition('\n')[0] + (
          '  FAILED: %s' % fault if fault else '  not run: %s' % reason if reason else ''))
  for item, fault in page.finish():
    counts['failed'] += bool(fault)
    report(item, 0, '... has ended' + ('  FAILED: %s' % fault if fault else ''))


def run_page(name, found, work, data_dir, counts):
  """Runs a page in WORK/NAME, which is removed at the end."""
  directory = work / name.replace('/', '_').removesuffix('.md')
  shutil.rmtree(directory, ignore_errors=True)
  directory.mkdir()
  copy_project(directory, data_dir)
  with contextlib.closing(Page(directory, directory.with_suffix('.log'))) as page:
    run_items(page, found, counts)
  shutil.rmtree(directory)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('pages', nargs='*', help='such as docs/speed.md; default: all')
  parser.add_argument('--work', type=pathlib.Path, required=True, help='for copies and logs')
  parser.add_argument('--data_dir', help='CIFAR-10; if not given, drawn shapes')
  options = parser.parse_args()
  found = pages.read_all()
  unknown = [item for of_page in found.values() for item in of_page if item.kind == 'unknown']
  if unknown:
    sys.exit('No table of tests/pages.py knows:\n' + '\n'.join(map(str, unknown)))
  signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
  options.work.mkdir(parents=True, exist_ok=True)
  counts = collections.Counter()
  for name in options.pages or [name for name in found if found[name]]:
    if name in pages.SAME and not options.pages:
      print('%s  not run: has the commands and snippets of %s' % (name, pages.SAME[name]))
    else:
      run_page(name, found[name], options.work.resolve(), options.data_dir, counts)
  print(', '.join('%s: %d' % pair for pair in sorted(counts.items())))
  return 1 if counts['failed'] else 0


if __name__ == '__main__':
  sys.exit(main())
