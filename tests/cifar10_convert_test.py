"""Tests of the conversion program, on small folders of pictures, sound and hostile."""
import contextlib
import html
import errno
import io
import os
import signal
import subprocess
import sys
import textwrap
from unittest import mock

import numpy as np
from absl.testing import flagsaver
from PIL import Image

import cifar10_convert
from cifar10_lib.common import programs
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import conversion, records, sample
from cifar10_lib.dataset.picture_limits_test import png
from tests import pictures, testing

ROOT = os.path.dirname(os.path.abspath(cifar10_convert.__file__))
# Converts, and is killed when a third picture is to be kept.
KILLED = textwrap.dedent('''
    import os, signal, sys
    import cifar10_convert
    from cifar10_lib.common import programs
    from cifar10_lib.dataset import conversion
    folder, data_dir = sys.argv[1:]
    add = conversion.Spool.add
    def end(self, *arguments):
      if len(self.pictures) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
      add(self, *arguments)
    conversion.Spool.add = end
    sys.argv = ['cifar10_convert.py', folder, '--data_dir', data_dir]
    programs.run(cifar10_convert.main, arguments=True)
''')


class ConvertTest(testing.DirectoryTestCase):

  def setUp(self):
    super().setUp()
    self.photos, self.data_dir = self.path('photos'), self.path('data')
    self.batches = os.path.join(self.data_dir, records.DIRECTORY)

  def make(self, seed=0, **counts):
    """Writes random pictures, counts[name] of them in each folder; returns {name: pixels}."""
    made = {}
    for number, (name, count) in enumerate(counts.items()):
      made[name] = pictures.random_pictures(count, seed=seed + number)
      pictures.write_pngs(os.path.join(self.photos, name), made[name])
    return made

  def write(self, name, content=b''):
    with open(os.path.join(self.photos, name), 'wb') as file:
      file.write(content)

  def run_program(self, *arguments):
    """Runs the program; returns its exit code and the lines of standard output and error."""
    with mock.patch.object(sys, 'argv', ['cifar10_convert.py', *arguments]), \
         self.assertRaises(SystemExit) as caught, \
         contextlib.redirect_stdout(io.StringIO()) as out, \
         contextlib.redirect_stderr(io.StringIO()) as err, \
         flagsaver.flagsaver():
      programs.run(cifar10_convert.main, arguments=True)
    texts = [file.getvalue().replace(self.directory, 'DIR') for file in (out, err)]
    return caught.exception.code, *(text.splitlines() for text in texts)

  def convert(self, *arguments):
    return self.run_program(self.photos, '--data_dir', self.data_dir, *arguments)

  def assertFails(self, *lines):
    """Expects a conversion to fail with these lines on standard error, and to write nothing."""
    code, _, err = self.convert()
    self.assertEqual((code, err), (1, list(lines)))
    self.assertIn(os.listdir(self.data_dir) if os.path.exists(self.data_dir) else [],
                  ([], ['.lock']))

  def raw(self, *names):
    """Returns the records of files, uint8 [N, 3073]."""
    return np.concatenate([np.fromfile(os.path.join(self.batches, name), np.uint8).reshape(-1, 3073)
                           for name in names])

  def assertRecords(self, raw, label, pixels):
    """Expects the records with a label to be these pictures, in any order."""
    planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    mine = raw[raw[:, 0] == label, 1:]
    self.assertCountEqual([bytes(row) for row in mine], [bytes(row) for row in planes])

  def testEveryPictureBecomesItsRecord(self):
    made = self.make(cat=20, dog=21, fox=19)
    code, out, err = self.convert()
    self.assertEqual((code, err), (0, []))
    # Quotes: the temporary directory may have a name that a shell would not take without.
    self.assertEqual([line.replace("'", '') for line in out], [
        'DIR/photos: 60 pictures of 3 classes',
        'label  training    test  class',
        '    0        16       4  cat',
        '    1        17       4  dog',
        '    2        15       4  fox',
        'total        48      12',
        'Wrote DIR/data/cifar-10-batches-bin. Look at DIR/data/cifar-10-batches-bin/'
        'contact_sheet.png: this is what the network learns from.',
        'Next: python cifar10_train.py --data_dir DIR/data --train_dir DIR/data_train'])
    self.assertEqual(records.check_data(self.batches), dict(zip(
        records.BIN_FILES, [10, 10, 10, 9, 9, 12], strict=True)))
    for label, name in enumerate(['cat', 'dog', 'fox']):
      self.assertRecords(self.raw(*records.BIN_FILES), label, made[name])
      for file in records.BIN_FILES:  # mixed
        self.assertIn(label, self.raw(file)[:, 0])
    self.assertEqual(records.class_names(self.batches), ['cat', 'dog', 'fox'])
    self.assertCountEqual(os.listdir(self.batches), [*records.FILES, 'contact_sheet.png'])
    with open(os.path.join(self.batches, records.README_FILE), encoding='utf-8') as file:
      page = file.read().replace(html.escape(self.directory), 'DIR')
    for text in 'DIR/photos', '0.2 of each class', 'seed 0', 'version 1', '\n'.join(out[1:6]):
      self.assertIn(text, page)
    self.assertFalse(sample.is_sample(self.batches))

  def testAGivenSplitIsTaken(self):
    made = self.make(**{'train/cat': 9, 'train/dog': 8, 'test/cat': 3, 'test/dog': 5})
    code, out, err = self.convert()
    self.assertEqual((code, err), (0, []))
    self.assertEqual(out[:5], ['DIR/photos: 25 pictures of 2 classes, split into train and test',
                               'label  training    test  class',
                               '    0         9       3  cat',
                               '    1         8       5  dog',
                               'total        17       8'])
    for label, name in enumerate(['cat', 'dog']):
      self.assertRecords(self.raw(*records.TRAIN_FILES), label, made['train/' + name])
      self.assertRecords(self.raw(records.TEST_FILE), label, made['test/' + name])

  def testTheSeedSetsEveryByte(self):
    self.make(cat=20, dog=20)
    content = {}
    for seed in 5, -5, 5:
      self.data_dir = self.path('data%d of %d' % (seed, len(content)))
      self.batches = os.path.join(self.data_dir, records.DIRECTORY)
      self.assertEqual(self.convert('--seed=%d' % seed)[0], 0)
      content.setdefault(seed, []).append([bytes(self.raw(name)) for name in records.BIN_FILES])
    self.assertEqual(*content[5])
    for one, other in zip(content[5][0], content[-5][0], strict=True):
      self.assertNotEqual(one, other)

  def testFormatsAndSizesAreMadeEqual(self):
    self.make(cat=9, dog=9)
    grey = np.full([48, 64], 77, np.uint8)
    for name, mode in ('a.jpg', 'CMYK'), ('b.gif', 'P'), ('c.bmp', 'L'), ('d.webp', 'RGB'):
      Image.fromarray(grey).convert(mode).save(os.path.join(self.photos, 'cat', name), quality=95)
    code, out, _ = self.convert()
    self.assertEqual((code, out[0]), (0, 'DIR/photos: 22 pictures of 2 classes'))
    flat = [row for row in self.raw(*records.BIN_FILES) if np.ptp(row[1:].astype(int)) < 9]
    self.assertNotEmpty(flat)
    self.assertAllClose(np.stack(flat)[:, 1:], np.full([len(flat), 3072], 77), atol=4)

  def testTheContactSheetShowsTheRecords(self):
    made = self.make(cat=16, dog=7)
    self.convert()
    with Image.open(os.path.join(self.batches, 'contact_sheet.png')) as image:
      sheet = np.asarray(image)
    first = sheet[0:96:3, -12 * 98:][:, 0:96:3]  # zoomed by 3
    self.assertIn(bytes(first), [bytes(picture) for picture in made['cat']])

  def testCopiesNeverStandInBothFiles(self):
    made = self.make(cat=20, dog=20)
    for number in range(10):  # byte for byte, and as another file of the same pixels
      pictures.write_pngs(os.path.join(self.photos, 'cat', 'copy%d' % number), made['cat'][:2])
    Image.fromarray(made['cat'][5]).save(os.path.join(self.photos, 'cat', 'z.bmp'))
    pictures.write_pngs(os.path.join(self.photos, 'dog', 'wrong'), made['cat'][7:8])
    code, out, _ = self.convert('--test_share=0.5')
    self.assertEqual(code, 0)
    self.assertEqual(out[4:7], [
        'total        19      20',
        'Left out: copies of other pictures of their class: 21, such as DIR/photos/cat/copy0/0.png '
        'of DIR/photos/cat/0.png',
        'Left out: pictures that stand in several classes: 2, such as DIR/photos/cat/7.png = '
        'DIR/photos/dog/wrong/0.png'])
    raw = self.raw(*records.BIN_FILES)
    self.assertLen({bytes(row[1:]) for row in raw}, 39)
    self.assertRecords(raw, 0, np.delete(made['cat'], 7, axis=0))
    self.assertRecords(raw, 1, made['dog'])

  def testACopyInAGivenSplitIsLeftOutOfTraining(self):
    made = self.make(**{'train/cat': 9, 'train/dog': 9, 'test/cat': 3, 'test/dog': 3})
    pictures.write_pngs(os.path.join(self.photos, 'train', 'cat', 'more'), made['test/cat'][:2])
    code, out, _ = self.convert()
    self.assertEqual((code, out[5]), (
        0, 'Left out: copies of other pictures of their class: 2, such as '
        'DIR/photos/train/cat/more/0.png of DIR/photos/test/cat/0.png'))
    self.assertRecords(self.raw(*records.TRAIN_FILES), 0, made['train/cat'])
    self.assertRecords(self.raw(records.TEST_FILE), 0, made['test/cat'])

  def testHostileFolders(self):
    names = ['-x', 'Cat', ' two words ', 'line\nbreak', '\x1b[31mred', '$x$ 100%', '中文',
             os.fsdecode(b'caf\xe9')]
    self.make(**{name: 6 for name in names})
    try:
      self.make(seed=100, cat=6)
      names.append('cat')
    except FileExistsError:
      pass  # for this file system, it is 'Cat'
    os.symlink('loop', os.path.join(self.photos, 'loop'))
    os.mkfifo(os.path.join(self.photos, '-x', 'fifo.png'))
    os.mkdir(os.path.join(self.photos, 'empty'))
    self.write('-x/.DS_Store')
    self.write('-x/zero.png')
    self.write('-x/text.jpg', b'not a picture')
    self.write('-x/bomb.png', png(100000, 100000))
    os.symlink('nowhere', os.path.join(self.photos, '-x', 'gone.png'))
    code, out, err = self.convert()
    formats = '(PNG, JPEG, BMP, GIF, WEBP).'
    self.assertEqual((code, err), (1, [
        'Error: DIR/photos/-x/bomb.png has 100000 x 100000 pixels; make it smaller than 32 '
        'million.',
        'Error: DIR/photos/-x/gone.png cannot be read: No such file or directory.',
        'Error: DIR/photos/-x/text.jpg is no picture that can be read here ' + formats,
        'Error: DIR/photos/-x/zero.png is no picture that can be read here ' + formats,
        '4 files or folders could not be read; the data set holds the others.']))
    self.assertEqual(out[:3], [
        'DIR/photos: %d pictures of %d classes' % (len(names) * 6 + 4, len(names)),
        'Passed over: files without an ending: 1, hidden: 1, FIFOs and devices: 1, folders without '
        'pictures: 1',
        'Note: DIR/photos/empty is no class, because it holds no picture.'])
    self.assertEqual("Note: 'Cat' and 'cat' look alike; they are two classes." in out,
                     'cat' in names)
    self.assertEqual(records.class_names(self.batches), [
        '\\x1b[31mred', 'two words', '$x$ 100%', '-x', 'Cat', 'caf\\xe9'][:4] + sorted(
            set(names) & {'Cat', 'cat'} | {'caf\\xe9'}) + ['line\\nbreak', '中文'])
    self.assertLen(self.raw(*records.BIN_FILES), len(names) * 6)

  def testALinkToItselfIsNoClass(self):
    self.make(cat=6, dog=6)
    os.symlink('.', os.path.join(self.photos, 'self'))
    os.symlink('..', os.path.join(self.photos, 'cat', 'up'))
    self.addCleanup(os.remove, os.path.join(self.photos, 'self'))  # TensorFlow's own cleaning
    self.addCleanup(os.remove, os.path.join(self.photos, 'cat', 'up'))  # would follow them
    code, out, _ = self.convert()
    self.assertEqual((code, out[:2]), (0, ['DIR/photos: 12 pictures of 2 classes',
                                           'Passed over: links to folders: 2']))

  def testNumbersOfClasses(self):
    self.make(cat=6)
    self.assertFails("Error: DIR/photos holds one class, 'cat'; at least two are needed. If the "
                     'folders in it are the classes, name DIR/photos/cat instead.')
    self.make(seed=9, dog=1)
    self.assertFails("Error: Too few pictures: 'dog' has 1. Each class needs one for training and "
                     'one for the test. Add pictures, or remove the folder. Not counted: files '
                     'that cannot be read.')
    for number in range(255):
      os.makedirs(os.path.join(self.photos, '%d' % number))
      self.write('%d/1.png' % number)
    self.assertFails('Error: DIR/photos holds 257 classes; at most 256 work, because a label is '
                     'one byte. Join or move some of the folders.')

  def test256Classes(self):
    self.make(**{'class %03d' % label: 2 for label in range(256)})
    code, out, _ = self.convert()
    self.assertEqual((code, out[-3]), (0, 'total       256     256'))
    self.assertAllEqual(np.sort(self.raw(records.TEST_FILE)[:, 0]), np.arange(256))
    self.assertEqual(records.check_data(self.batches)[records.TEST_FILE], 256)

  def testMoreThanHalfUnreadableWritesNothing(self):
    self.make(cat=15, dog=15)
    for number in range(30):
      self.write('dog/x%02d.png' % number)
    code, out, err = self.convert()
    self.assertEqual(code, 1)
    self.assertLen(err, 22)
    self.assertTrue(all(' is no picture ' in line for line in err[:20]))
    self.assertEqual(err[20:], ['Error: and 10 more that cannot be read.',
                                '30 files or folders could not be read; the data set holds the '
                                'others.'])
    self.assertIn('total        24       6', out)
    self.data_dir = self.path('other')
    self.write('dog/x30.png')
    code, out, err = self.convert()
    self.assertEqual((code, len(err)), (1, 21))
    self.assertEqual(err[-1], 'Error: More than half of the 61 pictures in DIR/photos cannot be '
                     'read. Nothing was written.')
    self.assertEqual(os.listdir(self.data_dir), ['.lock'])

  def testAnExistingDataSetIsKept(self):
    self.make(cat=6, dog=6)
    sample.make_sample(self.data_dir, 5, 1)
    before = bytes(self.raw(*records.BIN_FILES))
    code, out, err = self.convert()
    self.assertEqual((code, out, err), (1, [], [
        'Error: DIR/data/cifar-10-batches-bin is there already, and nothing is overwritten. Choose '
        'another --data_dir, or move it away.']))
    self.assertEqual(bytes(self.raw(*records.BIN_FILES)), before)

  def testWrongUsageIsExitCode2(self):
    self.make(cat=6, dog=6)
    data_dir = '--data_dir=' + self.data_dir
    both = [os.path.join(self.photos, name) for name in ('cat', 'dog')]  # photos/* in a shell
    for arguments, text in (
        ([data_dir], 'name one folder, which holds a folder of pictures for each class'),
        ([*both, data_dir], 'name one folder, which holds a folder of pictures for each class'),
        ([self.photos], 'give --data_dir, the directory for the data set'),
        ([self.photos, data_dir, '--test_share=0'], '--test_share=0 is not above 0 and below 1'),
        ([self.photos, data_dir, '--test_share=nan'], '--test_share=nan is not above 0 and below'),
        (['-x', data_dir], "Unknown command line flag 'x'")):
      code, out, err = self.run_program(*arguments)
      self.assertEqual((code, out, len(err)), (2, [], 1))
      self.assertStartsWith(err[0], text)
      self.assertFalse(os.path.exists(self.data_dir))

  def testAFolderWhoseNameStartsWithADash(self):
    self.photos = self.path('-x')
    self.make(cat=6, dog=6)
    before = os.getcwd()
    self.addCleanup(os.chdir, before)
    os.chdir(self.directory)
    for number, arguments in enumerate((['./-x', '--data_dir=data0'],
                                        ['--data_dir=data1', '--', '-x'])):
      code, out, err = self.run_program(*arguments)
      self.assertEqual((code, err), (0, []))
      self.assertEqual(out[-1], 'Next: python cifar10_train.py --data_dir data%d --train_dir '
                       'data%d_train' % (number, number))

  def testTheNextCommandCanBeTyped(self):
    self.assertEqual(cifar10_convert.next_command("my data/"),
                     "python cifar10_train.py --data_dir 'my data/' --train_dir 'my data_train'")

  def testAFullDiskIsNamed(self):
    self.make(cat=6, dog=6)
    full = OSError(errno.ENOSPC, 'No space left on device')
    line = ('Error: Cannot fill DIR/data/cifar-10-batches-bin: no space left on device. Free about '
            '10 MB and run the same command again.')
    for place, name in (conversion.Spool, 'add'), (Image.Image, 'save'), (os, 'fsync'):
      with mock.patch.object(place, name, side_effect=full):
        self.assertFails(line)
    self.assertEqual(self.convert()[0], 0)

  def testCtrlCLeavesNothing(self):
    self.make(cat=6, dog=6)
    add = conversion.Spool.add

    def interrupt(spool, *arguments):
      if len(spool.pictures) == 3:
        signal.raise_signal(signal.SIGINT)
      add(spool, *arguments)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's & ignores it
    self.addCleanup(signal.signal, signal.SIGINT, before)
    with mock.patch.object(conversion.Spool, 'add', interrupt):
      code, _, err = self.convert()
    self.assertEqual((code, err), (130, []))
    self.assertEqual(os.listdir(self.data_dir), ['.lock'])
    self.assertEqual(self.convert()[0], 0)

  def testAKilledRunLeavesNothingThatLooksComplete(self):
    self.make(cat=6, dog=6)
    killed = subprocess.run(
        [sys.executable, '-c', KILLED, self.photos, self.data_dir], check=False,
        env=dict(os.environ, PYTHONPATH=ROOT), capture_output=True, text=True, timeout=100)
    self.assertEqual((killed.returncode, killed.stderr), (-signal.SIGKILL, ''))
    self.assertCountEqual(os.listdir(self.data_dir), ['.lock', records.DIRECTORY + '.unfinished'])
    code, _, err = self.convert()
    self.assertEqual((code, err), (0, []))
    self.assertCountEqual(os.listdir(self.data_dir), ['.lock', records.DIRECTORY])


if __name__ == '__main__':
  tf.test.main()
