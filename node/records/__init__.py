"""What the node knows: frozen records and states. Imports nothing but the errors."""
