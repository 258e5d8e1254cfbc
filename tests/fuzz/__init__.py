"""A fuzz target for each parser of what strangers write: `python -m tests.fuzz --seconds 600 lists banks`."""
