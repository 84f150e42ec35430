"""Training: the pool of synthetic volumes, their crops as scanned, the loss and the loop."""
