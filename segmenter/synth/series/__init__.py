"""Synthetic QCT patients as CT series on disk with the truth beside them: what demo, tests and evaluation segment."""

from segmenter.synth.series.options import SyntheticSeriesOptions
from segmenter.synth.series.writer import write_synthetic_series

__all__ = ["SyntheticSeriesOptions", "write_synthetic_series"]
