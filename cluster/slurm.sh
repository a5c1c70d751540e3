#!/usr/bin/env bash
# One run as one Slurm job: `ray symmetric-run` starts Ray on all nodes, runs it on the first, and stops Ray again.
# NOT RUN: no Slurm was at hand. tests/test_cluster_files.py runs it with stand-ins for srun and scontrol.
#
#   sbatch cluster/slurm.sh my.yaml my-run
#
# CHANGE marks what is yours. The job is requeued when it is preempted or a node fails; the same command resumes the run.
# symmetric-run ends with `ray stop`, which ends every Ray of yours on these nodes: have them to yourself (--exclusive).
#SBATCH --job-name=pbt-disent
#SBATCH --nodes=2                    # CHANGE
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --cpus-per-task=16           # CHANGE: the CPUs of a node
#SBATCH --gpus-per-node=1            # CHANGE, or leave out for none
#SBATCH --time=24:00:00              # CHANGE
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

config=$(realpath "${1:?usage: sbatch slurm.sh CONFIG RUN}")
run=${2:?usage: sbatch slurm.sh CONFIG RUN}
runs=${PBT_DISENT_RUNS:-$HOME/runs}                     # CHANGE: seen by all nodes
source "${PBT_DISENT_VENV:-$HOME/pbt-disent}/bin/activate"  # CHANGE: the environment with pbt-disent[cluster]

export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.ray/auth_token RAY_USAGE_STATS_ENABLED=0
if [ ! -s "$RAY_AUTH_TOKEN_PATH" ]; then
  (umask 077 && mkdir -p "$HOME/.ray" && python -c "import secrets; print(secrets.token_hex(32))" > "$RAY_AUTH_TOKEN_PATH")
fi

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 10000))
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
  ray symmetric-run --address "$address:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus="$SLURM_CPUS_PER_TASK" --include-dashboard=false --temp-dir="/tmp/ray-$SLURM_JOB_ID" \
  -- env RAY_ADDRESS="$address:$port" \
  python -m pbt_disent.tune.supervisor "$run" --runs "$runs" --config "$config"
