"""Makes up archives for `faults`: damaged ones, and ones built to hang or to fill the memory."""
import gzip
import io
import os
import pathlib
import shutil
import tarfile

import numpy as np

from cifar10_lib.dataset import archive, download, records

FOLDER = records.DIRECTORY + '/'
BLOCK = tarfile.BLOCKSIZE


def _member(name, content=b'', kind=tarfile.REGTYPE, size=None):
  """Returns the bytes of one member: header, content, padding."""
  info = tarfile.TarInfo(name)
  info.type, info.size = kind, len(content) if size is None else size
  return (info.tobuf(tarfile.GNU_FORMAT, 'utf-8', 'surrogateescape') + content
          + bytes(-len(content) % BLOCK))


def _with_checksum(header):
  """Returns a header of 512 bytes with the checksum that fits."""
  header = header[:148] + b' ' * 8 + header[156:]
  return header[:148] + b'%06o\0 ' % sum(header) + header[156:]


def _fields(random):
  """Returns an extended header's content: fields whose values are no numbers, or too long."""
  keys = [b'path', b'size', b'mtime', b'uid', b'linkpath', b'GNU.sparse.map', b'GNU.sparse.size',
          b'GNU.sparse.major', b'hdrcharset', b'comment', b'', random.bytes(5)]
  values = [b'', b'nan', b'1e400', b'-1', b'9' * 5000, b'BINARY', b'../../x', b'a' * 5000,
            FOLDER.encode() + b'test_batch.bin', b'1', random.bytes(20), b'\x1b[2J\n']
  text = b''
  for _ in range(random.randint(1, 5)):
    line = b' %s=%s\n' % (keys[random.randint(len(keys))], values[random.randint(len(values))])
    length = len(line) + len(str(len(line) + 3))
    text += [b'%d' % length, b'0', b'9' * 5000, b'', b'x'][
        0 if random.rand() < 0.7 else random.randint(5)] + line
  return text


def _hostile(random):
  """Returns the bytes of a member, or of many, that no archive of CIFAR-10 has."""
  kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE,
           tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE, b'V', b'\xff']
  extended = [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE][random.randint(3)]
  choice = random.randint(12)
  if choice < 4:
    return _member('././@PaxHeader', _fields(random), extended)
  if choice == 4:  # one in another
    return _member('x', b'6 a=b\n', extended) * random.randint(2, 2000)
  if choice == 5:
    return _member('x', b'9' * random.randint(1 << 18), extended)
  if choice == 6:
    return _member('././@LongLink', b'n' * random.randint(1 << 18), tarfile.GNUTYPE_LONGNAME)
  if choice == 7:
    return _member(FOLDER, kind=tarfile.DIRTYPE) * random.randint(2, 2000)
  if choice == 8:
    return _member(FOLDER + 'test_batch.bin', size=random.randint(1 << 31) * 3073)
  if choice == 9:
    return _member(['../x', '/x', FOLDER + '../../x', '\x1b]0;x\x07', 'n' * 90, 'a\nb'][
        random.randint(6)], random.bytes(random.randint(700)))
  name = FOLDER + records.FILES[random.randint(len(records.FILES))]
  return _member(name, bytes(random.randint(2) * 3073), kinds[random.randint(len(kinds))])


def _packed(random, tar):
  """Returns a .tar.gz file of some kind: plain, in many streams, followed by rubbish, or a bomb."""
  choice = random.rand()
  if choice < 0.7:
    return gzip.compress(tar, 1)
  if choice < 0.8:
    cut = random.randint(len(tar))
    return gzip.compress(tar[:cut], 1) + gzip.compress(tar[cut:], 1)
  if choice < 0.9:
    return gzip.compress(tar, 1) + [bytes(600), random.bytes(600), b'\x1f\x8b'][random.randint(3)]
  if choice < 0.99:
    return gzip.compress(b'') * random.randint(1, 200) + gzip.compress(tar, 1)
  return gzip.compress(tar, 1) + (gzip.compress(b'') * 200000 if choice < 0.995 else
                                  gzip.compress(bytes(1 << 20), 1) * 600)


def _with_flips(random, tar):
  """Returns a tar file with flipped bits in one header, whose checksum mostly fits again."""
  start = random.randint(len(tar) // BLOCK) * BLOCK
  header = bytearray(tar[start:start + BLOCK])
  for _ in range(random.randint(1, 4)):
    header[random.randint(BLOCK)] ^= 1 << random.randint(8)
  header = bytes(header)
  return tar[:start] + (_with_checksum(header) if random.rand() < 0.8 else header) + tar[
      start + BLOCK:]


def _expected(content):
  """Returns the files that tarfile finds in an archive: dict from path to content (bytes)."""
  with tarfile.open(fileobj=io.BytesIO(content)) as tar:
    return {member.name.removeprefix('./'): tar.extractfile(member).read()
            for member in tar if member.isreg()}


def row(directory, damaged):
  """Returns the function that tries one archive; `damaged` is `faults.damaged`."""
  sound = {name: np.random.RandomState(seed).bytes(2 * records.RECORD_BYTES)
           for seed, name in enumerate(records.BIN_FILES)}
  sound[records.META_FILE] = b'a\nb\n'
  members = [_member(FOLDER, kind=tarfile.DIRTYPE)]
  members += [_member(FOLDER + name, content) for name, content in sound.items()]
  tar = b''.join(members) + bytes(2 * BLOCK)
  path, unpacked = pathlib.Path(directory, 'archive.tar.gz'), os.path.join(directory, 'unpacked')

  def made(random):
    kind = random.randint(4)
    if kind == 0:
      return damaged(random, gzip.compress(tar, 1))
    if kind == 1:
      return _packed(random, _with_flips(random, tar))
    if kind == 2:
      parts = list(members)
      for _ in range(random.randint(1, 3)):
        parts.insert(random.randint(len(parts) + 1), _hostile(random))
      return _packed(random, b''.join(parts) + bytes(2 * BLOCK))
    return _packed(random, damaged(random, tar) if random.rand() < 0.5 else tar)

  def case(random):
    content = made(random)
    path.write_bytes(content)
    try:
      archive.unpack(download.CIFAR10, path, unpacked)
      found = {FOLDER + name: pathlib.Path(unpacked, name).read_bytes()
               for name in os.listdir(unpacked)}
      return (found == {FOLDER + name: each for name, each in sound.items()}
              or found == _expected(content))
    finally:
      shutil.rmtree(unpacked, ignore_errors=True)
      assert os.listdir(directory) == [path.name], 'files beside the archive'
  return case
