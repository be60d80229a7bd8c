"""Watches the queues of the input: how full they are over time, and in which order records come.

Lesson 2 uses it. Storage and trainer are as slow as the caller wants, so that either can be the
slower side.
"""
import threading
import time
from typing import NamedTuple

import numpy as np

import cifar10_input
from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records
from lessons import draw, feeding

POLL_SECONDS = 0.01  # between two looks at the queues
BATCHES = 60  # in the whole run of `watch`
CAPACITY = 8  # batches that the record queue holds
EPOCHS = 2


class Fullness(NamedTuple):
  """How full two queues were during a run, at M moments."""
  seconds: np.ndarray  # float [M], since the start
  names: np.ndarray  # int [M], file names that wait
  records: np.ndarray  # float [M], share of the record queue that is filled, 0 to 1
  batches: int  # batches that came before the end mark


def watch(paths, read_ms, step_ms):
  """Reads all records twice through both queues, into a trainer that only sleeps.

  Args:
    paths: binary files of CIFAR-10.
    read_ms: milliseconds that the storage takes for a batch; feeding.READERS threads read at once.
    step_ms: milliseconds that the trainer takes for a batch.

  Returns:
    A Fullness.
  """
  batch_size = -(-EPOCHS * records.total_records(paths) // BATCHES)
  storage = feeding.Storage(read_ms, batch_size)
  # A thread that sleeps in a read must not block the others.
  config = tf.ConfigProto(use_per_session_threads=True,
                          inter_op_parallelism_threads=feeding.READERS + 2)
  seen, batches, ended = [], 0, threading.Event()
  with tf.Graph().as_default(), tf.Session(config=config) as session:
    names, queue = feeding.two_queues(paths, batch_size, storage, CAPACITY * batch_size, EPOCHS)
    batch, sizes = queue.dequeue_up_to(batch_size), (names.size(), queue.size())
    session.run(tf.local_variables_initializer())
    coordinator = tf.train.Coordinator()
    start = time.perf_counter()

    def poll():
      while not ended.wait(POLL_SECONDS):
        seen.append((time.perf_counter() - start, *session.run(sizes)))
    poller = threading.Thread(target=poll)
    threads = tf.train.start_queue_runners(session, coordinator)
    poller.start()
    try:
      while True:
        session.run(batch)
        batches += 1
        time.sleep(step_ms / 1000)
    except tf.errors.OutOfRangeError:
      pass  # the end mark: both queues are closed and empty
    finally:
      ended.set()
      poller.join()
      coordinator.request_stop()
      session.run(queue.close(cancel_pending_enqueues=True))  # else an interrupted run would hang
      coordinator.join(threads)
  seconds, names, waiting = np.array(seen).T
  return Fullness(seconds, names.astype(int), waiting / (CAPACITY * batch_size), batches)


def draw_fullness(**runs):
  """Draws runs of `watch` side by side, each with its name (underscores become spaces)."""
  all_names = EPOCHS * len(records.TRAIN_FILES)
  _, axes = draw.pyplot.subplots(1, len(runs), figsize=(5 * len(runs), 3.2), sharey=True,
                                 layout='constrained', squeeze=False)
  for axis, (name, run) in zip(axes[0], runs.items(), strict=True):
    axis.step(run.seconds, 100 * run.names / all_names, where='post',
              label='filename queue; 100%% is %d names' % all_names)
    axis.plot(run.seconds, 100 * run.records, label='record queue; 100%% is %d batches' % CAPACITY)
    axis.set(title=name.replace('_', ' '), xlabel='seconds', ylim=(-3, 103))
    axis.legend(fontsize=9, loc='upper center', bbox_to_anchor=(0.5, -0.2))
  axes[0, 0].set_ylabel('filled, %')


def order(paths, shuffle):
  """Reads one epoch through the project's own input.

  Args:
    paths: binary files of CIFAR-10.
    shuffle: whether to mix the records, as in training.

  Returns:
    int [N]: for each record, in the order in which the trainer gets them, its place in the files.
  """
  stored = np.concatenate([np.fromfile(path, np.uint8) for path in paths])
  stored = stored.reshape(-1, records.RECORD_BYTES)[:, records.LABEL_BYTES:]
  planes = stored.reshape(-1, records.DEPTH, records.HEIGHT, records.WIDTH)
  place = {picture.tobytes(): i for i, picture in enumerate(planes.transpose(0, 2, 3, 1))}
  found = []
  with tf.Graph().as_default():
    images, _ = cifar10_input.batches(paths, 100, lambda images: tf.cast(images, tf.float32),
                                      num_epochs=1, shuffle=shuffle)
    pictures = tf.cast(images, tf.uint8)  # undistorted: as they are stored
    with tf.train.MonitoredTrainingSession() as session:
      while not session.should_stop():
        found += [place[picture.tobytes()] for picture in session.run(pictures)]
  return np.array(found)


def draw_order(paths, **orders):
  """Draws results of `order` side by side: when each record came, and where it lies."""
  _, axes = draw.pyplot.subplots(1, len(orders), figsize=(4.2 * len(orders), 3.6), sharey=True,
                                 layout='constrained', squeeze=False)
  ends = np.cumsum(records.count_records(paths))
  for axis, (name, found) in zip(axes[0], orders.items(), strict=True):
    shown = np.arange(0, len(found), max(1, len(found) // 2000))  # 2,000 points are enough
    axis.plot(shown, found[shown], '.', markersize=2)
    axis.set(title=name.replace('_', ' '), xlabel='n-th record that the trainer gets',
             yticks=ends - ends[0] / 2, yticklabels=['file %d' % (i + 1) for i in range(len(ends))])
    axis.grid(False)
    for end in ends[:-1]:
      axis.axhline(end, color='#999999', linewidth=0.5)
