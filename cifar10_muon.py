"""Muon: gradient descent with Nesterov momentum, whose steps turn all directions equally far.

The gradient of a layer's weights, as a matrix, has a few directions that are far larger than the
others; plain steps go along these and leave the rest for later. Muon takes the nearest matrix in
which every direction is as large as any other, and steps along that: K. Jordan and others 2024,
https://kellerjordan.github.io/posts/muon/.
"""
from cifar10_tf import tf

# Of x -> a x + b x^3 + c x^5, which five times in a row takes every x of 0.003 to 1 to 0.7 to 1.2:
# Jordan's, found by search. An exact 1 would take more turns and is not better.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
TURNS = 5
SMALLEST = 1e-12  # keeps a gradient of zeros from dividing by zero


def orthogonalise(matrix):
  """Brings all singular values of a matrix near 1 and leaves its singular vectors.

  By Newton and Schulz's iteration, in the form for float32. What a turn multiplies by depends on
  the product of the matrix with itself alone, and that, which is small for a matrix of many rows,
  can be taken along: so the matrix itself is multiplied twice, not ten times.

  Args:
    matrix: float32 [N, M], N >= M.

  Returns:
    float32 [N, M].
  """
  a, b, c = COEFFICIENTS
  gram = tf.matmul(matrix, matrix, transpose_a=True)  # [M, M]
  norm = tf.linalg.trace(gram) + SMALLEST  # the sum of all singular values' squares
  gram /= norm
  eye = tf.eye(int(matrix.shape[1]))  # made by an op: as a constant, 0.6 MB of graph each time
  factor = tf.math.rsqrt(norm) * eye
  for turn in range(TURNS):
    times = a * eye + b * gram + c * gram @ gram
    factor = factor @ times
    if turn < TURNS - 1:
      gram = times @ gram @ times
  return matrix @ factor


def orthogonalise_in_16_bits(matrix):
  """As `orthogonalise`, in the form whose products may be rounded to 16 bits.

  It takes the matrix itself along, turn by turn, so that what is rounded in one is mended in the
  next; the form above carries squares of singular values, and diverges.

  Args:
    matrix: float32 [N, M], N >= M.

  Returns:
    float32 [N, M].
  """
  a, b, c = COEFFICIENTS
  eye = tf.eye(int(matrix.shape[1]))
  x = matrix * tf.math.rsqrt(2 * tf.nn.l2_loss(matrix) + SMALLEST)
  for _ in range(TURNS):
    gram = tf.matmul(x, x, transpose_a=True)  # [M, M]
    x = x @ (a * eye + b * gram + c * gram @ gram)
  return x


class MuonOptimizer(tf.train.MomentumOptimizer):
  """Muon for variables of weights, Nesterov momentum for the others.

  Args of the constructor:
    learning_rate: of the others; float or float32 scalar.
    muon_rate: length of Muon's steps; float or float32 scalar.
    momentum: of both.
    decay: of weights, apart from the loss: each of Muon's steps also takes `muon_rate * decay` of
      them away. A term in the loss would not do: a step is as long whatever the gradient's size, so
      the term would turn it, and not shrink weights that are large
      (https://arxiv.org/abs/1711.05101, https://arxiv.org/abs/2502.16982).
    names: names of the ops of the variables for Muon. Each, with all its dimensions but the last
      as rows, must have no fewer rows than columns.
    sixteen_bits: whether products may be rounded to 16 bits, as a rewriting of the graph does.
  """

  def __init__(self, learning_rate, muon_rate, momentum, names, decay=0.0, sixteen_bits=False):
    super().__init__(learning_rate, momentum, use_nesterov=True)
    self._muon_rate, self._mu, self._decay = muon_rate, momentum, decay
    self._names = frozenset(names)
    self._orthogonalise = orthogonalise_in_16_bits if sixteen_bits else orthogonalise

  def _resource_apply_dense(self, grad, var):
    if var.op.name not in self._names:
      return super()._resource_apply_dense(grad, var)
    velocity = self.get_slot(var, 'momentum')
    velocity = velocity.assign(self._mu * velocity + grad)
    ahead = tf.reshape(grad + self._mu * velocity, [-1, var.shape[-1]])
    step = tf.reshape(self._orthogonalise(ahead), var.shape)
    return var.assign_sub(self._muon_rate * (step + self._decay * var)).op
