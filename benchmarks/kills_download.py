"""The part of `kills` that ends a download and the unpacking of its archive."""
import hashlib
import os
import threading
import time

from benchmarks import attacks
from cifar10_lib.dataset import download as downloads
from cifar10_lib.dataset import records, testing

SECONDS = 1.5    # that the first answer of the host takes
PIECES = 100     # of an answer
RECORDS = 2000   # in each of six files, so that unpacking takes a while
WAIT_SECONDS = 30  # for the first request, and for the archive
UNPACK_SECONDS = 0.3  # from the verified archive to the checked files, and a bit
POLL_SECONDS = 0.002


class _SlowAnswer(testing.Answer):
  """Sends its first answer in pieces, with pauses; later ones at once."""

  def reply(self, status, body, cut=None, **headers):
    if self.server.began.is_set():
      super().reply(status, body, cut, **headers)
      return
    super().reply(status, body, 0, **headers)
    self.server.began.set()
    size = -(-len(body) // PIECES)
    for start in range(0, len(body), size):
      self.wfile.write(body[start:start + size])
      time.sleep(SECONDS / PIECES)


class _SlowHost(testing.Host):
  """A host for one killed download and the next."""

  def __init__(self, body):
    super().__init__(body)
    self.RequestHandlerClass = _SlowAnswer
    self.began = threading.Event()


def _await_archive(data_dir, process):
  """Waits until the archive is complete or the process has ended."""
  give_up = time.monotonic() + WAIT_SECONDS
  path = os.path.join(data_dir, downloads.CIFAR10.archive)
  while not os.path.exists(path) and process.poll() is None:
    assert time.monotonic() < give_up, 'no archive'
    time.sleep(POLL_SECONDS)


def download(directory):
  """Returns the function that kills a download once: half while it arrives, half while it unpacks.

  The program is an evaluator, which downloads before it misses its checkpoint.
  """
  del directory
  files = testing.good_files()
  for seed, name in enumerate(records.BIN_FILES):
    files[name] = testing.random_records(RECORDS, seed)
  body = testing.tarball(testing.members_of(files))
  sha256 = hashlib.sha256(body).hexdigest()

  def one_round(blow, moment, place):
    data_dir = os.path.join(place, 'data')
    with _SlowHost(body) as host:
      argv = attacks.command('cifar10_eval', data_dir=data_dir, data_url=host.url, run_once=True,
                             data_sha256=sha256, checkpoint_dir=os.path.join(place, 'none'))
      unpacking = moment * 1000 % 1 < 0.5
      with attacks.running(argv) as process:
        assert host.began.wait(WAIT_SECONDS), 'no request'
        if unpacking:
          _await_archive(data_dir, process)
        time.sleep(moment * (UNPACK_SECONDS if unpacking else SECONDS))
        blow.strike(process, codes=[1])
      listing = os.listdir(data_dir)
      assert 'No checkpoint in' in attacks.run(argv, code=1)
    for name, content in files.items():
      with open(os.path.join(data_dir, records.DIRECTORY, name), 'rb') as file:
        assert file.read() == content, name
    assert {*os.listdir(data_dir)} - {'.lock'} == {records.DIRECTORY, downloads.CIFAR10.archive}, (
        os.listdir(data_dir))
    kinds = {'.part': 'in part', '.unfinished': 'unpacking', records.DIRECTORY: 'done'}
    return next((kind for ending, kind in kinds.items()
                 if any(name.endswith(ending) for name in listing)), 'verified')
  return one_round
