"""What does a client do with several ingresses in the answer? Which it takes, what it sends to the others, and how it
goes on when one dies."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
