"""Measures the same network in PyTorch: a plain loop that distorts whole batches in memory."""
import glob
import os
import time

import measure
import numpy as np
import torch
from torch import nn
from torch.nn import functional

CROP, RECORD = 24, 3073


def load(data_dir, pattern):
  """Returns all records of the files: uint8 [N, 3, 32, 32] and int64 [N]."""
  paths = sorted(glob.glob(os.path.join(data_dir, 'cifar-10-batches-bin', pattern)))
  records = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, RECORD) for path in paths])
  records = torch.from_numpy(records)
  return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].long()


def standardise(x):
  """Scales each picture to mean 0 and variance 1."""
  mean, std = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)
  x = (x - mean) / std.clamp(min=(CROP * CROP * 3) ** -0.5)
  return x.contiguous(memory_format=torch.channels_last)


def training_batch(pictures, labels):
  """Returns a random batch, distorted by crop, flip, brightness and contrast."""
  count = measure.BATCH_SIZE
  chosen = torch.randint(len(labels), [count])
  top, left = torch.randint(32 - CROP + 1, [2, count, 1])
  span = torch.arange(CROP)
  columns = torch.where(torch.rand(count, 1) < 0.5, span, span.flip(0)) + left  # [B, CROP]
  rows = span + top
  x = pictures[chosen[:, None, None, None], torch.arange(3)[:, None, None],
               rows[:, None, :, None], columns[:, None, None, :]].float()
  x = x + torch.empty(count, 1, 1, 1).uniform_(-63, 63)
  mean = x.mean((2, 3), keepdim=True)
  x = mean + (x - mean) * torch.empty(count, 1, 1, 1).uniform_(0.2, 1.8)
  return standardise(x), labels[chosen]


def network():
  """Returns the network, in channels-last memory format."""
  norm = nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0)
  return nn.Sequential(
      nn.Conv2d(3, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), norm,
      nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), norm, nn.MaxPool2d(3, 2, 1), nn.Flatten(),
      nn.Linear(2304, 384), nn.ReLU(), nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, 10),
  ).to(memory_format=torch.channels_last)


def training_step(net, batch, dtype):
  """Returns a function that trains one step."""
  def parameters(kind):
    return [each for layer in net if isinstance(layer, kind) for each in layer.parameters()]
  optimizer = torch.optim.SGD([
      {'params': parameters(nn.Conv2d)},
      {'params': parameters(nn.Linear), 'weight_decay': 0.004}], lr=0.1)
  average = torch.optim.swa_utils.AveragedModel(
      net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9999))

  def step():
    x, labels = batch()
    with torch.autocast('cpu', torch.bfloat16, enabled=dtype == 'bfloat16'):
      loss = functional.cross_entropy(net(x), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    average.update_parameters(net)
  return step


def evaluation_step(net, pictures):
  """Returns a function that classifies the next batch of test pictures."""
  starts = iter(range(0, 10**9, measure.BATCH_SIZE))

  def step():
    index = (torch.arange(measure.BATCH_SIZE) + next(starts)) % len(pictures)
    with torch.inference_mode():
      net(standardise(pictures[index, :, 4:-4, 4:-4].float())).argmax(1)
  return step


def main():
  args = measure.arguments()
  begin = time.perf_counter()
  torch.set_num_threads(os.cpu_count())
  if args.part == 'evaluation':
    step = evaluation_step(network(), load(args.data_dir, 'test_batch.bin')[0])
  else:
    data = load(args.data_dir, 'data_batch_*.bin')

    def batch():
      return training_batch(*data)
    step = batch if args.part == 'input' else training_step(network(), batch, args.dtype)
  measure.report(measure.timed(step, begin, args.warmup, args.steps))


if __name__ == '__main__':
  main()
