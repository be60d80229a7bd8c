"""Checks the answers to the exercises of lesson 1; see lesson.check."""
import numpy as np

from cifar10_lib.dataset import records
from lessons import lesson

PICTURE, ROW, COLUMN, GREEN = 100, 5, 7, 1


def exercise_1(answer):
  """Checks an offset against the file: the byte there must be the value that the reader gives."""
  plane = records.HEIGHT * records.WIDTH
  start = PICTURE * records.RECORD_BYTES + records.LABEL_BYTES
  offset = start + GREEN * plane + ROW * records.WIDTH + COLUMN
  wrong = {
      offset - records.LABEL_BYTES: 'each record starts with its label: one more byte.',
      offset - PICTURE * records.LABEL_BYTES: 'each of the 100 records before also has a label.',
      offset - PICTURE - 1: 'each record starts with a label, this one and the 100 before it.',
      start + (ROW * records.WIDTH + COLUMN) * records.DEPTH + GREEN:
          'that is pixel by pixel. The file stores plane by plane: all red values come first.',
      offset - plane: 'that is the red value. A plane has 32 x 32 values.',
      offset + plane: 'that is the blue value. Red comes first, then green.',
      start + GREEN * plane + COLUMN * records.WIDTH + ROW:
          'row and column are exchanged. A plane is stored row by row.',
  }
  if answer == offset:
    return True, ('100 records, the label, one plane, five rows of 32 values, and seven values '
                  'come before it.')
  return False, wrong.get(answer, 'count the records before it, then the label, then whole planes, '
                                  'then whole rows, then values.')


def exercise_2(answer):
  """Checks a reader of single records against the project's own."""
  path = records.data_files(lesson.data_dir)[1]
  labels = np.fromfile(path, np.uint8)[::records.RECORD_BYTES]
  for number in 0, 1, len(labels) - 1:
    got = answer(path, number)
    if got is ...:
      return False, 'the function returns nothing yet.'
    label, picture = got
    expected, = records.read_pictures([path], records.WHOLE, [number])
    picture = np.asarray(picture)
    if picture.shape != expected.shape or picture.dtype != np.uint8:
      return False, 'the picture has another shape or dtype than uint8 [32, 32, 3].'
    if label != labels[number]:
      return False, 'the label is the first byte of the record: that of another byte came back.'
    if not np.array_equal(picture, expected):
      return False, 'the picture differs from the one in the file. Check offset and transpose.'
  return True, 'labels and pictures are those that the project reads.'


def exercise_3(answer):
  """Checks the choice of what the best of ten test scores is."""
  return str(answer).lower().strip('()') == 'b', {
      'a': 'no network was trained on the test file, but the choice among them was made by it.',
      'b': 'each score is partly luck, and the best of ten is the luckiest. Hold out training '
           'pictures to choose by (--validation_examples), and score on the test file once.',
      'c': 'a score does not change because other networks are thrown away.',
  }.get(str(answer).lower().strip('()'), 'choose a, b or c.')
