"""Associations that others open: who may open one, what they bring and what we answer."""
