"""The loops of managed jobs, written on the verbs of the Training API and nothing else."""
