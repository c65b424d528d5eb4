#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A job array that spreads scenarios over the nodes of a Slurm cluster:
#
#	sbatch --wait docs/ci/slurm.sh docs/scenarios/*.yaml
#	quire report results --html=report.html
#
# The folder from which it is submitted has to be the same on all nodes.  QUIRE says where the
# program is, QUIRE_RESULTS where the results go.
#SBATCH --job-name=quire
#SBATCH --array=0-3
#SBATCH --cpus-per-task=2
#SBATCH --mem=2G
#SBATCH --time=30
#SBATCH --output=quire-%A-%a.log
set -u

# Slurm runs a copy of this file, so its neighbour is found from where the job was submitted.
part=${QUIRE_PART:-$SLURM_SUBMIT_DIR/docs/ci/part.sh}
results=${QUIRE_RESULTS:-$SLURM_SUBMIT_DIR/results}

if ! [ -w /dev/kvm ]; then
	echo "$(hostname): no access to /dev/kvm; choose nodes that have it, by --constraint" >&2
	exit 121
fi
exec "$part" "$results" "$SLURM_ARRAY_TASK_ID" "$SLURM_ARRAY_TASK_COUNT" "$@"
