"""Closes a local cluster to the network, and ends its processes when their parent ends.

TensorFlow's server listens on every address of the machine, and whoever connects can read and write
files as its user. Linux can give processes a network of their own, a namespace. Its only interface
is loopback, so no process outside can connect.

The launcher itself cannot enter a namespace that an ordinary user makes: Linux lets a process do
that only while it has one thread, and TensorFlow starts several. So this file is also a program. It
enters the namespace, asks the kernel to end it with its parent, and then becomes the task. It uses
the standard library only and takes 40 ms to start (two busy cores, 2026-11-28).
"""
import contextlib
import ctypes
import errno
import functools
import os
import select
import signal
import socket
import struct
import subprocess
import sys

ANSWER_SECONDS = 20  # for a process to make the namespace; it takes a few milliseconds
POLL_SECONDS = 1.0  # between two checks whether a task has ended by itself
# Constants of Linux that Python 3.10 does not define.
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP, IFREQ = 0x8913, 0x8914, 0x1, '16sH22x'
PR_SET_PDEATHSIG = 1
# -I and -S: no other module of the user is loaded, and the start is faster.
PROGRAM = sys.executable, '-I', '-S', os.path.abspath(__file__)


def _call(function, *arguments):
  """Calls a function of the C library; raises OSError if it fails."""
  if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments):
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def _flags(interface, new=None):
  """Returns the flags of a network interface, after it has set them to `new` if that is given."""
  import fcntl  # not on Windows
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    if new is not None:
      fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack(IFREQ, interface.encode(), new))
    found = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack(IFREQ, interface.encode(), 0))
  return struct.unpack(IFREQ, found)[1]


def is_closed():
  """Returns whether this process has a network of its own, with no interface but loopback."""
  try:
    return sys.platform == 'linux' and not any(
        name != 'lo' and _flags(name) & IFF_UP for _, name in socket.if_nameindex())
  except OSError:  # an interface was removed meanwhile, so there was one
    return False


def _enter_new():
  """Moves this process into a new network namespace; returns paths of the namespaces it made.

  A privileged user needs no user namespace. In one, root could not write to other users' files.
  Any other user needs one, and keeps his user and group in it. So he owns the files he writes.
  """
  user, group, kinds = os.geteuid(), os.getegid(), ['net']
  try:
    _call('unshare', CLONE_NEWNET)
  except PermissionError:
    _call('unshare', CLONE_NEWUSER | CLONE_NEWNET)
    kinds = ['user', 'net']
    # The kernel takes a map of groups only once changing groups is forbidden.
    for name, text in (('setgroups', 'deny'), ('uid_map', '%d %d 1' % (user, user)),
                       ('gid_map', '%d %d 1' % (group, group))):
      with open('/proc/self/' + name, 'w') as file:
        file.write(text)
  _flags('lo', _flags('lo') | IFF_UP)
  return ['/proc/self/ns/' + name for name in kinds]


def make_namespace():
  """Makes a network namespace with loopback only.

  Returns:
    A list of file descriptors, for `command_of`. The namespace exists while one is open, or while
    a process is in it.

  Raises:
    OSError: the system has no namespaces, or does not allow this user to make one.
  """
  if sys.platform != 'linux':
    raise OSError(errno.ENOSYS, 'only Linux has network namespaces')
  ours, theirs = socket.socketpair()
  with ours, contextlib.ExitStack() as stack:
    with theirs:
      process = stack.enter_context(subprocess.Popen(
          [*PROGRAM, 'make', str(theirs.fileno())], pass_fds=[theirs.fileno()],
          stdin=subprocess.DEVNULL, start_new_session=True))
    ours.settimeout(ANSWER_SECONDS)
    try:
      message, descriptors, _, _ = socket.recv_fds(ours, 16, 2)
    except TimeoutError as error:
      process.kill()
      raise OSError(errno.ETIMEDOUT, 'no answer within %d seconds' % ANSWER_SECONDS) from error
    number = int(message or errno.EPERM)  # no message: the kernel ended the process
    if number:
      is_full = number in (errno.ENOSPC, errno.EUSERS)  # not of a disk
      raise OSError(number, 'the limit in /proc/sys/user is reached' if is_full
                    else os.strerror(number))
    return descriptors


def _make(descriptor):
  """Makes a namespace, and sends an errno with file descriptors of it to a socket."""
  opened, number = [], 0
  try:
    opened = [os.open(path, os.O_RDONLY) for path in _enter_new()]
  except OSError as error:
    number = error.errno
  with socket.socket(fileno=descriptor) as answer:
    socket.send_fds(answer, [b'%d' % number], opened)


@functools.cache
def _has_prctl():
  """Returns whether the kernel can send a signal to a process when its parent ends."""
  return sys.platform == 'linux' and hasattr(ctypes.CDLL(None), 'prctl')


@functools.cache
def _pipe():
  """Returns the ends of a pipe. Only this process has its second end, and never writes to it."""
  return os.pipe()


def command_of(task, namespace=()):
  """Returns how to start a task that ends when this process ends, however it ends.

  Start it from the main thread: the kernel goes by the thread that is the parent.

  Args:
    task: argv of the task.
    namespace: what `make_namespace` returned; the task will run in it.

  Returns:
    Argv, and the file descriptors to pass to it. The process id will be that of the task.
  """
  if os.name == 'nt':  # Windows has neither `prctl` nor `fork`
    return task, []
  pipe = [] if _has_prctl() else [_pipe()[0]]
  words = [','.join(map(str, descriptors)) for descriptors in (pipe, namespace)]
  return [*PROGRAM, 'become', str(os.getpid()), *words, *task], [*pipe, *namespace]


def _kill_when_closed(pipe):
  """Kills this process once nobody can write to a pipe any more; a child of it watches that."""
  task = os.getpid()
  if os.fork():
    return
  for descriptor in range(3):  # else whoever reads the task's output would wait for the child
    os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
  while os.getppid() == task:
    if select.select([pipe], [], [], POLL_SECONDS)[0] and os.getppid() == task:
      os.kill(task, signal.SIGKILL)
      break
  os._exit(0)


def _become(parent, pipe, namespace, *task):
  """Makes this process end with its parent and enter the namespace; then it becomes the task."""
  for descriptor in namespace.split(',') if namespace else ():
    _call('setns', int(descriptor), 0)  # the user namespace is the first: it permits the second
    os.close(int(descriptor))
  if pipe:
    _kill_when_closed(int(pipe))
    os.close(int(pipe))
  else:
    # After `setns`, which may cancel it. It stays in force when the process becomes the task.
    _call('prctl', PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
  if os.getppid() == int(parent):  # else the parent ended before the kernel was asked
    os.execv(task[0], task)


if __name__ == '__main__':
  try:
    if sys.argv[1] == 'make':
      _make(int(sys.argv[2]))
    else:
      _become(*sys.argv[2:])
  except OSError as error:
    sys.exit('Error: cannot start %s: %s.' % (' '.join(sys.argv[5:7]), error.strerror))
