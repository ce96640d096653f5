#!/bin/bash
# Pretraining on the nodes of a SLURM job: one launcher a node, eight processes (GPUs) each.
#
#   RUN_DIR=/shared/runs/mfm sbatch recipes/slurm.sh --config recipes/aura_mfm.yaml
#   RUN_DIR=/shared/runs/mfm sbatch --nodes 4 recipes/slurm.sh --config recipes/aura_mfm.yaml
#
# Submit it in the clone, with the environment that has aura active. RUN_DIR and the shards lie on storage that all nodes see.
# Three minutes before the time is up SLURM sends SIGTERM: the run saves and ends, and the job is queued again and goes on.
# The number of processes must divide train.batch and data.streams of the recipe.
#SBATCH --job-name=aura
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

: "${RUN_DIR:?set RUN_DIR to a folder that all nodes see}"
# sed reads to the end, head would break the pipe.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
export ACCELERATE_CONFIG=${ACCELERATE_CONFIG:-accelerate_config_two_nodes.yaml}
export PROCESSES=$((SLURM_NNODES * ${SLURM_GPUS_ON_NODE:-8}))
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=170  # the launcher kills after 30 s otherwise, also in the middle of a save
export FIRST=$first PORT=$((20000 + SLURM_JOB_ID % 20000))

before=$(cat "$RUN_DIR/status.json" 2>/dev/null || true)
code=0
# In single quotes: each node has a SLURM_NODEID of its own.
srun bash -c 'exec accelerate launch --config_file "$ACCELERATE_CONFIG" \
  --num_machines "$SLURM_NNODES" --num_processes "$PROCESSES" --machine_rank "$SLURM_NODEID" \
  --main_process_ip "$FIRST" --main_process_port "$PORT" \
  recipes/pretrain.py "$@" run_dir="$RUN_DIR"' launch "$@" || code=$?

# Only where this job wrote it: one that was refused before it began leaves the status of the last.
after=$(cat "$RUN_DIR/status.json" 2>/dev/null || true)
if [[ $after != "$before" && $after == *'"state": "preempted"'* ]]; then
  echo "stopped in time, queued again"
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
fi
exit $code
