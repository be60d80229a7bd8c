"""Checks the answers to the exercises of lesson 2; see lesson.check."""
import math

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import records
from lessons import lesson

BATCH_SIZE, EPOCHS = 128, 3
STEP_MS, READ_MS, READERS = 100, 240, 3


def exercise_1(answer):
  """Checks the number of batches and the size of the last one against the files."""
  total = EPOCHS * records.total_records(records.data_files(lesson.data_dir))
  batches, last = answer
  expected = math.ceil(total / BATCH_SIZE), total % BATCH_SIZE or BATCH_SIZE
  if (batches, last) == expected:
    return True, ('the queue does not stop between epochs: only the very last batch is smaller, '
                  'with what is left over.')
  if batches == EPOCHS * math.ceil(total / EPOCHS / BATCH_SIZE):
    return False, 'a batch may hold the end of one epoch and the start of the next.'
  if batches == total // BATCH_SIZE:
    return False, 'count the last, smaller batch as well.'
  return False, 'divide the records of all epochs together by 128. What is left is the last batch.'


def uninitialised():
  """Reads from a queue of names without initialising its counter; returns the error's type."""
  with tf.Graph().as_default(), tf.Session() as session:
    name = tf.train.string_input_producer(['A'], num_epochs=2).dequeue()
    coordinator = tf.train.Coordinator()
    threads = tf.train.start_queue_runners(session, coordinator)
    try:
      session.run(name, options=tf.RunOptions(timeout_in_ms=5000))
    except tf.errors.OpError as error:
      return type(error)
    finally:
      coordinator.request_stop()
      try:
        coordinator.join(threads)
      except tf.errors.OpError:
        pass  # the error of the queue runner: what `uninitialised` is about
  return None


def exercise_2(answer):
  """Does what the question asks, and compares."""
  seen = {None: 'a', tf.errors.DeadlineExceededError: 'b', tf.errors.OutOfRangeError: 'c'}
  found = seen.get(uninitialised())
  if str(answer).lower().strip('()') == found:
    return True, ('the queue runner fails because the counter has no value, and closes the empty '
                  'queue. Only coordinator.join(threads) raises the cause.')
  return False, 'it was tried just now, and something else happened. What does a closed queue do?'


def exercise_3(answer):
  """Checks the times of the three ways, and the threads that way 3 needs."""
  expected = STEP_MS + READ_MS, max(STEP_MS, READ_MS), max(STEP_MS, READ_MS / READERS)
  threads = math.ceil(READ_MS / STEP_MS)
  hints = ('in way 1, reading and computing take turns: add their times.',
           'in way 2 both happen at once: the longer time counts.',
           'in way 3 three threads bring a batch every 80 ms. Which is longer, that or a step?')
  for given, right, hint in zip(answer, expected, hints, strict=False):
    if not math.isclose(given, right, abs_tol=1):
      return False, hint
  if answer[3] != threads:
    return False, 'one thread brings a batch every 240 ms. A step needs one every 100 ms.'
  return True, 'sum, longer time, and the longer of 240 / 3 and 100. Two threads would be too slow.'
