"""Readers: pictures from files, and training data from folders of them. Import the module you need."""
