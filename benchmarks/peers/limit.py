"""What the machine can do at most: products of matrices, and bytes moved."""
import os
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')

import measure
import numpy as np
import tensorflow as tf

SIDE = 2048  # of the matrices
REPEATS = 12
COPY_BYTES = 2**28


def best_seconds(function):
  """Returns the least of several times; the first call, which also prepares, does not count."""
  function()
  seconds = []
  for _ in range(REPEATS):
    since = time.perf_counter()
    function()
    seconds.append(time.perf_counter() - since)
  return min(seconds)


def training_flops():
  """Returns the floating-point operations of one picture in training, by plain sums.

  An addition and a multiplication are two. Of each product of forward there are two more in the
  gradients, by weights and by input; the first layer's input needs none. Taps that fall on the
  border's zeros are left out, as libraries do: 3 of 5 x size on either side.
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
