"""Distances and scores between pictures, rate-distortion summaries, classical codecs. Import the module you need."""
