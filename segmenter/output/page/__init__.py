"""One page per study that shows the femurs, their numbers and how the density was calibrated."""
