"""Tests of evaluation beside a trainer: it scores each checkpoint once, until training ends."""
import glob
import os
import threading
from unittest import mock

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import checkpoints, trainer_files
from tests import evaluating


class WatchTest(evaluating.EvalTestCase):

  def testScoresEachCheckpointOnceThenEnds(self):
    for step in 5, 10, 20:
      self.save(step, seed=step)
    trainer_files.write_status(self.train_dir, 'finished')
    out = self.evaluate(run_once=False)
    self.assertEqual([step for _, _, step in self.scores(out)], [5, 10, 20])
    written = self.written()
    self.assertEqual(sorted(written), [(step, tag) for step in (5, 10, 20)
                                       for tag in ('Mean loss', 'Precision @ 1')])
    for hits, total, step in self.scores(out):
      self.assertAllClose(written[step, 'Precision @ 1'], hits / total)
    events, = glob.glob(os.path.join(self.eval_dir, 'events.*'))
    self.assertTrue(any(event.HasField('graph_def') for event in tf.train.summary_iterator(events)))

  def testScoresOnlyNewCheckpoints(self):
    def end():
      self.save(12)  # as a trainer does: the last checkpoint, then the status
      trainer_files.write_status(self.train_dir, 'finished')
    self.save(5)
    trainer_files.write_status(self.train_dir, 'training')
    waits = iter([lambda: None, lambda: self.save(9), lambda: None, end])
    with mock.patch.object(trainer_files, 'wait', lambda *_: bool(next(waits)()) and False):
      out = self.evaluate(run_once=False)
    self.assertEqual([step for _, _, step in self.scores(out)], [5, 9, 12])
    self.assertNotIn('Waiting', out)

  def testSaysOnceThatItWaitsForAStoppedTrainer(self):
    def status(state):
      return lambda: trainer_files.write_status(self.train_dir, state)
    self.save(5)
    status('stopped')()
    waits = iter([lambda: None, status('training'), status('stopped'), status('finished')])
    with mock.patch.object(trainer_files, 'wait', lambda *_: next(waits)()):
      out = self.evaluate(run_once=False)
    self.assertEqual(out.count('Training is stopped. Waiting'), 2)

  def testWaitsForATrainer(self):
    os.rmdir(self.train_dir)  # the trainer has not started
    def train():
      os.mkdir(self.train_dir)
      self.save(7)
      trainer_files.write_status(self.train_dir, 'training')
      self.save(8)
      trainer_files.write_status(self.train_dir, 'finished')
    trainer = threading.Timer(1.5, train)
    trainer.start()
    with mock.patch.object(trainer_files, 'POLL_SECONDS', 0.05):
      out = self.evaluate(run_once=False, eval_interval_secs=1)
    trainer.join()
    self.assertIn('Waiting for a checkpoint in %s' % self.train_dir, out)
    self.assertEqual([step for _, _, step in self.scores(out)], [7, 8])

  def testFailedTrainingWithoutACheckpointFails(self):
    trainer_files.write_status(self.train_dir, 'failed')
    with self.assertRaisesRegex(Failure, 'ended without a checkpoint'):
      self.evaluate(run_once=False)

  def testCheckpointOfFailedTrainingIsScored(self):
    self.save(6)
    trainer_files.write_status(self.train_dir, 'failed')
    self.assertEqual([step for _, _, step in self.scores(self.evaluate(run_once=False))], [6])

  def testVanishedCheckpointIsSkipped(self):
    for step in 1, 2:
      self.save(step)
    trainer_files.write_status(self.train_dir, 'finished')
    found = checkpoints.find_all(self.train_dir)
    for path in glob.glob(found[0] + '.*'):
      os.remove(path)
    with mock.patch.object(checkpoints, 'find_all', return_value=found):
      out = self.evaluate(run_once=False)
    self.assertIn('model.ckpt-1 vanished', out)
    self.assertEqual([step for _, _, step in self.scores(out)], [2])

  def testVanishedCheckpointFailsWithRunOnce(self):
    self.save(1)
    found = checkpoints.find_latest(self.train_dir)
    for path in glob.glob(found + '.*'):
      os.remove(path)
    with mock.patch.object(checkpoints, 'latest', return_value=found):
      with self.assertRaisesRegex(Failure, r'model\.ckpt-1 vanished before it was scored'):
        self.evaluate()

  def testCheckpointThatVanishesDuringTheCheckIsSkipped(self):
    for step in 1, 2, 3:
      self.save(step)
    trainer_files.write_status(self.train_dir, 'finished')
    missing = checkpoints.missing
    def vanishing(path, variables):
      problems = missing(path, variables)
      doomed = {'-1': glob.glob(path + '.*'), '-2': glob.glob(path + '.data-*')}
      for name in doomed.get(path[-2:], []):
        os.remove(name)
      return problems
    with mock.patch.object(checkpoints, 'missing', vanishing):
      out = self.evaluate(run_once=False)
    self.assertIn('model.ckpt-1 vanished', out)
    self.assertIn('model.ckpt-2 vanished', out)
    self.assertEqual([step for _, _, step in self.scores(out)], [3])


if __name__ == '__main__':
  tf.test.main()
