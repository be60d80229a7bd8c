#!/usr/bin/env bash
# Trains and scores the network on a drawn sample data set, and names three pictures that it has not
# seen. Once the packages are installed, it takes about a minute and no network. What it makes lies in
# demo/; a second start finds training done and only scores again.
set -euo pipefail
cd "$(dirname "$0")"
source ./env.sh requirements.txt

data=(--data_dir demo/data/ --data_url sample --batch_size 32)
"$python" cifar10_train.py "${data[@]}" --train_dir demo/train/ --recipe fast --max_steps 1200 \
  --log_frequency 100 --seed 1
echo
"$python" cifar10_eval.py "${data[@]}" --eval_dir demo/eval/ --checkpoint_dir demo/train/ --run_once
echo
"$python" -c 'from cifar10_lib.dataset import sample; sample.draw_pictures("demo/pictures")'
"$python" cifar10_predict.py demo/pictures/ --checkpoint_dir demo/train/

echo
echo "Its mistakes: demo/eval/mistakes.png"
echo "The curves:   ${python%python}tensorboard --logdir demo/"
echo "CIFAR-10:     $python cifar10_train.py --train_dir cifar10_train/ --data_dir cifar10_data/"
echo "Begin anew:   move demo/ away"
