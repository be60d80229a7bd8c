"""Tests of deploy/: manifests by the API's schemas, commands by the programs' flags."""
import json
import os
import re
import subprocess
import sys
import unittest

import kubernetes_validate
import yaml

from cifar10_lib.common.tf1 import tf
from cifar10_lib.training import clusters
from tests.testing import DirectoryTestCase

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DEPLOY = os.path.join(ROOT, 'deploy')


def _text(*path):
  with open(os.path.join(ROOT, *path), encoding='utf-8') as file:
    return file.read()


def _flags_of(program):
  """Returns the names of the flags that a program and cifar10.py define or take over."""
  sources = _text(program) + _text('cifar10.py') + _text('cifar10_train.py')
  return set(re.findall(r"DEFINE_\w+\(\s*'(\w+)'", sources))


class DeployTest(DirectoryTestCase):

  def _check_command(self, command):
    """Fails unless a list such as [python, cifar10_train.py, --flag=value] is one of ours."""
    self.assertEqual(command[0], 'python')
    self.assertTrue(os.path.isfile(os.path.join(ROOT, command[1])), command)
    names = [argument.removeprefix('--').split('=')[0] for argument in command[2:]]
    self.assertNotEmpty(names)
    self.assertContainsSubset(names, _flags_of(command[1]))

  def testKubernetesTakesTheManifests(self):
    tasks = {}
    for manifest in yaml.safe_load_all(_text('deploy', 'kubernetes.yaml')):
      kubernetes_validate.validate(manifest, '1.31', strict=True)
      if manifest['kind'] == 'Job':
        pod = manifest['spec']['template']['spec']
        container, = pod['containers']
        self._check_command(container['command'])
        cluster = clusters.parse(container['env'][0]['value'])
        tasks[cluster.task] = cluster.address(cluster.task)
        # The address in TF_CONFIG is the name that the pod gets from the Service.
        self.assertEqual(cluster.address(cluster.task),
                         '%s.%s:2222' % (pod['hostname'], pod['subdomain']))
    self.assertEqual(sorted(tasks), [('chief', 0), ('ps', 0), ('worker', 0)])

  def testComposeStartsThreePrograms(self):
    services = yaml.safe_load(_text('deploy', 'compose.yaml'))['services']
    self.assertEqual(sorted(services), ['eval', 'tensorboard', 'train'])
    self._check_command(services['train']['command'])
    self._check_command(services['eval']['command'])
    self.assertEqual(services['tensorboard']['command'][0], 'tensorboard')

  def testContainerRunsTheMainJobWithoutRoot(self):
    lines = _text('deploy', 'Dockerfile').splitlines()
    command = next(line for line in lines if line.startswith('CMD '))
    self._check_command(json.loads(command.removeprefix('CMD ')))
    self.assertIn('USER 1000', lines)
    for line in lines:
      if line.startswith('COPY '):
        for source in line.split()[1:-1]:
          self.assertNotEmpty(list(tf.io.gfile.glob(os.path.join(ROOT, source))), line)

  @unittest.skipUnless(os.path.exists('/bin/bash'), 'needs bash')
  def testSlurmJobGoesOnAfterItsTimeLimit(self):
    for code, requeued in (143, True), (0, False), (1, False):
      with self.subTest(code):
        directory = os.path.join(self.directory, str(code))
        os.mkdir(directory)
        for name, body in ('srun', 'exit %d' % code), ('scontrol', 'echo "$@" > requeued'):
          with open(os.path.join(directory, name), 'w') as file:
            file.write('#!/bin/bash\n%s\n' % body)
          os.chmod(file.name, 0o755)
        done = subprocess.run(
            ['bash', os.path.join(DEPLOY, 'slurm.sh'), '--max_steps=5'], cwd=directory, check=False,
            env=os.environ | {'PATH': directory + os.pathsep + os.environ['PATH'],
                              'SLURM_JOB_ID': '7'})
        self.assertEqual(done.returncode, code)
        self.assertEqual(os.path.exists(os.path.join(directory, 'requeued')), requeued)


if __name__ == '__main__':
  sys.exit(tf.test.main())
