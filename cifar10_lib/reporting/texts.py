"""Fits the names of classes into columns of text and into drawings.

A Chinese or Japanese character takes two columns of a terminal, and about twice the width of a
letter in a drawing.
"""
import unicodedata


def width(text):
  """Returns how many columns a text takes on a terminal."""
  return sum(0 if unicodedata.combining(character)
             else 2 if unicodedata.east_asian_width(character) in 'WF' else 1
             for character in text)


def cut(text, most):
  """Returns a text of at most `most` columns; a longer one ends in '…'."""
  if width(text) <= most:
    return text
  while width(text) > most - 1:
    text = text[:-1]
  return text + '…'


def padded(text, columns):
  """Returns a text of exactly so many columns: cut, or followed by spaces."""
  text = cut(text, columns)
  return text + ' ' * (columns - width(text))
