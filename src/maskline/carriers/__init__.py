"""One carrier, one file, with its own languages beside it. Each knows the domain and what it is handed, no store."""
