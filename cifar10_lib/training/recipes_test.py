"""Tests of recipes: what flags override, and which update a recipe leads to."""
import types

import numpy as np

import cifar10
from cifar10_lib.common.tf1 import tf
from cifar10_lib.network import muon
from cifar10_lib.training import recipes


def _overridden(recipe, **flags):
  return recipes.override(recipe, types.SimpleNamespace(**flags))


class OverrideTest(tf.test.TestCase):

  def testMissingFlagsLeaveTheRecipe(self):
    for recipe in cifar10.tutorial(), recipes.fast(1000):
      self.assertEqual(_overridden(recipe), recipe)  # an object from old code
      self.assertEqual(
          _overridden(recipe, augment=None, **dict.fromkeys(recipes.NUMBERS)), recipe)

  def testEachFlagOverridesItsNumber(self):
    tutorial = cifar10.tutorial()
    given = dict(learning_rate=0.01, weight_decay=0.0, momentum=0.9, label_smoothing=0.1,
                 moving_average_decay=0.99, augment='flip')
    self.assertEqual(set(given), {*recipes.NUMBERS, 'augment'})
    for name, value in given.items():
      self.assertEqual(_overridden(tutorial, **{name: value}), tutorial._replace(**{name: value}))
    self.assertEqual(_overridden(tutorial, **given), tutorial._replace(**given))

  def testRateScalesTheStepsOfMuon(self):
    fast = recipes.fast(1000)
    self.assertEqual((fast.learning_rate, fast.muon_rate), (0.05, 0.02))
    changed = _overridden(fast, learning_rate=0.025)
    self.assertEqual((changed.learning_rate, changed.muon_rate), (0.025, 0.01))
    self.assertEqual(changed._replace(learning_rate=0.05, muon_rate=0.02), fast)
    self.assertEqual(_overridden(fast, learning_rate=0.05), fast)  # to the bit

  def testRangesHoldTheRecipes(self):
    for name, (least, greatest, _) in recipes.NUMBERS.items():
      for recipe in cifar10.tutorial(), recipes.fast(1), recipes.fast(200000):
        self.assertBetween(getattr(recipe, name), least, greatest, name)

  def testDifferencesAreNamed(self):
    tutorial = cifar10.tutorial()
    self.assertEqual(recipes.differences(tutorial, tutorial), '')
    changed = tutorial._replace(learning_rate=0.01, momentum=0.9, augment='none')
    self.assertEqual(recipes.differences(changed, tutorial),
                     'learning_rate 0.01 (0.1), augment none (crop,flip,colour), momentum 0.9 (0)')
    changed = tutorial._replace(moving_average_decay=0.99999)
    self.assertEqual(recipes.differences(changed, tutorial),
                     'moving_average_decay 0.99999 (0.9999)')


class OptimizerTest(tf.test.TestCase):

  def testRecipeChoosesTheUpdate(self):
    tutorial, fast = cifar10.tutorial(), recipes.fast(1000)
    for recipe, kind in (
        (tutorial, tf.train.GradientDescentOptimizer),
        (tutorial._replace(momentum=0.9), tf.train.MomentumOptimizer),
        (fast, muon.MuonOptimizer), (fast._replace(momentum=0.0), muon.MuonOptimizer),
        (fast._replace(muon_rate=0.0), tf.train.MomentumOptimizer)):
      with tf.Graph().as_default():
        self.assertIs(type(recipes.optimizer(0.1, recipe)), kind)

  def testStepIsInProportionToTheRate(self):
    """Muon's step has a length that does not depend on the gradient, only on the rate."""
    moves = {}
    for rate in 0.05, 0.025:
      recipe = _overridden(recipes.fast(1000), learning_rate=rate, momentum=0.0)
      with tf.Graph().as_default(), tf.Session() as session:
        weights = tf.get_variable('layer/weights', initializer=np.eye(4, 3, dtype=np.float32))
        optimizer = recipes.optimizer(recipe.learning_rate, recipe)
        step = optimizer.minimize(tf.reduce_sum(weights * weights))
        session.run(tf.global_variables_initializer())
        session.run(step)
        moves[rate] = np.eye(4, 3) - session.run(weights)
    self.assertAllClose(moves[0.05], 2 * moves[0.025], rtol=1e-5)
    self.assertBetween(np.linalg.norm(moves[0.05], 2), 0.02 * 0.6, 0.02 * 1.6)


if __name__ == '__main__':
  tf.test.main()
