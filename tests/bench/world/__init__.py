"""What does the way of the packets cost? Calls in the laboratory, by four ways, and with parts that die."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # where the package is that it uses
