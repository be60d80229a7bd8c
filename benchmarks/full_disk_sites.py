"""Places where programs write, for `full_disk`: commands, sizes, and what must be there at the end.

A site is made with a directory on an ordinary disk, where it puts what its program reads.
"""
import contextlib
import csv
import hashlib
import os

import numpy as np
from PIL import Image

from benchmarks import attacks, full_disk
from cifar10_lib.dataset import records, sample, testing
from cifar10_lib.training import checkpoints


class Site:
  """Tries one program on one full disk."""
  most = 40000  # kilobytes of the largest disk; what the program writes should be below
  notes = ''    # regular expression of lines on standard error that are no problem

  def __init__(self, directory):
    self.directory = directory
    self.data_dir = attacks.draw_sample(directory)

  def argv(self, disk):
    """Returns the command, which is the same in both tries."""
    raise NotImplementedError

  @contextlib.contextmanager
  def prepared(self, disk, kilobytes):
    """Makes the disk that small for a run; None: leaves it large."""
    if kilobytes is not None:
      disk.resize(kilobytes)
    yield

  def check(self, disk):
    """Raises AssertionError if what the second run left is not right."""

  def attempt(self, disk, kilobytes, number):
    """Tries one size; returns 'done' or 'refused'."""
    del number
    return full_disk.full(self, disk, kilobytes)


class Training(Site):
  """Saves twice, beside events: 20 MB."""

  def argv(self, disk):
    return attacks.trainer('cifar10_train', self.data_dir, os.path.join(disk.path, 'train'), 4)

  def check(self, disk):
    latest = checkpoints.find_latest(os.path.join(disk.path, 'train'))
    assert checkpoints.step_of(latest) == 4, latest


class Resuming(Training):
  """Goes on from step 4 on a disk that another program has filled."""
  most = 30000

  def argv(self, disk, max_steps=8):
    return attacks.trainer('cifar10_train', self.data_dir, os.path.join(disk.path, 'train'),
                           max_steps)

  @contextlib.contextmanager
  def prepared(self, disk, kilobytes):
    if kilobytes is not None:
      attacks.run(self.argv(disk, 4))
      disk.fill(kilobytes)
    yield
    if kilobytes is not None:
      train_dir = os.path.join(disk.path, 'train')
      sound, damaged = checkpoints.find_sound(train_dir)
      assert checkpoints.step_of(sound) >= 4 and not damaged, (sound, damaged)

  def check(self, disk):
    latest = checkpoints.find_latest(os.path.join(disk.path, 'train'))
    assert checkpoints.step_of(latest) == 8, latest


class _Scoring(Site):
  """Sites that need a checkpoint."""

  def __init__(self, directory):
    super().__init__(directory)
    self.train_dir = os.path.join(directory, 'train')
    attacks.run(attacks.trainer('cifar10_train', self.data_dir, self.train_dir, 4))

  def evaluator(self, **flags):
    return attacks.command('cifar10_eval', **dict(dict(
        data_dir=self.data_dir, checkpoint_dir=self.train_dir, batch_size=50, run_once=True,
        eval_dir=os.path.join(self.directory, 'eval')), **flags))


class Evaluation(_Scoring):
  """Writes events of all checkpoints, and drawings of the latest."""
  most = 3000

  def argv(self, disk):
    return self.evaluator(eval_dir=os.path.join(disk.path, 'eval'), run_once=False)

  def check(self, disk):
    steps = attacks.event_steps(os.path.join(disk.path, 'eval'))
    assert max(steps[-1]) == 4, steps
    for name in 'confusion.png', 'mistakes.png':
      with Image.open(os.path.join(disk.path, 'eval', name)) as picture:
        picture.load()


class Tables(_Scoring):
  """Writes the predictions of 4,000 pictures, about 80 KB, and the confusion matrix."""
  most = 240

  def __init__(self, directory):
    super().__init__(directory)
    self.data_dir = attacks.draw_sample(os.path.join(directory, 'more'), 200, 4000)

  def argv(self, disk):
    return self.evaluator(predictions_csv=os.path.join(disk.path, 'rows.csv'),
                          confusion_csv=os.path.join(disk.path, 'matrix.csv'))

  def check(self, disk):
    for name, count in ('rows.csv', 4001), ('matrix.csv', 11):
      with open(os.path.join(disk.path, name), newline='') as file:
        assert len(list(csv.reader(file))) == count, name


class _FillingAnswer(testing.Answer):
  """Fills the disk when the first request comes."""

  def do_GET(self):
    if self.server.disk:
      self.server.disk.fill(self.server.kilobytes)
      self.server.disk = None
    super().do_GET()


class Download(_Scoring):
  """Downloads and unpacks an archive of 2 MB; the disk fills after the first request."""
  most = 6000
  notes = r'(?!Error).*( lacks |Trying again|: Unpacking|MB|Unpacked)'

  def __init__(self, directory):
    super().__init__(directory)
    self.files = testing.good_files()  # with the classes that the checkpoint has learned
    self.files[records.META_FILE] = ('\n'.join(sample.KINDS) + '\n').encode()
    for seed, name in enumerate(records.BIN_FILES):
      self.files[name] = testing.random_records(100, seed)
    self.body = testing.tarball(testing.members_of(self.files))
    self.url = None

  @contextlib.contextmanager
  def prepared(self, disk, kilobytes):
    with testing.Host(self.body) as host:
      host.disk, host.kilobytes = (disk if kilobytes is not None else None), kilobytes
      host.RequestHandlerClass = _FillingAnswer
      self.url = host.url
      yield

  def argv(self, disk):
    return self.evaluator(data_dir=os.path.join(disk.path, 'data'), data_url=self.url,
                          data_sha256=hashlib.sha256(self.body).hexdigest())

  def check(self, disk):
    for name, content in self.files.items():
      with open(os.path.join(disk.path, 'data', records.DIRECTORY, name), 'rb') as file:
        assert file.read() == content, name


class Sample(_Scoring):
  """Draws the sample data set, 37 MB, and scores on it."""
  most = 50000

  def argv(self, disk):
    return self.evaluator(data_dir=os.path.join(disk.path, 'data'), data_url='sample')

  def check(self, disk):
    records.check_data(os.path.join(disk.path, 'data', records.DIRECTORY))


class Export(_Scoring):
  """Writes two SavedModels, 9 MB in all."""
  most = 12000

  def argv(self, disk):
    return attacks.command('cifar10_predict', checkpoint_dir=self.train_dir,
                           export=os.path.join(disk.path, 'model'))

  def check(self, disk):
    model = os.path.join(disk.path, 'model')
    assert sorted(os.listdir(model)) == attacks.EXPORTED, model


def _make_pictures(folder, numbers):
  """Writes a picture of noise for each number into a new folder."""
  os.makedirs(folder)
  for number in numbers:
    pixels = np.random.RandomState(number).randint(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(os.path.join(folder, '%d.png' % number))


class Input(_Scoring):
  """Writes the network's input of 30 pictures, about 4 KB each."""
  most = 240

  def __init__(self, directory):
    super().__init__(directory)
    self.pictures = os.path.join(directory, 'pictures')
    _make_pictures(self.pictures, range(30))

  def argv(self, disk):
    return attacks.command('cifar10_predict', self.pictures, checkpoint_dir=self.train_dir,
                           save_input=os.path.join(disk.path, 'input'))

  def check(self, disk):
    directory = os.path.join(disk.path, 'input')
    for name in os.listdir(directory):
      with Image.open(os.path.join(directory, name)) as picture:
        picture.load()


class Conversion(Site):
  """Makes a data set of 30 pictures of two classes, and draws them; 200 KB in all."""
  most = 360

  def __init__(self, directory):
    super().__init__(directory)
    self.photos = os.path.join(directory, 'photos')
    for start, name in enumerate(['key', 'cup']):
      _make_pictures(os.path.join(self.photos, name), range(start, 30, 2))

  def argv(self, disk):
    return attacks.command('cifar10_convert', self.photos,
                           data_dir=os.path.join(disk.path, 'data'))

  def check(self, disk):
    records.check_data(os.path.join(disk.path, 'data', records.DIRECTORY))


class Cluster(Training):
  """Trains as a local cluster, whose tasks write logs too.

  The launcher prints what its chief prints, errors too, on standard output.
  """
  errors = '"$@" | sed -n "/^Error/p" >&2; exit ${PIPESTATUS[0]}'

  def argv(self, disk):
    return ['bash', '-c', self.errors, '', *attacks.trainer(
        'cifar10_train_distributed', self.data_dir, os.path.join(disk.path, 'train'), 4,
        local='ps:1,chief:1,worker:1')]


SITES = {'training': Training, 'resuming': Resuming, 'evaluation': Evaluation, 'tables': Tables,
         'download': Download, 'sample': Sample, 'export': Export, 'input': Input,
         'conversion': Conversion, 'cluster': Cluster}
