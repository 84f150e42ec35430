"""From Hounsfield units to bone density: calibration phantoms, certificates, and the line they give."""
