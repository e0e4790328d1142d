"""The servers that maskline is measured against. Frozen: see README.md, "The contestants"."""
