"""Calls, recorded, and the scripts that recorded them."""
