"""How far training is, for distortions whose strength changes on the way."""
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import augmentation


def _count_batches(max_steps, steps_per_batch):
  """Returns the progress of training, two float32 scalars 0 to 1; the second counts a batch.

  The global step lags behind the queues by an amount that varies. With a count of batches, every
  run with one seed makes the same batches, and that of step n for step n.
  """
  step = tf.train.get_or_create_global_step()
  count = tf.Variable(lambda: tf.cast(step, tf.float64) / steps_per_batch, name='batches_made',
                      trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES])
  return [tf.cast(batches * (steps_per_batch / max_steps), tf.float32)
          for batches in (count, count.assign_add(1) - 1)]


def progress(augment, max_steps, steps_per_batch):
  """Returns the share of the steps that are done when a batch is made, and shows what changes.

  Call it where the batch is made: running the result counts the batch. It needs
  `tf.local_variables_initializer()` once the global step has its value.

  Args:
    augment: what `augmentation.parse` returned.
    max_steps: steps of the whole training; None: strengths keep their first value.
    steps_per_batch: how far the global step moves while this input makes one batch.

  Returns:
    A float32 scalar, 0 to 1; 0.0 where no strength changes.
  """
  changing = [(name, strength) for name, strength in augment
              if isinstance(strength, augmentation.Change)]
  if not changing or not max_steps:
    return 0.0
  now, counted = _count_batches(max_steps, steps_per_batch)
  for name, strength in changing:
    for number in augmentation.strength_at(name, strength, now):
      tf.summary.scalar(name, number)
  return counted
