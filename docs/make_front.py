"""Draws docs/front.png: the first test picture of each class, and the two likeliest classes.

  python docs/make_front.py --data_dir cifar10_data/ --checkpoint_dir cifar10_train/
"""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)  # finds cifar10

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

import cifar10_predict  # noqa: E402
from cifar10_lib.common import programs  # noqa: E402
from cifar10_lib.dataset import records  # noqa: E402

FLAGS = flags.FLAGS


def first_of_each(path, count):
  """Returns the first picture of each class in a .bin file, uint8 [count, 32, 32, 3]."""
  labels = np.fromfile(path, np.uint8).reshape(-1, records.RECORD_BYTES)[:, 0]
  numbers = [int(np.flatnonzero(labels == label)[0]) for label in range(count)]
  return records.read_pictures([path], records.WHOLE, numbers)


def draw(pictures, names, log_probabilities, path):
  """Draws a row of pictures, each with its true class above and two predictions below."""
  from matplotlib.figure import Figure
  figure = Figure(figsize=(12, 2.1))
  all_axes = figure.subplots(1, len(pictures))
  for axes, picture, name, row in zip(all_axes, pictures, names, log_probabilities, strict=True):
    order = np.argsort(-row)[:2]
    axes.imshow(picture, interpolation='nearest')
    axes.axis('off')
    axes.set_title(name, fontsize=9, color='gray')
    for place, label in enumerate(order):
      axes.text(15.5, 37 + 6 * place, '%s %.2f' % (names[label], np.exp(row[label])), ha='center',
                va='center', fontsize=9 if place else 10, color='gray' if place else
                '#2e7d32' if names[label] == name else '#c62828')
  figure.subplots_adjust(0.01, 0.2, 0.99, 0.9, wspace=0.1)
  figure.savefig(path, dpi=80)


def main(argv):
  del argv
  predictor = cifar10_predict.Predictor(cifar10_predict.choose_checkpoint(FLAGS))
  path, = records.data_files(FLAGS.data_dir, eval_data=True)
  pictures = first_of_each(path, len(predictor.names))
  draw(pictures, predictor.names, predictor.log_probabilities(pictures),
       os.path.join(ROOT, 'docs', 'front.png'))


if __name__ == '__main__':
  programs.run(main)
