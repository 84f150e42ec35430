"""Synthetic QCT patients as CT series on disk with the truth beside them: what demo, tests and evaluation segment."""

from segmenter.synth.series.options import PhantomOptions
from segmenter.synth.series.writer import write_phantom

__all__ = ["PhantomOptions", "write_phantom"]
