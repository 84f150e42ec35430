"""Associations that others open (SCP): admission, services, responses."""
