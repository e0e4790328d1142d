"""What maskline knows, with nothing done about it: no I/O, no clock, no randomness; time is an argument."""
