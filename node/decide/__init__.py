"""Pure decisions: is a series whole, which route takes it, which series is the best, who gets what."""
