"""What forwarding a datagram costs, here and with others' relays: see README.md in this folder."""
