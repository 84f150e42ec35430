"""Arrays in patient space: the grid, resampling, masks, a femur."""
