"""The administrators' window: queue page, health and JSON, all of it read-only."""
