"""How many echo sessions does one core carry? ``python -m tests.bench.sessions`` from the repository's root."""
