"""Measures the same network, written as Keras 3's guides do: `Model.fit` over `tf.data`."""
import glob
import os
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
import keras
import measure
import tensorflow as tf

CROP, RECORD, SHUFFLE = 24, 3073, 20000


def decode(value):
  """Returns the picture and the label of one record."""
  record = tf.io.decode_raw(value, tf.uint8)
  picture = tf.transpose(tf.reshape(record[1:], [3, 32, 32]), [1, 2, 0])
  return picture, tf.cast(record[0], tf.int32)


def distort(value):
  """Returns the distorted picture and the label of one record."""
  picture, label = decode(value)
  picture = tf.image.random_flip_left_right(tf.image.random_crop(picture, [CROP, CROP, 3]))
  picture = tf.image.random_brightness(tf.cast(picture, tf.float32), 63)
  picture = tf.image.random_contrast(picture, 0.2, 1.8)
  return tf.image.per_image_standardization(picture), label


def centre(value):
  """Returns the centre of the picture and the label of one record."""
  picture, label = decode(value)
  return tf.image.per_image_standardization(picture[4:-4, 4:-4]), label


def batches(data_dir, pattern, prepare, shuffle):
  """Returns an endless tf.data.Dataset of prepared batches."""
  files = sorted(glob.glob(os.path.join(data_dir, 'cifar-10-batches-bin', pattern)))
  data = tf.data.FixedLengthRecordDataset(files, RECORD)
  data = data.shuffle(SHUFFLE) if shuffle else data
  data = data.repeat().map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
  return data.batch(measure.BATCH_SIZE, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


class Norm(keras.layers.Layer):
  """Computes local response normalisation, which Keras lacks."""

  def call(self, x):
    return tf.nn.local_response_normalization(x, 4, bias=1.0, alpha=0.001 / 9.0, beta=0.75)


def compiled_model():
  """Returns the network, compiled for training."""
  layers = keras.layers
  decay = keras.regularizers.L2(0.002)  # Keras has no half in front of the square
  model = keras.Sequential([
      keras.Input((CROP, CROP, 3)),
      layers.Conv2D(64, 5, padding='same', activation='relu'),
      layers.MaxPooling2D(3, 2, 'same'),
      Norm(),
      layers.Conv2D(64, 5, padding='same', activation='relu'),
      Norm(),
      layers.MaxPooling2D(3, 2, 'same'),
      layers.Flatten(),
      layers.Dense(384, activation='relu', kernel_regularizer=decay),
      layers.Dense(192, activation='relu', kernel_regularizer=decay),
      layers.Dense(10)])
  model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9999),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True))
  return model


class Clock(keras.callbacks.Callback):
  """Records the end of the first batch and the end of the warm-up."""

  def __init__(self, warmup):
    super().__init__()
    self.warmup, self.done = warmup, 0

  def on_train_batch_end(self, batch, logs=None):
    self.done += 1
    if self.done == 1:
      self.first = time.perf_counter()
    if self.done == self.warmup:
      self.since, self.processor = time.perf_counter(), time.process_time()

  on_test_batch_end = on_train_batch_end  # `evaluate` calls this one


def main():
  args = measure.arguments()
  begin = time.perf_counter()
  if args.dtype == 'bfloat16':
    keras.mixed_precision.set_global_policy('mixed_bfloat16')
  if args.part == 'input':
    step = iter(batches(args.data_dir, 'data_batch_*.bin', distort, shuffle=True))
    measure.report(measure.timed(lambda: next(step), begin, args.warmup, args.steps))
  clock, steps = Clock(args.warmup), args.warmup + args.steps
  if args.part == 'training':
    data = batches(args.data_dir, 'data_batch_*.bin', distort, shuffle=True)
    compiled_model().fit(data, steps_per_epoch=steps, callbacks=[clock], verbose=0)
  else:
    data = batches(args.data_dir, 'test_batch.bin', centre, shuffle=False)
    compiled_model().evaluate(data, steps=steps, callbacks=[clock], verbose=0)
  seconds, processor = time.perf_counter() - clock.since, time.process_time() - clock.processor
  pictures = args.steps * measure.BATCH_SIZE
  measure.report({'first step s': clock.first - begin, 'images/s': pictures / seconds,
                  'processor ms': 1e3 * processor / pictures})


if __name__ == '__main__':
  main()
