"""Several transceiver processes as one service: ``--workers N``."""
