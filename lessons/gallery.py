"""Draws a gallery that shows what each distortion does to the same two pictures.

  python lessons/gallery.py --data_dir cifar10_data/

Each row shows one distortion. Each block of columns shows one picture: the original, then four
random distortions of it. With --logdir, TensorBoard's Images tab shows the same pictures.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # repository root

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

import cifar10  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.common.tf1 import tf  # noqa: E402
from cifar10_lib.dataset import augmentation, records  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string('gallery', 'augmentation.png', 'PNG file to write.')
flags.DEFINE_string('logdir', None, 'Directory for TensorBoard events; none by default.')
flags.DEFINE_integer('gallery_seed', 1, 'Seed of the random draws.')
flags.adopt_module_key_flags(cifar10)

DRAWS = 4  # distorted copies of each picture in each row
LEVELS = 31  # steps of each colour; the file is a third smaller than with 255 and looks the same
CLASSES = (9, 7)  # one picture each: a truck, whose lettering shows a flip, and a horse

# Rows: heading, distortions. Strengths exceed the defaults where those are hard to see.
ROWS = (
    ('translate\nup to 6 pixels', 'translate:6'),
    ('rotate\nup to 25 degrees', 'rotate:25'),
    ('flip\nleft-right', 'flip'),
    ('flip up-down\n(off by default)', 'flip_up_down'),
    ('crop\n24 of 32 pixels', 'crop'),
    ('scale\nfactor 0.7 to 1.4', 'scale:1.4'),
    ('brightness\nup to 63 levels', 'brightness:63'),
    ('contrast\nfactor 0.2 to 1.8', 'contrast:0.2-1.8'),
    ('saturation 0.2 to 1.8,\nhue up to 40 degrees', 'saturation:0.2-1.8,hue:40'),
    ('noise\n20 grey levels', 'noise:20'),
    ('cutout\n10 pixels', 'cutout:10'),
    ("the tutorial's three:\ncrop, flip, colour", 'crop,flip,colour'),
    ('all together', 'translate:3,rotate:15,scale:1.2,flip,crop,colour,saturation:0.5-1.5,hue:18,'
                     'noise:8,cutout:8'),
)

SEVEN = (  # the seven kinds, strong enough to be seen
    ('translate', 'translate:6'),
    ('rotate', 'rotate:25'),
    ('flip', 'flip,flip_up_down'),
    ('crop', 'crop'),
    ('scale', 'scale:1.4'),
    ('colour', 'brightness:40,contrast:0.5-1.5,saturation:0.2-1.8,hue:40'),
    ('noise', 'noise:60'),
)
DIGITS = (  # what happens to digits; a probability of 1 flips every picture
    ('original', 'none'),
    ('translate:4', 'translate:4'),
    ('rotate:15', 'rotate:15'),
    ('flip:1', 'flip:1'),
    ('flip_up_down:1', 'flip_up_down:1'),
    ('both flips', 'flip:1,flip_up_down:1'),
)


def examples(data_dir):
  """Returns the first test picture of each class in CLASSES, uint8 [len(CLASSES), 32, 32, 3].

  Args:
    data_dir: directory of the data set.

  Raises:
    Failure: the test file is missing or is not a whole number of records.
  """
  path, = records.data_files(data_dir, eval_data=True)
  records.count_records([path])
  data = np.fromfile(path, np.uint8).reshape(-1, records.RECORD_BYTES)
  first = [np.flatnonzero(data[:, 0] == label)[0] for label in CLASSES]
  planes = data[first, records.LABEL_BYTES:].reshape(-1, 3, 32, 32)
  return planes.transpose(0, 2, 3, 1)


def digits():
  """Draws the ten digits, uint8 [10, 32, 32, 3]."""
  from PIL import Image, ImageDraw, ImageFont
  found = []
  for digit in '0123456789':
    image = Image.new('RGB', (32, 32), '#20364d')
    ImageDraw.Draw(image).text((16, 16), digit, '#ffd479', ImageFont.load_default(26), anchor='mm')
    found.append(np.asarray(image))
  return np.stack(found)


def distorted(pictures, seed, rows=ROWS, draws=DRAWS):
  """Distorts pictures by each row, in grey levels, several times each.

  Args:
    pictures: uint8 [N, 32, 32, 3].
    seed: seed of the random draws.
    rows: such as ROWS: pairs of a heading and distortions.
    draws: copies of each picture in each row.

  Returns:
    A list with one uint8 [N, draws, H, W, 3] for each row. H and W are 24 in a row with a crop, 32
    in any other.
  """
  found = []
  for _, text in rows:
    augment = augmentation.parse(text)
    size = 24 if 'crop' in dict(augment) else 32
    with tf.Graph().as_default(), tf.Session() as session:
      tf.set_random_seed(seed)
      batch = tf.constant(np.repeat(pictures, draws, axis=0))  # [N * draws, 32, 32, 3]
      levels = augmentation.distort_levels(batch, augment, size)
      levels = session.run(tf.saturate_cast(tf.round(levels), tf.uint8))
    found.append(levels.reshape(-1, draws, size, size, 3))
  return found


def draw(pictures, rows, names, path):
  """Draws the gallery into a PNG file.

  Args:
    pictures: the originals, uint8 [N, 32, 32, 3].
    rows: the result of `distorted`.
    names: class names of the N pictures.
    path: path of the PNG file.
  """
  import matplotlib
  matplotlib.use('Agg')
  from matplotlib import pyplot
  from PIL import Image  # comes with matplotlib
  widths = ([1, 0.1] + [1] * DRAWS + [0.35]) * len(pictures)  # with gaps
  figure, axes = pyplot.subplots(
      len(ROWS), len(widths), figsize=(0.62 * sum(widths) + 2.2, 0.66 * len(ROWS) + 0.9),
      gridspec_kw=dict(width_ratios=widths, wspace=0.06, hspace=0.08, left=0.21, right=0.995,
                       top=0.925, bottom=0.01))
  for axis in axes.flat:
    axis.axis('off')
  for j, name in enumerate(names):
    begin = j * (DRAWS + 3)
    axes[0, begin].set_title('original', fontsize=9, fontweight='bold')
    axes[0, begin + 2].set_title('the same %s, drawn %d times' % (name, DRAWS), fontsize=9,
                                 loc='left')
    for i, row in enumerate(rows):
      axes[i, begin].imshow(pictures[j], interpolation='nearest')
      for axis, shown in zip(axes[i, begin + 2:], row[j], strict=False):
        axis.imshow(shown, interpolation='nearest')
  for axis, (heading, _) in zip(axes[:, 0], ROWS, strict=True):
    axis.text(-0.25, 0.5, heading, transform=axis.transAxes, ha='right', va='center', fontsize=10)
  figure.suptitle('Augmentation: each row distorts the original in its own way, by chance',
                  fontsize=11, fontweight='bold', y=0.99)
  figure.set_dpi(100)
  figure.canvas.draw()
  drawn = np.asarray(figure.canvas.buffer_rgba())[:, :, :3]
  steps = np.round(drawn / 255 * LEVELS) / LEVELS * 255
  Image.fromarray(np.round(steps).astype(np.uint8)).save(path, 'PNG', optimize=True)
  pyplot.close(figure)


def write_events(pictures, rows, logdir):
  """Writes the gallery's pictures for TensorBoard, one tag for each row, originals first.

  Args:
    pictures: the originals, uint8 [N, 32, 32, 3].
    rows: the result of `distorted`.
    logdir: directory for the event file.
  """
  with tf.Graph().as_default(), tf.Session() as session, tf.summary.FileWriter(logdir) as writer:
    for (_, text), row in zip(ROWS, rows, strict=True):
      size = row.shape[2]
      originals = pictures if size == 32 else pictures[:, 4:28, 4:28]
      strips = np.concatenate([originals[:, None], row], axis=1)  # [N, 1 + DRAWS, H, W, 3]
      strips = strips.transpose(0, 2, 1, 3, 4).reshape(len(pictures), size, -1, 3)
      summary = tf.summary.image(text.replace(':', '_').replace(',', '-'), strips, len(pictures))
      writer.add_summary(session.run(summary), 0)


def main(argv):
  del argv
  directory = cifar10.maybe_download_and_extract()
  pictures = examples(FLAGS.data_dir)
  rows = distorted(pictures, FLAGS.gallery_seed)
  names = records.class_names(directory)
  draw(pictures, rows, [names[label] for label in CLASSES], FLAGS.gallery)
  print('What the distortions do: %s' % FLAGS.gallery)
  if FLAGS.logdir:
    write_events(pictures, rows, FLAGS.logdir)
    print('The same in TensorBoard: tensorboard --logdir %s' % FLAGS.logdir)


if __name__ == '__main__':
  programs.run(main)
