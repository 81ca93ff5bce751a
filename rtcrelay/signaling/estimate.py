"""How long is a round trip? Measured where somebody measured, else reckoned from the distance."""

from __future__ import annotations

from typing import Final

from rtcrelay.config.sites import ClusterSite, Ingress, Place, Sites

MS_PER_KM: Final = 0.015
"""Milliseconds of round trip per kilometre of great circle: light in glass takes 0.0098, and cables are about half as
long again as the great circle. Chosen; for ranking, where only the order counts."""


def access_ms(client: Place, there: Place) -> float:
    """The round trip between a client and an ingress or a cluster, in milliseconds, without the client's last mile."""
    return MS_PER_KM * client.distance_km(there)


def backbone_ms(sites: Sites, ingress: Ingress, cluster: ClusterSite) -> float:
    """The round trip between an ingress and a cluster, in milliseconds: as measured between their names, else with a
    region for one or both, else by distance."""
    measured = sites.round_trips_ms or {}
    for here in (ingress.name, ingress.region):
        for there in (cluster.name, cluster.region):
            for ends in ((here, there), (there, here)):
                if here and there and ends in measured:
                    return measured[ends]
    return MS_PER_KM * ingress.place.distance_km(cluster.place)
