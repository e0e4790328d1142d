"""Measurements of maskline against a limit and an idiomatic baseline: `python -m benchmarks` (README.md)."""
