"""Measurements of a femur: regions, compartments, densities, and reasons to doubt them."""
