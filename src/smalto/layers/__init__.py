"""Network blocks that two or more models use."""
