"""Which commands does Redis get of calls that run? ``python -m tests.bench.redis_calls`` from the repository's root."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))  # where the tests' own packages are
