"""Checks the answers to the exercises of lesson 3; see lesson.check."""
import cifar10_input
from cifar10_lib.common.programs import Failure
from cifar10_lib.dataset import augmentation, records
from lessons.lesson import say

MAX_DEGREES = 30  # of rotation: beyond it a 6 and a 9, or a 1 and a 7, come too near to each other
MAX_HUE = 45  # degrees; beyond it a deer may be green


def exercise_1(answer):
  """Checks which distortion changes the class of a shape."""
  letter = str(answer).lower().strip('()')
  return letter == 'b', {
      'a': 'every mirrored shape is still of its kind, the checker too: its squares may lie on '
           'either diagonal.',
      'b': 'a square turned by 45 degrees is a diamond, and a diamond is a square.',
      'c': 'shapes lie near the middle: moved by four pixels, most of each is still visible.',
      'd': 'the pictures have much more noise than that already, and you can name them.',
  }.get(letter, 'choose a, b, c or d.')


def _problem(text, digits):
  """Returns what is wrong with distortions for digits or for photographs, or ''."""
  try:
    strengths = dict(augmentation.parse(text))
  except Failure as failure:
    return str(failure)
  largest = {name: max(strength.first + strength.last if isinstance(strength, augmentation.Change)
                       else strength) for name, strength in strengths.items()}
  kinds = {'colour' if name in ('brightness', 'contrast', 'saturation', 'hue') else name
           for name in strengths}
  if digits and largest.get('flip'):
    return 'a mirrored 2 is no digit.'
  if largest.get('flip_up_down'):
    return ('upside down, some digits are others or none.' if digits else
            'no ship sails upside down: a network need not know such pictures.')
  if largest.get('rotate', 0) > MAX_DEGREES:
    return ('turned that far, a 6 comes near a 9, and a 1 near a 7.' if digits else
            say('few photographers tilt a camera by more than %d degrees.') % MAX_DEGREES)
  if largest.get('hue', 0) > MAX_HUE and not digits:
    return 'a hue that far off makes deer green, and green things frogs.'
  if max(largest.get('translate', 0), largest.get('crop', 0), largest.get('cutout', 0)) > 12:
    return 'that leaves pictures with hardly any of the object in it.'
  if not digits and not largest.get('flip'):
    return 'the one that helps most is missing: the mirror image of a horse is a horse.'
  if len(kinds) < 3:
    return 'take at least three kinds.'
  return ''


def exercise_2(answer):
  """Checks two lists of distortions against what keeps a label."""
  forms = say('digits: %s'), say('photographs: %s')
  for form, text, digits in zip(forms, answer, (True, False), strict=True):
    problem = _problem(text, digits)
    if problem:
      return False, form % say(problem)
  return True, ('no label is spoiled. Whether they help, and at which strength, only a training '
                'with held-out pictures tells.')


def exercise_3(answer):
  """Checks the number of pictures that crop and flip make."""
  places = records.HEIGHT - cifar10_input.IMAGE_SIZE + 1  # of the upper edge
  hints = {
      places: 'the left edge has as many places as the upper edge, independently of it.',
      2 * places: 'the left edge has as many places as the upper edge, independently of it.',
      places ** 2: 'each of them can also be mirrored.',
      2 * (places - 1) ** 2: 'from row 0 to row 8 there are nine places, not eight.',
      (places - 1) ** 2: 'rows 0 to 8 are nine places, and each crop can be mirrored.',
  }
  if answer == 2 * places ** 2:
    return True, '9 places from top to bottom, 9 from left to right, 2 mirror images.'
  return False, hints.get(answer, 'count the places of the upper edge, then of the left edge.')
