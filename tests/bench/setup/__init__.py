"""How many round trips does a call need to be set up? ``python -m tests.bench.setup`` from the repository's root."""
