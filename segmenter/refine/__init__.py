"""Labels of real scans from a network: a head completed where no joint is seen, a surface at the half-way HU."""
