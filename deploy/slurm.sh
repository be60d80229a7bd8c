#!/usr/bin/env bash
# Trains as a Slurm job, and goes on in a new job when the time limit comes:
#   sbatch deploy/slurm.sh --recipe=fast --max_steps=60000
# Arguments go to cifar10_train.py. Submit it from the project's directory.
#SBATCH --job-name=cifar10
#SBATCH --cpus-per-task=8
#SBATCH --mem=4G
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=cifar10-%j.log
set -uo pipefail

# --signal sends SIGTERM a minute before the limit. Training then saves and ends with 128 + 15.
srun .venv/bin/python cifar10_train.py --train_dir cifar10_train/ --data_dir cifar10_data/ "$@"
code=$?
if [ "$code" = 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
