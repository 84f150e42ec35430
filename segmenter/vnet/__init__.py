"""The network, its weights and its two stages, coarse and fine."""
