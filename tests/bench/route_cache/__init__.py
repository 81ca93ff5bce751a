"""What do routes in Redis cost, and how fast are they listed? ``python -m tests.bench.route_cache``."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))  # where the tests' own packages are
