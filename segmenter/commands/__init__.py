"""The commands of the segmenter: segment, phantom, train and evaluate."""
