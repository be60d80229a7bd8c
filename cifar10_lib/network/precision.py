"""Chooses between 16 and 32 bits, and the session options that go with the choice."""
import os
import re

from cifar10_lib.common.tf1 import tf


def compute_dtype(use_fp16):
  """Returns the type that the session computes in, by what the machine has.

  With `use_fp16`: 'float16' on a GPU, 'bfloat16' on a CPU with bfloat16 products. Else 'float32'.
  """
  if not use_fp16:
    return 'float32'
  if tf.config.list_physical_devices('GPU'):
    return 'float16'
  try:
    with open('/proc/cpuinfo') as cpuinfo:
      capable = re.search(r'\b(avx512_bf16|amx_bf16)\b', cpuinfo.read())
  except OSError:
    capable = None
  return 'bfloat16' if capable else 'float32'


def session_config(dtype='float32', log_device_placement=False, cpu_devices=1):
  """Returns a ConfigProto: ops run where they can, and a GPU's memory is taken only as needed.

  `dtype` is what `compute_dtype` returned. `log_device_placement` prints the device of each op.
  TensorFlow divides the CPU into `cpu_devices` devices, /cpu:0, /cpu:1 and so on; they share its
  cores.
  """
  config = tf.ConfigProto(allow_soft_placement=True, log_device_placement=log_device_placement)
  config.device_count['CPU'] = cpu_devices
  config.gpu_options.allow_growth = True  # leaves memory for evaluation beside training
  # Each op uses all cores by itself, so more ops at once only hold more memory. With fewer than
  # two, a step waits while the input's ops run. All sessions of a process share one pool, which has
  # the size that the first session asks for.
  config.inter_op_parallelism_threads = max(2, (os.cpu_count() or 1) // 2)
  # The optimiser's second pass over the graph finds nothing more and takes 0.1 s.
  rewriter = config.graph_options.rewrite_options
  rewriter.meta_optimizer_iterations = type(rewriter).ONE
  if dtype == 'bfloat16':
    rewriter.auto_mixed_precision_onednn_bfloat16 = type(rewriter).ON
  return config
