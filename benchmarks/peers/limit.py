"""Measures the limits of the machine: the speed of matrix products and of copying memory."""
import os
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')

import measure
import numpy as np
import tensorflow as tf

SIDE = 2048  # rows and columns of the matrices
REPEATS = 12
COPY_BYTES = 2**28


def best_seconds(function):
  """Returns the shortest time of several calls; the first call only warms up."""
  function()
  seconds = []
  for _ in range(REPEATS):
    since = time.perf_counter()
    function()
    seconds.append(time.perf_counter() - since)
  return min(seconds)


def training_flops():
  """Returns the floating-point operations that training takes for one picture, by plain sums.

  An addition and a multiplication count as two. Each product of the forward pass has two more in
  the gradients, by weights and by input. The first layer needs no gradient by input. Products with
  the zeros of the border do not count, because libraries skip them: 6 of 5 x size along each axis.
  """
  conv1 = (24 * 5 - 6) ** 2 * 3 * 64
  conv2 = (12 * 5 - 6) ** 2 * 64 * 64
  dense = 2304 * 384 + 384 * 192 + 192 * 10
  return 2 * (2 * conv1 + 3 * conv2 + 3 * dense)


def main():
  args = measure.arguments()
  matrix = tf.cast(tf.random.normal([SIDE, SIDE]), args.dtype)
  product = tf.function(lambda: tf.matmul(matrix, matrix))
  flops = 2 * SIDE**3 / best_seconds(lambda: product().numpy())
  source = np.ones(COPY_BYTES, np.uint8)
  target = np.empty_like(source)
  moved = 2 * COPY_BYTES / best_seconds(lambda: np.copyto(target, source))
  measure.report({'images/s': flops / training_flops(), 'GFLOP/s': flops / 1e9,
                  'GB/s': moved / 1e9, 'first step s': 0})


if __name__ == '__main__':
  main()
