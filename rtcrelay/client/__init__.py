"""The synthetic client: one call, spoken by a recording, counted to the packet.

`core.Call` is the whole client without sockets or clock; `caller.calling` drives one over HTTP and UDP.
The demo, `probe session`, the benches and a laboratory use the same two. The `demo` package starts
real relays and transceivers around it and proves each step from their counters.
"""
