"""Read a YAML file and options into a `SweepConfig`, without torch."""
