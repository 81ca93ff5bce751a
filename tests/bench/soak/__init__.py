"""Does anything grow? ``python -m tests.bench.soak`` from the repository's root."""
