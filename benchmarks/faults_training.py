"""Rows of `faults` for what training reads: checkpoints, status files and TF_CONFIG."""
import json
import os
import pathlib

import numpy as np

from cifar10_lib.common.programs import Failure
from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import checkpoints, clusters, trainer_files

CONFIG = {'cluster': {'ps': ['a:1', 'b:2'], 'chief': ['c:3'], 'worker': ['d:4', '[::1]:5']},
          'task': {'type': 'worker', 'index': 1}}
STATUS = {'state': 'training', 'pid': 7, 'max_steps': 300, 'run': 'a, b',
          'hparams': {'recipe': 'fast', 'rate': 0.1, 'seed': None, 'sync': True}}
ODD = [None, True, -1, 2**70, 1e300, float('inf'), 'x' * 5000, '\ud800', '\x1b[2J', [], {}, [[]],
       {'state': 3}]


def checkpoint_files(directory, damaged):
  """Checkpoints in which the index or the data has other bytes, is cut or is empty."""
  values = {'conv1/weights': np.random.RandomState(0).normal(size=(5, 5, 3, 8)).astype(np.float32),
            'global_step': np.int64(12)}
  with tf.Graph().as_default(), tf.Session() as session:
    variables = {name: tf.Variable(value, name=name) for name, value in values.items()}
    session.run(tf.global_variables_initializer())
    path = tf.train.Saver(variables).save(session, os.path.join(directory, 'model.ckpt'), 12,
                                          write_meta_graph=False)
  files = [pathlib.Path(path + ending) for ending in ('.index', '.data-00000-of-00001')]
  sound = [file.read_bytes() for file in files]

  def case(random):
    number = random.randint(2)
    try:
      files[number].write_bytes(damaged(random, sound[number]) if random.rand() < 0.95 else b'')
      problem = checkpoints.damage(path)
      if problem:
        raise Failure(problem)
      reader = tf.train.NewCheckpointReader(path)
      return all(np.array_equal(reader.get_tensor(name), value) for name, value in values.items())
    finally:
      files[number].write_bytes(sound[number])
  return case


def _changed(random, value):
  """Returns a copy of a JSON value in which one part is odd, missing or doubled."""
  if isinstance(value, dict) and value and random.rand() < 0.8:
    name = list(value)[random.randint(len(value))]
    if random.rand() < 0.1:
      return {each: part for each, part in value.items() if each != name}
    return {**value, name: _changed(random, value[name])}
  if isinstance(value, list) and value and random.rand() < 0.7:
    place = random.randint(len(value))
    return value[:place] + [_changed(random, value[place])] * random.randint(1, 3) + value[place:]
  return ODD[random.randint(len(ODD))]


def _text(random, value, damaged):
  """Returns JSON with odd values or damaged bytes."""
  text = json.dumps(_changed(random, value) if random.rand() < 0.7 else value)
  if random.rand() < 0.05:
    text = '[' * 100000
  return damaged(random, text.encode()) if random.rand() < 0.4 else text.encode()


def configurations(directory, damaged):
  """Values of TF_CONFIG."""
  def case(random):
    cluster = clusters.parse(_text(random, CONFIG, damaged).decode('utf-8', 'surrogateescape'))
    return cluster.address(cluster.task) if cluster.job != 'evaluator' else True
  return case


def status_files(directory, damaged):
  """Files trainer.json: what is read can be compared, printed and shown by TensorBoard."""
  path = pathlib.Path(directory, trainer_files.STATUS)

  def case(random):
    path.write_bytes(_text(random, STATUS, damaged))
    status = trainer_files.read_status(directory)
    trainer_files.has_ended(directory)
    trainer_files.is_abandoned(directory)
    if not status:
      raise Failure('nothing in it could be used')
    json.dumps(status, allow_nan=False).encode()
    return (isinstance(status.get('state', ''), str) and isinstance(status.get('run', ''), str)
            and isinstance(status.get('hparams', {}), dict))
  return case
