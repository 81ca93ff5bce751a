"""What other implementations and other tools may be tested with."""
