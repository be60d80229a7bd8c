"""Checks the exercises of lesson 6. Each function returns whether an answer is right, and why."""
import math


def exercise_1(answer):
  """Takes the standard error of 9,100 right of 10,000."""
  right = math.sqrt(0.91 * 0.09 / 10000)
  if math.isclose(answer, right, rel_tol=0.02):
    return True, 'the precision is 0.910, and the true one is likely within two of these: 0.006.'
  if math.isclose(answer, right ** 2, rel_tol=0.02):
    return False, 'that is the variance. The standard error is its square root.'
  if math.isclose(answer, 2 * right, rel_tol=0.02):
    return False, 'that is two standard errors.'
  return False, 'p is 9100 / 10000 and n is 10000. Take the square root of p (1 - p) / n.'


def exercise_2(answer):
  """Takes the number of pictures for a standard error of 0.001 at a precision of 0.9."""
  if math.isclose(answer, 90000, rel_tol=0.01):
    return True, 'ten times as exact needs a hundred times as many pictures.'
  if math.isclose(answer, 9000, rel_tol=0.01):
    return False, 'that gives a standard error of 0.0032. The number stands under a square root.'
  return False, 'solve sqrt(0.9 * 0.1 / n) = 0.001 for n.'


def exercise_3(answer):
  """Takes the share of the pictures named B that are B."""
  if math.isclose(answer, 9 / 15, rel_tol=0.01):
    return True, 'the column of B has 15 pictures, and 9 of them are B.'
  if math.isclose(answer, 9 / 10, rel_tol=0.01):
    return False, 'that is the share of the true B that are named B: a row. This asks for a column.'
  return False, 'a row is a true class, a column a predicted one. Add up one column.'
