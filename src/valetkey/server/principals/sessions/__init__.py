"""Sessions: a signed-in browser, nothing else."""
