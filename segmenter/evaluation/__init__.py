"""Evaluate and train networks on a folder of cases with known truth, also by the paper's protocol."""
