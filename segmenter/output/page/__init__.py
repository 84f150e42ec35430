"""One page per study that shows the femora, their numbers and how the density was calibrated."""
