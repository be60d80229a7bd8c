"""Muon: gradient descent with Nesterov momentum and orthogonalised updates.

As a matrix, the gradient of a weight tensor has a few singular values far larger than the
others. Plain gradient descent moves mostly along these directions. Muon brings all singular values
of an update near 1: K. Jordan and others 2024, https://kellerjordan.github.io/posts/muon/.
"""
import functools

from cifar10_lib.common.tf1 import tf

# (a, b, c) of x -> a x + b x^3 + c x^5, a polynomial for each iteration. Together they map singular
# values of 0.03..1 to 0.62..1.38, the best that two can do (theorem 4.1 of
# https://arxiv.org/abs/2505.16932). More iterations take longer, and trained no better when tried.
COEFFICIENTS = ((7.3625, -20.7434, 15.1606), (2.9175, -2.1824, 0.4755))
EPSILON = 1e-12  # prevents a division by zero if the gradient is zero


def orthogonalise(matrix):
  """Brings the singular values of a matrix near 1 and keeps its singular vectors.

  It uses Newton-Schulz iterations. The factor of each iteration depends only on the Gram matrix,
  which is small if the matrix has many rows. So the matrix itself is multiplied only twice, however
  many iterations there are. In 16 bits the result of two iterations is off by 1 to 4%.

  Args:
    matrix: float32 or bfloat16 [N, M], N >= M.

  Returns:
    The same shape and dtype. Let s be the fourth root of the sum of the singular values' fourth
    powers; no singular value exceeds it. Values of 0.03 s to s become 0.62 to 1.38. A smaller value
    v becomes at most 22 v / s.
  """
  # Scaled to norm 1 first: in 16 bits, squares of small values might underflow.
  matrix *= tf.math.rsqrt(2 * tf.nn.l2_loss(matrix) + EPSILON)
  gram = tf.matmul(matrix, matrix, transpose_a=True)  # [M, M]
  # s^2: at least the largest singular value of `gram`, and closer to it than their sum.
  norm = tf.norm(gram) + EPSILON
  gram /= norm
  # Made by an op, because a constant adds 0.6 MB to the graph each time.
  eye = tf.eye(int(matrix.shape[1]), dtype=matrix.dtype)
  factors = []
  for a, b, c in COEFFICIENTS:
    factors.append(a * eye + b * gram + c * gram @ gram)
    gram = factors[-1] @ gram @ factors[-1]  # unused, so not computed, in the last iteration
  return matrix @ (tf.math.rsqrt(norm) * functools.reduce(tf.matmul, factors))


class MuonOptimizer(tf.train.MomentumOptimizer):
  """Updates weights by Muon, and the other variables by Nesterov momentum.

  Args of the constructor:
    learning_rate: for the other variables; float or float32 scalar.
    muon_rate: length of Muon's steps; float or float32 scalar.
    momentum: for all variables.
    every: dict from the op name of a variable of Muon to N. Each gradient joins the momentum, but
      the variable moves only in every N-th step, starting with the first, and N times as far. The
      directions change slowly, so a slow computation need not run in each step. A variable must
      have at least as many rows (all its dimensions but the last) as columns.
    decay: weight decay, apart from the loss: each of Muon's steps also shrinks the weights by
      `muon_rate * decay`. In the loss it would only turn the step, whose length does not depend on
      the gradient (https://arxiv.org/abs/1711.05101, https://arxiv.org/abs/2502.16982).
  """

  def __init__(self, learning_rate, muon_rate, momentum, every, decay=0.0):
    super().__init__(learning_rate, momentum, use_nesterov=True)
    self._muon_rate, self._mu, self._decay = muon_rate, momentum, decay
    self._every = dict(every)

  def _create_slots(self, var_list):
    super()._create_slots(var_list)
    for var in var_list:
      if self._every.get(var.op.name, 1) > 1:
        # The global step would not do: one of several asynchronous workers might see only odd
        # steps. If two workers update at once, both moves or none may be due. That is harmless.
        self._get_or_make_slot(var, tf.zeros([], tf.int64), 'updates', 'Updates')

  def _resource_apply_dense(self, grad, var):
    if var.op.name not in self._every:
      return super()._resource_apply_dense(grad, var)
    velocity = self.get_slot(var, 'momentum')
    velocity = velocity.assign(self._mu * velocity + grad)
    every = self._every[var.op.name]
    grad = tf.identity(grad)  # on the variable's device; a branch would fetch it once more

    def move():
      ahead = tf.reshape(grad + self._mu * velocity, [-1, var.shape[-1]])
      step = tf.reshape(orthogonalise(ahead), var.shape)
      return var.assign_sub(every * self._muon_rate * (step + self._decay * var)).op

    if every == 1:
      return move()
    with tf.control_dependencies([velocity]):
      due = tf.equal(self.get_slot(var, 'updates').assign_add(1) % every, 1)
    return tf.group(tf.cond(due, move, tf.no_op))
