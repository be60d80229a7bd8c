"""Measures the tutorial's structure of 2015 to 2018, on today's TensorFlow.

It reads one record and distorts one picture at a time, in sixteen threads. The shuffling queue
holds distorted float pictures. It has `tf.nn.lrn`, summaries, checkpoints and the guard against
NaN. All settings are TensorFlow's defaults.
"""
import glob
import os
import time

import measure
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)
CROP, RECORD, SHUFFLE, THREADS = 24, 3073, 20000, 16


def read(pattern):
  """Reads one record: uint8 [32, 32, 3] and int32 []."""
  names = tf.train.string_input_producer(sorted(glob.glob(pattern)))
  _, value = tf.FixedLengthRecordReader(RECORD).read(names)
  record = tf.reshape(tf.decode_raw(value, tf.uint8), [RECORD])
  picture = tf.transpose(tf.reshape(record[1:], [3, 32, 32]), [1, 2, 0])
  return picture, tf.cast(record[0], tf.int32)


def training_batch(data_dir):
  """Returns a shuffled batch of distorted pictures: float32 [B, 24, 24, 3], int32 [B]."""
  picture, label = read(os.path.join(data_dir, 'cifar-10-batches-bin', 'data_batch_*.bin'))
  picture = tf.random_crop(tf.cast(picture, tf.float32), [CROP, CROP, 3])
  picture = tf.image.random_flip_left_right(picture)
  picture = tf.image.random_brightness(picture, 63)
  picture = tf.image.random_contrast(picture, 0.2, 1.8)
  picture = tf.image.per_image_standardization(picture)
  pictures, labels = tf.train.shuffle_batch(
      [picture, label], measure.BATCH_SIZE, SHUFFLE + 3 * measure.BATCH_SIZE, SHUFFLE, THREADS)
  tf.summary.image('images', pictures)
  return pictures, labels


def test_batch(data_dir):
  """Returns a batch of the centres of test pictures; a batch may span the end of the file."""
  picture, label = read(os.path.join(data_dir, 'cifar-10-batches-bin', 'test_batch.bin'))
  picture = tf.image.resize_image_with_crop_or_pad(tf.cast(picture, tf.float32), CROP, CROP)
  return tf.train.batch([tf.image.per_image_standardization(picture), label],
                        measure.BATCH_SIZE, THREADS, 3 * measure.BATCH_SIZE)


def layer(name, shape, stddev, bias, combine, decay=0.0, relu=True):
  """Returns the output of a layer, and adds its summaries."""
  with tf.variable_scope(name):
    weights = tf.get_variable('weights', shape,
                              initializer=tf.truncated_normal_initializer(stddev=stddev))
    biases = tf.get_variable('biases', shape[-1:], initializer=tf.constant_initializer(bias))
    if decay:
      tf.add_to_collection('losses', decay * tf.nn.l2_loss(weights))
    x = tf.nn.bias_add(combine(weights), biases)
    x = tf.nn.relu(x) if relu else x
    tf.summary.histogram('activations', x)
    tf.summary.scalar('sparsity', tf.nn.zero_fraction(x))
    return x


def network(x):
  """Returns the logits [B, 10] of pictures float32 [B, 24, 24, 3]."""
  def norm(x):
    return tf.nn.lrn(x, 4, bias=1.0, alpha=0.001 / 9.0, beta=0.75)

  def pool(x):
    return tf.nn.max_pool2d(x, 3, 2, 'SAME')

  def conv(x):
    return lambda weights: tf.nn.conv2d(x, weights, 1, 'SAME')

  def product(x):
    return lambda weights: tf.matmul(x, weights)
  x = norm(pool(layer('conv1', [5, 5, 3, 64], 5e-2, 0.0, conv(x))))
  x = pool(norm(layer('conv2', [5, 5, 64, 64], 5e-2, 0.1, conv(x))))
  x = tf.reshape(x, [measure.BATCH_SIZE, 2304])
  x = layer('local3', [2304, 384], 0.04, 0.1, product(x), 0.004)
  x = layer('local4', [384, 192], 0.04, 0.1, product(x), 0.004)
  return layer('softmax_linear', [192, 10], 1 / 192.0, 0.0, product(x), relu=False)


def train_op(pictures, labels):
  """Returns the op of one training step, and the loss."""
  step = tf.train.get_or_create_global_step()
  cross_entropy = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=labels, logits=network(pictures)))
  losses = tf.get_collection('losses') + [cross_entropy]
  loss = tf.add_n(losses)
  smooth = tf.train.ExponentialMovingAverage(0.9, name='avg')
  with tf.control_dependencies([smooth.apply(losses + [loss])]):
    optimizer = tf.train.GradientDescentOptimizer(
        tf.train.exponential_decay(0.1, step, 136718, 0.1, staircase=True))
    gradients = optimizer.compute_gradients(loss)
  update = optimizer.apply_gradients(gradients, step)
  for gradient, variable in gradients:
    tf.summary.histogram(variable.op.name, variable)
    tf.summary.histogram(variable.op.name + '/gradients', gradient)
  with tf.control_dependencies([update]):
    average = tf.train.ExponentialMovingAverage(0.9999, step)
    return average.apply(tf.trainable_variables()), loss


def main():
  args = measure.arguments()
  begin = time.perf_counter()
  if args.part == 'training':
    op, loss = train_op(*training_batch(args.data_dir))
    session = tf.train.MonitoredTrainingSession(
        checkpoint_dir=measure.scratch(), hooks=[tf.train.NanTensorHook(loss)])
  else:
    if args.part == 'input':
      op = training_batch(args.data_dir)[0].op
    else:
      pictures, labels = test_batch(args.data_dir)
      op = tf.nn.in_top_k(network(pictures), labels, 1)
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    tf.train.start_queue_runners(session)
  measure.report(measure.timed(lambda: session.run(op), begin, args.warmup, args.steps))


if __name__ == '__main__':
  main()
