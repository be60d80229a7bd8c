"""Checks the exercises of lesson 4. Each function returns whether an answer is right, and why."""
import math

import numpy as np


def exercise_1(answer):
  """Takes the number of parameters of local3 for pictures of 32 x 32."""
  right = 8 * 8 * 64 * 384 + 384
  if answer == right:
    return True, 'two pools halve 32 to 8, so local3 connects 8 x 8 x 64 values with 384 units.'
  if answer == right - 384:
    return False, 'these are the weights. Each of the 384 units has a bias too.'
  if answer == 885120:
    return False, 'that is the number for 24 x 24. What is the shape after pool2 now?'
  return False, 'find the height and width after two pools first. Then count as for 24 x 24.'


def exercise_2(answer):
  """Takes the cross entropy of 100 classes that are equally likely."""
  if math.isclose(answer, math.log(100), rel_tol=0.01):
    return True, 'each class gets the probability 0.01, and -ln(0.01) is twice -ln(0.1).'
  if math.isclose(answer, math.log2(100), rel_tol=0.01) or math.isclose(answer, 2, rel_tol=0.01):
    return False, 'the loss uses the natural logarithm, np.log.'
  return False, 'which probability does each of 100 equally likely classes get?'


def exercise_3(answer):
  """Takes the gradients of nine values under a max pool, [3][3]."""
  answer = np.array(answer, float)
  if answer.shape != (3, 3):
    return False, 'the answer has three rows of three numbers.'
  right = np.zeros([3, 3])
  right[2, 1] = 0.7
  if np.allclose(answer, right):
    return True, 'only the largest value, 6, decided the result. It gets the whole gradient.'
  if np.count_nonzero(answer) > 1:
    return False, 'a small change of a value that is not the largest does not change the result.'
  return False, 'look for the largest value; the whole gradient goes to it.'
