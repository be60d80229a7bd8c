"""Draws what lessons 4 to 6 show: the layers, filters, maps, runs side by side, precision.

In a notebook a figure appears below its cell.
"""
import math

import numpy as np
from IPython.display import Image, display
from matplotlib import pyplot

from lessons import draw

LAYERS = ('images', 'conv1/conv1', 'pool1', 'norm1', 'conv2/conv2', 'norm2', 'pool2', 'flatten',
          'local3/local3', 'local4/local4', 'softmax_linear/softmax_linear')  # names of ops
WITHOUT, WITH_PARAMETERS = draw.COLOURS[0], draw.COLOURS[3]
STRIDE = 42  # units of the drawing from one layer to the next; a unit is a pixel of a feature map


def parameters(graph):
  """Returns the number of parameters of each layer that has any: dict of str to int."""
  counts = {}
  for variable in graph.get_collection('trainable_variables'):
    layer = variable.op.name.split('/')[0]
    counts[layer] = counts.get(layer, 0) + variable.shape.num_elements()
  return counts


def _box(axis, middle, side, depth, colour):
  """Draws a box of `side` x `side` that reaches back by `depth`, around (middle, 0)."""
  left, right = middle - (side + depth) / 2, middle + (side - depth) / 2
  low, high = -(side + depth) / 2, (side - depth) / 2
  faces = [([left, right, right, left], [low, low, high, high], 1.0),
           ([left, right, right + depth, left + depth], [high, high, high + depth, high + depth],
            0.75),
           ([right, right + depth, right + depth, right], [low, low + depth, high + depth, high],
            0.5)]
  for x, y, alpha in faces:
    axis.fill(x, y, facecolor=colour, edgecolor='white', linewidth=0.7, alpha=alpha)


def network(graph):
  """Draws the layers from the pictures to the logits, with their shapes and parameters.

  Args:
    graph: a tf.Graph with the ops that LAYERS names.
  """
  counts = parameters(graph)
  figure, axis = pyplot.subplots(figsize=(11, 2.7))
  for place, name in enumerate(LAYERS):
    layer = name.split('/')[0]
    shape = graph.get_tensor_by_name(name + ':0').shape.as_list()[1:]
    colour = WITH_PARAMETERS if layer in counts else WITHOUT
    middle = STRIDE * place
    if len(shape) == 3:
      _box(axis, middle, shape[0], shape[2] / 8, colour)
    else:
      half = shape[0] ** 0.5 / 2
      axis.fill_between([middle - 3, middle + 3], -half, half, color=colour)
    text = '%s\n%s\n%s' % (layer, ' x '.join(map(str, shape)),
                           f'{counts[layer]:,}' if layer in counts else '')
    axis.text(middle, -29, text, ha='center', va='top', fontsize=9)
  axis.set(xlim=(-24, STRIDE * len(LAYERS) - 14), ylim=(-60, 30), aspect='equal')
  axis.set_title('orange: layers with parameters; blue: layers without', fontsize=9)
  axis.axis('off')
  figure.tight_layout(pad=0.2)


def tiles(pictures):
  """Joins pictures, float [N, H, W, C], to one almost square image, with white lines between."""
  count, height, width, depth = pictures.shape
  columns = math.ceil(math.sqrt(count))
  rows = -(-count // columns)
  image = np.ones([rows * columns, height + 1, width + 1, depth])
  image[:count, :height, :width] = pictures
  image = image.reshape(rows, columns, height + 1, width + 1, depth).transpose(0, 2, 1, 3, 4)
  return image.reshape(rows * (height + 1), columns * (width + 1), depth)[:-1, :-1]


def filters_of(path):
  """Returns the weights of conv1 in a checkpoint, float32 [5, 5, 3, 64]."""
  from cifar10_lib.common.tf1 import tf
  return tf.train.load_checkpoint(path).get_tensor('conv1/weights')


def most_changed(before, after, count=16):
  """Returns the numbers of the filters that changed most, int [count]; weights as `filters_of`."""
  return np.argsort(-abs(after - before).sum(axis=(0, 1, 2)))[:count]


def filters(weights):
  """Returns the filters of a first layer, float [5, 5, 3, N], as one image, float [H, W, 3].

  Grey is 0. Each filter is scaled by its own largest weight.
  """
  each = weights.transpose(3, 0, 1, 2)
  return tiles(0.5 + 0.5 * each / abs(each).max(axis=(1, 2, 3), keepdims=True))


def maps(values):
  """Returns the maps of one picture, float [H, W, N], as one image, float [H', W'].

  Black is 0, white the largest value of all maps.
  """
  return tiles(values.transpose(2, 0, 1)[..., np.newaxis] / values.max())[..., 0]


def images(titles_and_images, height=4):
  """Draws images beside each other, each under its title; `height` is in inches.

  Args:
    titles_and_images: dict from title to image, float 0..1 or uint8, [H, W] or [H, W, 3].
  """
  count = len(titles_and_images)
  figure, axes = pyplot.subplots(1, count, figsize=(height * count, height), layout='constrained',
                                 squeeze=False)
  figure.get_layout_engine().set(wspace=0.08)  # wider than the lines between `tiles`
  for axis, (title, image) in zip(axes[0], titles_and_images.items(), strict=True):
    axis.imshow(image, cmap='gray', interpolation='nearest')
    axis.set_title(draw.literal(title), fontsize=10)
    axis.axis('off')


def show_png(drawing, *arguments):
  """Shows the PNG file that one of the functions of reporting/drawings.py returns."""
  with pyplot.rc_context({'axes.grid': False, 'axes.spines.top': True, 'axes.spines.right': True}):
    display(Image(drawing(*arguments)))


def panels(curves, columns=3):
  """Draws curves, each with axes of its own.

  Args:
    curves: dict from title to (steps, values), as `lesson.scalars` returns them.
    columns: panels in a row.
  """
  rows = -(-len(curves) // columns)
  axes = pyplot.subplots(rows, columns, figsize=(3.6 * columns, 1.9 * rows), layout='constrained',
                         squeeze=False)[1].flat
  for axis, (title, curve) in zip(axes, curves.items(), strict=False):
    draw.curves({title: curve}, axis=axis)
    axis.set_title(draw.literal(title), fontsize=9)
    axis.set_ylim(min(0, min(curve[1])), 1.1 * max(curve[1]))
  for axis in list(axes)[len(curves):]:
    axis.axis('off')
  axes[0].figure.supxlabel('step', fontsize=9)


def side_by_side(runs, precision):
  """Draws loss and accuracy of several runs, a column each, on the same scales.

  Args:
    runs: dict from name to the curves of the run, as `lesson.scalars` returns them.
    precision: dict from name to the precision @ 1 on test pictures at the end.
  """
  axes = pyplot.subplots(2, len(runs), figsize=(2.3 * len(runs), 4), sharex=True, sharey='row',
                         layout='constrained')[1]
  for column, (name, of_run) in zip(axes.T, runs.items(), strict=True):
    above, below = column
    above.plot(*of_run['cross_entropy__raw_'])
    above.axhline(math.log(10), color='black', linestyle=':', linewidth=1)
    above.set_title(draw.literal(name), fontsize=10)
    below.plot(*of_run['accuracy'])
    below.axhline(precision[name], color=draw.COLOURS[1], linestyle='--')
    below.set_xlabel('step')
  axes[0, 0].set(ylabel='cross entropy', ylim=(0, 6))
  axes[1, 0].set(ylabel='accuracy', ylim=(-0.02, 1.02))
  axes[1, 0].plot([], [], color=draw.COLOURS[0], label='training batch')
  axes[1, 0].plot([], [], color=draw.COLOURS[1], linestyle='--', label='test, at the end')
  axes[1, 0].legend(fontsize=8, loc='upper left')


def precision_over_steps(curves, count):
  """Draws precision @ 1 over steps, with bars of two standard errors up and down.

  Args:
    curves: dict from name to (steps, precisions).
    count: number of pictures that each precision was measured on.
  """
  axis = pyplot.subplots(figsize=(7, 3), layout='constrained')[1]
  for name, (steps, values) in curves.items():
    p = np.array(values)
    axis.errorbar(steps, p, 2 * np.sqrt(p * (1 - p) / count), label=draw.literal(name), capsize=3)
  axis.set(xlabel='step', ylabel='precision @ 1')
  axis.legend()


def guesses(originals, seen, names, probabilities, count=5):
  """Draws pictures, what the network sees of them, and its likeliest classes, a row each.

  Args:
    originals: list of uint8 [H, W, 3].
    seen: list of uint8 [24, 24, 3].
    names: list of str [K].
    probabilities: float [N, K].
    count: number of classes to show.
  """
  rows = len(originals)
  figure, axes = pyplot.subplots(rows, 3, figsize=(8, 1.9 * rows), layout='constrained',
                                 squeeze=False, width_ratios=(1.3, 1, 2))
  for row, original, shown, of_one in zip(axes, originals, seen, probabilities, strict=True):
    draw.picture(row[0], original)
    draw.picture(row[1], shown)
    best = np.argsort(-of_one)[:count]
    row[2].barh([draw.literal(names[label]) for label in best], of_one[best])
    row[2].invert_yaxis()
    row[2].set(xlim=(0, 1))
  for axis, title in zip(axes[0], ('the picture', 'what the network sees', 'probability'),
                         strict=True):
    axis.set_title(title, fontsize=9)
