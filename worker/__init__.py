"""The only place where the queue meets the segmenter: claim, run, record, release."""
