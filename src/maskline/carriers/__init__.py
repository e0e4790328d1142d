"""One carrier, one file. Each knows the domain and what it is handed; none knows the store or another carrier."""
