#!/bin/bash
# Learn on several nodes of a Slurm cluster, with one process on each: sbatch train/deploy/slurm.sh
# README.md explains the lines. All nodes see the same /shared.
#SBATCH --job-name=photos
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=photos.log
set -euo pipefail

program=(
  abp-tf train generator --run /shared/runs/photos --resume auto
  --data folder:/shared/photos --size 64 --shards 8 --batch-size 400 --epochs 50
)

# TF_CONFIG names the processes, in the order of the nodes, and which of them a process is.
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
WORKERS=$(for node in $nodes; do printf '"%s:%s"\n' "$node" "${PORT:-2222}"; done | paste -sd, -)
export WORKERS
srun --kill-on-bad-exit=1 bash -c '
  task="{\"type\": \"worker\", \"index\": $SLURM_PROCID}"
  export TF_CONFIG="{\"cluster\": {\"worker\": [$WORKERS]}, \"task\": $task}"
  exec "$@"
' process "${program[@]}"
