"""Voice as samples: Opus and G.711 to PCM and back, in order, concealed, paced. No socket, no clock, no thread.

Samples are always PCM16: signed, 16 bits, little-endian, mono.
"""
