"""A rollout rehearsed: processes under the signals, hooks and probes that a kubelet gives them, with calls on them.

The hooks are those of the chart (tests/deploy/golden/one-cluster.yaml). What a load balancer does is played: its new
packets go to a ready relay.
"""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]  # where the packages it uses are
