"""Muon: gradient descent with Nesterov momentum, whose steps turn all directions equally far.

The gradient of a layer's weights, as a matrix, has a few directions that are far larger than the
others; plain steps go along these and leave the rest for later. Muon takes the nearest matrix in
which every direction is as large as any other, and steps along that: K. Jordan and others 2024,
https://kellerjordan.github.io/posts/muon/.
"""
import numpy as np

from cifar10_tf import tf

# Of x -> a x + b x^3 + c x^5, which five times in a row takes every x of 0.003 to 1 to 0.7 to 1.2:
# Jordan's, found by search. An exact 1 would take more turns and is not better.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
TURNS = 5
SMALLEST = 1e-12  # keeps a gradient of zeros from dividing by zero


def orthogonalise(matrix, dtype=tf.float32):
  """Brings all singular values of a matrix near 1 and leaves its singular vectors.

  By Newton and Schulz's iteration. What a turn multiplies by depends on the product of the matrix
  with itself alone, and that, which is small for a matrix of many rows, can be taken along: so the
  matrix itself is multiplied twice, not ten times.

  Args:
    matrix: float32 [N, M], N >= M.
    dtype: to compute the M x M matrices in. tf.float64 keeps them from a rewriting of the graph to
      16 bits, in which they diverge: they hold squares of singular values.

  Returns:
    float32 [N, M].
  """
  a, b, c = COEFFICIENTS
  exact = tf.cast(matrix, dtype)
  gram = tf.matmul(exact, exact, transpose_a=True)  # [M, M]
  norm = tf.linalg.trace(gram) + SMALLEST  # the sum of all singular values' squares
  gram /= norm
  eye = np.eye(int(matrix.shape[1]), dtype=dtype.as_numpy_dtype)
  factor = tf.math.rsqrt(norm) * eye
  for turn in range(TURNS):
    times = a * eye + b * gram + c * gram @ gram
    factor = factor @ times
    if turn < TURNS - 1:
      gram = times @ gram @ times
  return matrix @ tf.cast(factor, tf.float32)


class MuonOptimizer(tf.train.MomentumOptimizer):
  """Muon for variables of weights, Nesterov momentum for the others.

  Args of the constructor:
    learning_rate: of the others; float or float32 scalar.
    muon_rate: length of Muon's steps; float or float32 scalar.
    momentum: of both.
    names: names of the ops of the variables for Muon. Each, with all its dimensions but the last
      as rows, must have no fewer rows than columns.
    dtype: as for `orthogonalise`.
  """

  def __init__(self, learning_rate, muon_rate, momentum, names, dtype=tf.float32):
    super().__init__(learning_rate, momentum, use_nesterov=True)
    self._muon_rate, self._mu = muon_rate, momentum
    self._names, self._dtype = frozenset(names), dtype

  def _resource_apply_dense(self, grad, var):
    if var.op.name not in self._names:
      return super()._resource_apply_dense(grad, var)
    velocity = self.get_slot(var, 'momentum')
    velocity = velocity.assign(self._mu * velocity + grad)
    ahead = tf.reshape(grad + self._mu * velocity, [-1, var.shape[-1]])
    step = tf.reshape(orthogonalise(ahead, self._dtype), var.shape)
    return var.assign_sub(self._muon_rate * step).op
