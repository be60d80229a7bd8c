"""Tests of the widths of texts, counted by hand."""
from cifar10_lib.common.tf1 import tf
from cifar10_lib.reporting import texts


class TextsTest(tf.test.TestCase):

  def testWidthCountsColumns(self):
    for text, columns in ('', 0), ('cat', 3), ('猫', 2), ('猫 cat', 6), ('e\u0301', 1), ('é', 1):
      self.assertEqual(texts.width(text), columns, text)

  def testLongTextsAreCut(self):
    for text, most, expected in (('cat', 3, 'cat'), ('cats', 3, 'ca…'), ('猫狗鸟', 6, '猫狗鸟'),
                                 ('猫狗鸟', 5, '猫狗…'), ('猫狗鸟', 4, '猫…')):
      self.assertEqual(texts.cut(text, most), expected)

  def testPaddedTextsHaveOneWidth(self):
    for text, expected in (('cat', 'cat  '), ('猫', '猫   '), ('猫狗鸟', '猫狗…'),
                           ('horses', 'hors…')):
      self.assertEqual(texts.padded(text, 5), expected)


if __name__ == '__main__':
  tf.test.main()
