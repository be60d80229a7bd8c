"""Tests for versions: other versions of the data set are named where they are found."""
import os
from unittest import mock

from cifar10_lib.common.tf1 import tf
from cifar10_lib.dataset import download, records, testing
from cifar10_lib.dataset.testing import Host


class VersionsTest(testing.DownloadTestCase):

  def testWhereCifar10IsMissing(self):
    for name, problem in (
        ('cifar-10-batches-py', '; this program needs the BINARY version of CIFAR-10.'),
        ('cifar-10-matlab.tar.gz', '; this program needs the BINARY version of CIFAR-10.'),
        ('cifar-100-python', '; this program needs the BINARY version of CIFAR-100.'),
        ('cifar-100-binary', ', which is CIFAR-100. Pass --data_url=cifar100'),
        ('cifar-100-binary.tar.gz', ', which is CIFAR-100. Pass --data_url=cifar100')):
      for place in self.data_dir, self.directory:
        found = os.path.join(place, name)
        os.makedirs(found)
        with self.fails('Found ' + found + problem):
          records.check_data(self.directory)
        os.rmdir(found)

  def testBeforeADownload(self):
    own = mock.patch.object(download, 'DATA_URL', 'file:///nowhere')
    for name in 'cifar-100-binary.tar.gz.part', 'cifar-100-binary.tar.gz', 'cifar-100-binary':
      found = os.path.join(self.data_dir, name)
      os.makedirs(found)
      with own, self.fails('Found %s, which is CIFAR-100. Pass --data_url=cifar100' % found):
        download.maybe_download_and_extract(self.data_dir, 'file:///nowhere')
    self.fetch(Host(self.body))  # another URL says that CIFAR-10 is wanted
    tf.io.gfile.rmtree(self.directory)
    with own:  # so does its archive
      download.maybe_download_and_extract(self.data_dir, 'file:///nowhere')
    self.assertEqual(self.said, [])
    os.remove(self.archive)
    tf.io.gfile.rmtree(self.directory)
    found = os.path.join(self.data_dir, 'cifar-10-batches-py')
    os.makedirs(found)
    self.fetch(Host(self.body))
    self.assertEqual(self.said, [
        'Found %s; this program needs the BINARY version of CIFAR-10.' % found])


if __name__ == '__main__':
  tf.test.main()
