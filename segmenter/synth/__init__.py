"""Synthetic QCT patients: anatomy from a compact atlas, tissues as HU, a scanner that blurs and adds noise."""
