"""The stateful end: signaling, sessions and their media on one shared UDP socket.

From the outside in: `service` (process), `control` (reload, drain, end), `whip` and `admin` (HTTP), `forward` and
`owner` (requests about others' sessions), `shared_socket` (UDP), `transceiver` (what one process owns), `router`
(whose packet), `session` (one call), `link`, `paths` and `generations` (how it reaches its client), `audio` and
`backends` (what it says). All below `shared_socket` knows neither sockets nor clocks.
"""
