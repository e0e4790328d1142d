"""SQL: plain functions of a transaction. Knows the domain and nothing else."""
