"""Checks the exercises of lesson 5. Each function returns whether an answer is right, and why."""
import math

from lessons import lesson


def exercise_1(answer):
  """Takes the number of steps from step 50 to the end of a run with --max_steps=120."""
  if answer == 70:
    return True, '--max_steps counts the steps of all starts together.'
  if answer == 120:
    return False, '--max_steps counts the steps of all starts, not those of this one.'
  return False, 'the checkpoint holds the step. How many are left?'


def exercise_2(answer):
  """Takes the pictures a second that the last record of global_step/sec of the run stands for."""
  curves = lesson.scalars(lesson.directory('healthy'))
  if 'global_step/sec' not in curves:
    return False, 'there is no run in runs/healthy. Run the cells under "Start and stop" first.'
  steps_a_second = curves['global_step/sec'][1][-1]
  if math.isclose(answer, steps_a_second * 16, rel_tol=0.01):
    return True, 'a step takes a batch of 16 pictures, so pictures a second are 16 times the steps.'
  if math.isclose(answer, steps_a_second, rel_tol=0.01):
    return False, 'those are steps a second. How many pictures does a step take?'
  return False, "take the last value of curves['global_step/sec'], times the batch size."


REASONS = {
    'a': 'with a rate too high, the training accuracy would be low too.',
    'b': 'with wrong labels, the training accuracy would stay near 0.1 for a long time, and the '
         'test precision too.',
    'c': 'it knows the training pictures by heart and is no better for it on others. More '
         'augmentation, weight decay or more pictures help, or an earlier end.',
    'd': 'in health both rise together. Here one falls while the other rises.'}


def exercise_3(answer):
  """Takes the letter of the sickness."""
  letter = str(answer).strip().strip('()').lower()
  if letter not in REASONS:
    return False, 'answer with one of the letters a, b, c and d, in quotation marks.'
  return letter == 'c', REASONS[letter]
