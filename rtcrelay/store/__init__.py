"""What processes of one site keep in Redis for each other: routes of paths, and who is alive.

Everything here is a speed-up or a convenience. Nothing waits for it, and nothing believes it without looking.
"""
