"""Disks that become read-only or vanish, for `full_disk`.

Linux makes no disk read-only while a file on it is open for writing. So a read-only view of the
disk covers it. Files that are opened later are on the view.
"""
import contextlib
import glob
import os
import shutil
import subprocess
import time

from benchmarks import attacks, full_disk, full_disk_sites
from cifar10_lib.training import checkpoints

WAIT_SECONDS = 60
POLL_SECONDS = 0.05
# What the system, TensorFlow and this project say of a file that is gone or cannot be written.
PATTERN = '[Rr]ead-only file system|[Nn]o such file|not found'


class _Lost(full_disk_sites.Site):
  """Loses the disk once, and runs the program again when it is back."""

  def lose(self, disk):
    """Makes the disk read-only or vanish."""
    raise NotImplementedError

  def lost(self, disk, kilobytes, number):
    """Runs the program while the disk is lost; returns 'done' or 'refused'."""
    raise NotImplementedError

  def finish(self, disk):
    """Returns the command that goes on once the disk is back."""
    return self.argv(disk)

  def attempt(self, disk, kilobytes, number):
    spare = full_disk.Disk(os.path.join(self.directory, 'spare'))
    with disk:
      disk.call('mount', '--bind', disk.path, spare.path)
      try:
        result = self.lost(disk, kilobytes, number)
        while os.path.ismount(disk.path):
          disk.call('umount', '-l', disk.path)
        disk.call('mount', '--bind', spare.path, disk.path)
        if result == 'refused':
          with self.prepared(disk, None):
            again = full_disk.call(self.finish(disk))
          assert full_disk.check(again, '', self.notes) == 'done', again.stderr
        self.check(disk)
        assert not full_disk.unfinished(disk.path), full_disk.unfinished(disk.path)
      finally:
        spare.__exit__()
    return result

  @contextlib.contextmanager
  def started(self, disk):
    """Yields the program's process, which is killed at the end of the block."""
    with open(self._log('stdout'), 'w') as output, open(self._log('stderr'), 'w') as errors, \
         attacks.running(self.argv(disk), output, errors, stdin=subprocess.DEVNULL) as process:
      yield process

  def result(self, process):
    """Returns how a process has ended; see `full_disk.check`."""
    return full_disk.check(subprocess.CompletedProcess(
        [], process.returncode, self.text('stdout'), self.text('stderr')), PATTERN, self.notes)

  def text(self, stream):
    """Returns what the program has printed on 'stdout' or 'stderr'."""
    with open(self._log(stream)) as file:
      return file.read()

  def _log(self, stream):
    return os.path.join(self.directory, stream)


class _Endless(_Lost):
  """Programs without an end. Every second try loses the disk before the program starts."""

  def ready(self, disk, output):
    """Returns whether the program is under way."""
    raise NotImplementedError

  def provoke(self, disk):
    """Gives the program something to write."""

  def lost(self, disk, kilobytes, number):
    at_once = number % 2 == 0
    if at_once:
      self.lose(disk)
    with self.started(disk) as process:
      if not at_once:
        give_up = time.monotonic() + WAIT_SECONDS
        while not self.ready(disk, self.text('stdout')):
          assert time.monotonic() < give_up and process.poll() is None, self.text('stderr')
          time.sleep(POLL_SECONDS)
        self.lose(disk)
        self.provoke(disk)
      process.wait(WAIT_SECONDS)
    result = self.result(process)
    assert result == 'refused', 'it ended well without its disk'
    return result


class _Training(_Endless):
  """Trains without end, saving every second step; goes on when the disk is back."""

  def argv(self, disk):
    return attacks.trainer('cifar10_train', self.data_dir, os.path.join(disk.path, 'train'), 10**6)

  def ready(self, disk, output):
    return len(attacks.steps_of(output)) >= 5

  def finish(self, disk):
    train_dir = os.path.join(disk.path, 'train')
    sound, damaged = checkpoints.find_sound(train_dir)
    assert not damaged, damaged
    self.last = (checkpoints.step_of(sound) if sound else 0) + 4
    return attacks.trainer('cifar10_train', self.data_dir, train_dir, self.last)

  def check(self, disk):
    latest = checkpoints.find_latest(os.path.join(disk.path, 'train'))
    assert checkpoints.step_of(latest) == self.last, latest


class _Evaluation(_Endless):
  """Watches for checkpoints: one is there, the next comes once the disk is lost."""

  def __init__(self, directory):
    super().__init__(directory)
    self.source, self.train_dir = (os.path.join(directory, name) for name in ('source', 'train'))
    attacks.run(attacks.trainer('cifar10_train', self.data_dir, self.source, 4))
    os.mkdir(self.train_dir)

  def argv(self, disk, once=False):
    for path in glob.glob(os.path.join(self.train_dir, '*')):
      os.remove(path)
    self._put(2)
    return attacks.command(
        'cifar10_eval', data_dir=self.data_dir, checkpoint_dir=self.train_dir, batch_size=50,
        eval_dir=os.path.join(disk.path, 'eval'), eval_interval_secs=1, run_once=once,
        predictions_csv=os.path.join(disk.path, 'rows.csv'))

  def _put(self, step):
    for ending in '.data-00000-of-00001', '.index':  # the index last: it makes the checkpoint
      name = 'model.ckpt-%d%s' % (step, ending)
      shutil.copy(os.path.join(self.source, name), os.path.join(self.train_dir, name))

  def ready(self, disk, output):
    return 'at step 2' in output and os.path.exists(os.path.join(disk.path, 'rows.csv'))

  def provoke(self, disk):
    self._put(4)

  def finish(self, disk):
    return self.argv(disk, once=True)


class _AtAMoment(_Lost):
  """A site of `full_disk_sites`, whose program ends; tries lose the disk at moments over a run."""
  seconds = None  # of an undisturbed run

  def attempt(self, disk, kilobytes, number):
    if self.seconds is None:
      with disk, self.prepared(disk, None):
        started = time.monotonic()
        assert full_disk.check(full_disk.call(self.argv(disk)), '', self.notes) == 'done'
        self.seconds = time.monotonic() - started
    return super().attempt(disk, kilobytes, number)

  def lost(self, disk, kilobytes, number):
    with self.prepared(disk, None), self.started(disk) as process:
      time.sleep(kilobytes / self.most * self.seconds)
      self.lose(disk)
      process.wait(WAIT_SECONDS)
    return self.result(process)


class _ReadOnly:
  """A read-only view over the disk."""

  def lose(self, disk):
    disk.call('mount', '--bind', disk.path, disk.path)
    disk.call('mount', '-o', 'remount,bind,ro', disk.path)


class _Vanishing:
  """The disk is unmounted, and nobody may write where it was."""

  def lose(self, disk):
    disk.call('umount', '-l', disk.path)
    disk.call('mount', '-t', 'tmpfs', '-o', 'ro', 'tmpfs', disk.path)


def _sites():
  """Returns all sites (dict from name to class), such as read-only-training."""
  places = {'training': (_Training,), 'evaluation': (_Evaluation,),
            **{name: (_AtAMoment, full_disk_sites.SITES[name]) for name in (
                'tables', 'download', 'sample', 'export', 'input', 'conversion', 'cluster')}}
  return {'%s-%s' % (kind, name): type(name, (loss, *bases), {})
          for kind, loss in (('read-only', _ReadOnly), ('vanishing', _Vanishing))
          for name, bases in places.items()}


SITES = _sites()
