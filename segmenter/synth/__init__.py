"""Synthetic QCT patients: anatomy from a compact atlas, tissues in HU, and a simulated scanner."""
