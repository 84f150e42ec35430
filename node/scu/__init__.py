"""Associations that we open: to send results, to query a peer, to verify it."""
