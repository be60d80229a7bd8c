"""Plugin of pytest: keeps the user's TF_CPP_MIN_LOG_LEVEL from the tests, which set their own.

Tests compare what programs print, and TensorFlow prints more at level 0.
"""
import os

os.environ.pop('TF_CPP_MIN_LOG_LEVEL', None)
