"""How long is a call silent, and what does it lose, when something dies? ``python -m tests.bench.recovery``."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))  # where the tests' own packages are
