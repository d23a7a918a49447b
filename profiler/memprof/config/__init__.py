"""From a YAML file and options to a `SweepConfig`, without torch."""
