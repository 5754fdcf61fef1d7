#!/bin/bash
# A study as a Slurm array, one run per task. Submit from the folder that the paths below are relative to:
#
#   sbatch --array=0-$(( $(bionic-cpu study paper --out study --dry-run --json | jq '.runs | length') - 1 )) tools/study_slurm.sh
#
# Slurm sends SIGTERM before the time limit (--signal): the run saves its state and ends with 143, and the task puts itself
# back into the queue to go on from there. SIGUSR1 does the same with exit code 75. When the array is through,
# `bionic-cpu study paper --out study ...` without --index finds nothing missing and writes results.csv, table.csv and, of factors, main_effects.csv.
#SBATCH --job-name=bionic-study
#SBATCH --cpus-per-task=2
#SBATCH --mem=1G
#SBATCH --time=00:30:00
#SBATCH --signal=TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=study-%a.log

plan=${PLAN:-paper}
out=${OUT:-study}
data=${DATA:-fer2013.csv}
connectome=${CONNECTOME:-microns}

srun bionic-cpu study "$plan" --out "$out" --data "$data" --connectome "$connectome" \
    --index "$SLURM_ARRAY_TASK_ID" --threads "$SLURM_CPUS_PER_TASK" --json
code=$?
case $code in
    75 | 143) scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" ;;
esac
exit $code
