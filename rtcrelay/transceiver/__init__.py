"""The stateful end: signaling, sessions and their media on one shared UDP socket.

From the outside in: `service` (process), `whip` and `admin` (HTTP), `shared_socket` (UDP), `transceiver` (what one
process owns), `router` (whose packet), `session` (one call), `link` and `paths` (how it reaches its client),
`audio` and `backends` (what it says). All below `shared_socket` knows neither sockets nor clocks.
"""
