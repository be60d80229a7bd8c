"""Lets programs write to file systems that are too small, read-only or gone.

  python benchmarks/full_disk.py --site=training --sizes=60

prints one JSON line: how often, how many programs ended well, how many in one line, and faults. A
fault is described on standard error. Sites of a disk that is full, in --sizes steps of a size:

  training, resuming, evaluation, tables (--predictions_csv and --confusion_csv), download (filled
  after the download has begun), sample (--data_url=sample), export, input (--save_input),
  conversion (cifar10_convert.py), cluster (--local)

Each program ends with code 0, or with code 1 and one line that says "no space left on device". The
same command ends well once there is room, and no unfinished file is left then. Sites of a disk that
is read-only from the start or from the first steps on, or that vanishes then (--sizes times):

  read-only-training, read-only-evaluation, vanishing-training, vanishing-evaluation

The same two prefixes go with tables, download, sample, export, input, conversion and cluster, where
the disk is lost at moments spread over a run.

It needs Linux, and the right to mount a tmpfs in namespaces of its own (`unshare --map-root-user
--mount`). All mounts are gone with it.
"""
import argparse
import glob
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

INSIDE = 'FULL_DISK_INSIDE'  # set in the environment once this process has its own mounts
ROOM = 600000  # kilobytes, enough for every site; a download asks for 350 MB
SECONDS = 120  # for a program to end


class Disk:
  """A tmpfs at a directory."""

  def __init__(self, path):
    self.path = path
    os.makedirs(path, exist_ok=True)

  def __enter__(self):
    self.call('mount', '-t', 'tmpfs', '-o', 'size=%dk' % ROOM, 'tmpfs', self.path)
    return self

  def __exit__(self, *_):
    while os.path.ismount(self.path):
      self.call('umount', '-l', self.path)

  @staticmethod
  def call(*argv):
    subprocess.run(argv, check=True)

  def resize(self, kilobytes):
    self.call('mount', '-o', 'remount,size=%dk' % kilobytes, self.path)

  def fill(self, kilobytes):
    """Writes a file that leaves so many kilobytes free."""
    free = os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_frsize
    with open(self.filler, 'wb') as file:
      os.posix_fallocate(file.fileno(), 0, max(1, free - kilobytes * 1024))

  def make_room(self):
    if os.path.exists(self.filler):
      os.remove(self.filler)
    self.resize(ROOM)

  @property
  def filler(self):
    return os.path.join(self.path, 'filler')


def check(done, pattern, notes=''):
  """Returns 'done' or 'refused'; raises AssertionError for any other end of a program.

  Args:
    done: subprocess.CompletedProcess, with output and errors apart.
    pattern: regular expression in the one line of a refusal.
    notes: regular expression of lines on standard error that may come before it.
  """
  lines = [line for line in done.stderr.splitlines() if not (notes and re.match(notes, line))]
  if done.returncode == 0:
    assert not lines, done.stderr
    return 'done'
  assert done.returncode == 1, (done.returncode, done.stdout[-500:], done.stderr[-3000:])
  assert len(lines) == 1 and re.match('(?i)Error: .*(%s)' % pattern, lines[0]), done.stderr[-3000:]
  return 'refused'


def call(argv):
  """Runs a program to its end, with output and errors apart."""
  return subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False,
                        stdin=subprocess.DEVNULL)


def unfinished(directory):
  """Returns the paths of files in a directory tree that a writer left unfinished."""
  return [path for path in glob.glob(os.path.join(directory, '**'), recursive=True)
          if re.search(r'tempstate|\.new$|\.unfinished', path)]


def full(site, disk, kilobytes):
  """Tries one size of a disk; returns 'done' or 'refused', or raises AssertionError."""
  with disk:
    with site.prepared(disk, kilobytes):
      result = check(call(site.argv(disk)), 'no space left on device', site.notes)
    if result == 'refused':
      disk.make_room()
      with site.prepared(disk, None):
        again = call(site.argv(disk))
      assert check(again, '', site.notes) == 'done', again.stderr[-3000:]
    assert not unfinished(disk.path), unfinished(disk.path)
    site.check(disk)
  return result


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--site', default='training')
  parser.add_argument('--sizes', type=int, default=60, help='number of tries')
  parser.add_argument('--first', type=int, default=0, help='number of the first try')
  options = parser.parse_args()
  if not os.environ.get(INSIDE):
    os.environ[INSIDE] = '1'
    os.execvp('unshare', ['unshare', '--map-root-user', '--mount', sys.executable, *sys.argv])
  from benchmarks import attacks, full_disk_lost, full_disk_sites
  sites = {**full_disk_sites.SITES, **full_disk_lost.SITES}
  if options.site not in sites:
    parser.error('the sites are %s' % ', '.join(sites))
  counts = {'done': 0, 'refused': 0, 'faults': 0}
  with attacks.workplace('disk') as directory:
    disk, site = Disk(os.path.join(directory, 'disk')), sites[options.site](directory)
    for number in range(options.first, options.sizes):
      kilobytes = site.most * number // options.sizes // 4 * 4 + 16
      try:
        counts[site.attempt(disk, kilobytes, number)] += 1
      except attacks.LOSSES as error:
        counts['faults'] += 1
        print('%s, number %d, %d KB: %s' % (options.site, number, kilobytes, error),
              file=sys.stderr, flush=True)
    attacks.report('disk, ' + options.site, tries=options.sizes - options.first, **counts)
  return 1 if counts['faults'] else 0


if __name__ == '__main__':
  sys.exit(main())
