"""Muon: gradient descent with Nesterov momentum, whose steps turn all directions equally far.

The gradient of a layer's weights, as a matrix, has a few directions that are far larger than the
others; plain steps go along these and leave the rest for later. Muon takes the nearest matrix in
which every direction is as large as any other, and steps along that: K. Jordan and others 2024,
https://kellerjordan.github.io/posts/muon/.
"""
import functools

from cifar10_lib.common.tf1 import tf

# Of x -> a x + b x^3 + c x^5, a turn each: the polynomials that bring all x of 0.03 to 1 nearest 1,
# to 0.62 to 1.38, as theorem 4.1 of https://arxiv.org/abs/2505.16932 finds them. More turns come
# nearer, take longer and teach no better: docs/accuracy.md.
COEFFICIENTS = ((7.3625, -20.7434, 15.1606), (2.9175, -2.1824, 0.4755))
SMALLEST = 1e-12  # keeps a gradient of zeros from dividing by zero


def orthogonalise(matrix):
  """Brings the singular values of a matrix near 1 and leaves its singular vectors.

  By Newton and Schulz's iteration. What a turn multiplies by depends on the product of the matrix
  with itself alone, and that, which is small for a matrix of many rows, can be taken along: so the
  matrix itself is multiplied twice, whatever the number of turns. Products may be rounded to 16
  bits: with two turns the result is then off by 1 to 4%.

  Args:
    matrix: float32 or bfloat16 [N, M], N >= M.

  Returns:
    The same shape and dtype. Let s be the fourth root of the sum of the singular values' fourth
    powers, which none exceeds: those of 0.03 s to s have become 0.62 to 1.38, those below up to 22
    times their share of s.
  """
  matrix *= tf.math.rsqrt(2 * tf.nn.l2_loss(matrix) + SMALLEST)  # in 16 bits, squares might be 0
  gram = tf.matmul(matrix, matrix, transpose_a=True)  # [M, M]
  # The root of the sum of squares of what are squares itself: no less than the largest of them, and
  # nearer to it than their sum.
  norm = tf.norm(gram) + SMALLEST
  gram /= norm
  # Made by an op: as a constant, 0.6 MB of graph each time.
  eye = tf.eye(int(matrix.shape[1]), dtype=matrix.dtype)
  factors = []
  for a, b, c in COEFFICIENTS:
    factors.append(a * eye + b * gram + c * gram @ gram)
    gram = factors[-1] @ gram @ factors[-1]  # the last one nothing asks for, so it is not computed
  return matrix @ (tf.math.rsqrt(norm) * functools.reduce(tf.matmul, factors))


class MuonOptimizer(tf.train.MomentumOptimizer):
  """Muon for variables of weights, Nesterov momentum for the others.

  Args of the constructor:
    learning_rate: of the others; float or float32 scalar.
    muon_rate: length of Muon's steps; float or float32 scalar.
    momentum: of both.
    every: dict of a variable's op name to N, for Muon's variables: each gradient joins the
      momentum, but the variable moves in the first step and then in every N-th after it, N times as
      far. Directions last longer than a step, so what takes long need not be done in each. A
      variable, with all its dimensions but the last as rows, must have no fewer rows than columns.
    decay: of weights, apart from the loss: each of Muon's steps also takes `muon_rate * decay` of
      them away. A term in the loss would not do: a step is as long whatever the gradient's size, so
      the term would turn it, and not shrink weights that are large
      (https://arxiv.org/abs/1711.05101, https://arxiv.org/abs/2502.16982).
  """

  def __init__(self, learning_rate, muon_rate, momentum, every, decay=0.0):
    super().__init__(learning_rate, momentum, use_nesterov=True)
    self._muon_rate, self._mu, self._decay = muon_rate, momentum, decay
    self._every = dict(every)

  def _create_slots(self, var_list):
    super()._create_slots(var_list)
    for var in var_list:
      if self._every.get(var.op.name, 1) > 1:
        # Not the global step: of machines that do not wait for one another, one might see only odd
        # ones. (Of two that update at once both may find a move due, or neither: no worse than that
        # their gradients mix in the momentum.)
        self._get_or_make_slot(var, tf.zeros([], tf.int64), 'updates', 'Updates')

  def _resource_apply_dense(self, grad, var):
    if var.op.name not in self._every:
      return super()._resource_apply_dense(grad, var)
    velocity = self.get_slot(var, 'momentum')
    velocity = velocity.assign(self._mu * velocity + grad)
    every = self._every[var.op.name]
    grad = tf.identity(grad)  # here, where the variable is; a branch would fetch it once more

    def move():
      ahead = tf.reshape(grad + self._mu * velocity, [-1, var.shape[-1]])
      step = tf.reshape(orthogonalise(ahead), var.shape)
      return var.assign_sub(every * self._muon_rate * (step + self._decay * var)).op

    if every == 1:
      return move()
    with tf.control_dependencies([velocity]):
      due = tf.equal(self.get_slot(var, 'updates').assign_add(1) % every, 1)
    return tf.group(tf.cond(due, move, tf.no_op))
