"""The segmenter's commands."""
