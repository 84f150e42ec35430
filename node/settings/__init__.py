"""What an administrator can set, read once into frozen, typed objects."""
