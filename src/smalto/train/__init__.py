"""Training: one loop, recipes that describe runs, checkpoints that travel."""
