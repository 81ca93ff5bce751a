"""How a running service is asked and steered: its Unix socket, and the one-shot commands that talk to it."""
