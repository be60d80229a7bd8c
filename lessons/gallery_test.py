"""Tests of the gallery of distortions."""
import contextlib
import glob
import io
import os
import tempfile

import numpy as np

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import augmentation, sample
from lessons import gallery


class GalleryTest(tf.test.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.directory = tempfile.mkdtemp()
    path = os.path.join(sample.make_sample(cls.directory, 50, 40), 'test_batch.bin')
    records = np.fromfile(path, np.uint8).reshape(-1, 3073)
    cls.expected = np.stack([records[records[:, 0] == label][0, 1:].reshape(3, 32, 32)
                             for label in gallery.CLASSES]).transpose(0, 2, 3, 1)
    cls.pictures = gallery.examples(cls.directory)
    cls.rows = gallery.distorted(cls.pictures, seed=3)

  def testExamplesAreTheFirstPicturesOfTheirClasses(self):
    self.assertAllEqual(self.pictures, self.expected)

  def testEveryDistortionHasARow(self):
    shown = {name for _, text in gallery.ROWS for name, _ in augmentation.parse(text)}
    self.assertEqual(shown, set(augmentation.KINDS))

  def testDistortedCopiesDiffer(self):
    self.assertLen(self.rows, len(gallery.ROWS))
    for (heading, text), row in zip(gallery.ROWS, self.rows, strict=True):
      size = 24 if 'crop' in text else 32
      self.assertEqual(row.shape, (len(self.pictures), gallery.DRAWS, size, size, 3))
      self.assertGreater(len({copy.tobytes() for copies in row for copy in copies}),
                         len(self.pictures), heading)

  def testGalleryIsReadable(self):
    path = os.path.join(self.directory, 'gallery.png')
    gallery.draw(self.pictures, self.rows, ['a', 'b'], path)
    with open(path, 'rb') as file:
      data = file.read()
    self.assertEqual(data[:8], b'\x89PNG\r\n\x1a\n')
    self.assertBetween(len(data), 20000, 400000)  # the sample's shapes compress badly
    with self.session(tf.Graph()) as session:
      height, width, _ = session.run(tf.image.decode_png(data)).shape
    self.assertBetween(width, 600, 1200)  # readable on a screen, without scrolling sideways
    self.assertBetween(height, 600, 1200)

  def testTensorBoardGetsThePictures(self):
    logdir = os.path.join(self.directory, 'events')
    with contextlib.redirect_stdout(io.StringIO()):
      gallery.write_events(self.pictures, self.rows, logdir)
    path, = glob.glob(os.path.join(logdir, 'events.*'))
    images = {}
    for event in tf.train.summary_iterator(path):
      for value in event.summary.value:
        images[value.tag] = value.image
    self.assertLen(images, len(gallery.ROWS) * len(self.pictures))
    with self.session(tf.Graph()) as session:
      strip = session.run(tf.image.decode_png(images['translate_6/image/1'].encoded_image_string))
    self.assertAllEqual(strip[:, :32], self.pictures[1])


if __name__ == '__main__':
  tf.test.main()
