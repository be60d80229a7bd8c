"""Runs every command and snippet of the pages, each page in a fresh copy of the project.

  python tests/run_pages.py --work RUNS [--data_dir DIRECTORY_OF_CIFAR-10] [PAGE ...]

It prints one line a command: page:line, seconds, what it ran. RUNS/PAGE.log keeps all that was
printed. A command fails if its exit code is not 0 or if it prints a traceback. A line of output on
a page fails if no command of this page prints such a line. The tables in `pages` say how long jobs
are made short, and what cannot run here. All pages take about an hour on two cores.
"""
import argparse
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
ADDRESS = r'http://(localhost|127\.0\.0\.1):\d+\S*'


def make_environment(target):
  """Makes a virtual environment that finds the packages and programs of the running one.

  It has no link to a directory: who removes the copy with TensorFlow's rmtree, which follows such
  links, would empty the environment behind it.
  """
  venv.create(target)
  packages, = target.glob('lib/python*/site-packages')
  (packages / 'running.pth').write_text(sysconfig.get_path('purelib') + '\n')
  for path in pathlib.Path(sys.prefix, 'bin').iterdir():
    if not (target / 'bin' / path.name).exists():
      (target / 'bin' / path.name).symlink_to(path)


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
  for name in 'requirements.txt', 'requirements-dev.txt':  # as env.sh stamps what is installed
    stamp = (target / 'requirements.txt').read_text() + (target / name).read_text()
    (target / '.venv' / ('installed-' + name)).write_text(stamp)
  if data_dir:
    shutil.copytree(data_dir, target / 'cifar10_data', dirs_exist_ok=True)
  else:
    subprocess.run([sys.executable, '-c', 'from cifar10_lib.dataset import sample; '
                    'sample.make_sample("cifar10_data")'], cwd=target, check=True)


def wrong_code(code):
  return 'not ended after %d s' % LIMIT_SECONDS if code is None else 'exit code %d' % code


class Page:
  """Runs the items of one page in a copy of the project, and keeps what they print in `log`."""

  def __init__(self, directory, log):
    self.directory, self.log = directory, log
    self.state, self.background, self.running = [], [], []
    self.environment = dict(
        os.environ, HOME=str(directory / 'home'), TMPDIR=str(directory / 'scratch'),
        PATH='%s:%s' % (directory / '.venv/bin', os.environ['PATH']), PYTHONUNBUFFERED='1')
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
          stdin=subprocess.DEVNULL, start_new_session=True))
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
    limit = time.monotonic() + 60
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
    for name, code in pages.MADE.items():
      if name in item.text and not (self.directory / name).exists():
        code = self.end(self.start([sys.executable, '-c', code]))
        fault = fault or ('cannot make %s' % name if code else '')
    text = pages.shortened(item.text)
    if item.kind == 'snippet':
      words = [sys.executable, '-c', text]
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
    pattern, = [pattern for pattern in pages.OUTPUT if re.search(pattern, item.text)]
    seen = pattern == pages.OUTPUT[0] or re.search(pattern, self.printed(), re.MULTILINE)
    return '' if seen else 'no command of the page prints such a line'

  def finish(self):
    """Waits for the commands that ran beside others; yields each item and what is wrong with it."""
    for item, process in self.background:
      code = self.end(process)
      yield item, '' if code == 0 else wrong_code(code)


def report(item, seconds, text):
  print('%s:%d  %.1f  %s' % (item.page, item.line, seconds, text), flush=True)


def run_page(name, found, work, data_dir):
  """Runs a page in WORK/NAME, which is removed at the end; returns the number of faults."""
  directory, faults = work / name.replace('/', '_').removesuffix('.md'), 0
  shutil.rmtree(directory, ignore_errors=True)
  directory.mkdir()
  copy_project(directory, data_dir)
  with contextlib.closing(Page(directory, directory.with_suffix('.log'))) as page:
    for item in found:
      reason = pages.reason_not_run(item)
      began = time.monotonic()
      fault = '' if reason else page.check(item)
      faults += bool(fault)
      if item.kind != 'output' or fault:
        report(item, time.monotonic() - began, pages.shown(item) + (
            '  FAILED: %s' % fault if fault else '  not run: %s' % reason if reason else ''))
    for item, fault in page.finish():
      faults += bool(fault)
      report(item, 0, '... has ended' + ('  FAILED: %s' % fault if fault else ''))
  shutil.rmtree(directory)
  return faults


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('pages', nargs='*', help='such as docs/speed.md; default: all')
  parser.add_argument('--work', type=pathlib.Path, required=True, help='for copies and logs')
  parser.add_argument('--data_dir', help='CIFAR-10; if not given, drawn shapes')
  options = parser.parse_args()
  found = pages.read_all()
  unknown = [item for of_page in found.values() for item in of_page if item.kind == 'unknown']
  if unknown:
    sys.exit('No table of tests/pages.py knows:\n' + '\n'.join(map(pages.shown, unknown)))
  signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
  options.work.mkdir(parents=True, exist_ok=True)
  faults = sum(run_page(name, found[name], options.work.resolve(), options.data_dir)
               for name in options.pages or found if found[name])
  print('%d faults' % faults)
  return 1 if faults else 0


if __name__ == '__main__':
  sys.exit(main())
