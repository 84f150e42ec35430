"""Associations that the node opens (SCU): to send results, to query a peer, to verify it."""
