"""From synthetic patients to weights: the pool of training volumes, the scanner's faults, the loss and the loop."""
