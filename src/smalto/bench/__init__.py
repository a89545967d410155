"""Measurements and demonstrations: ours beside peers, results with the command and machine that made them."""
