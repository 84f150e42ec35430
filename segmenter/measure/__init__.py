"""What is measured in a femur: regions, compartments, density, and what casts doubt on them."""
