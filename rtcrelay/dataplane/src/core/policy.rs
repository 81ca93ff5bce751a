//! What may change while a relay runs: keys, networks, nodes.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::address::{Endpoint, Networks};
use super::clusters::Clusters;
use super::ufrag::{Invalid, KeyRing, Route};
use crate::stats::DropReason;

/// An immutable snapshot; a reload replaces it whole.
#[derive(Clone, Default)]
pub struct Policy {
    /// The keys that open ufrags.
    pub ring: KeyRing,
    /// The cluster whose transceivers this relay reaches; none on a global ingress.
    pub cluster: Option<u16>,
    /// Where transceivers may be. A route outside is refused, also under a leaked key.
    pub transceivers: Networks,
    /// Where the internal sockets of other relays are.
    pub peers: Networks,
    /// Where the relays of other clusters are; their addresses are peers, too.
    pub clusters: Clusters,
    /// Node ids and their addresses.
    pub nodes: HashMap<u32, SocketAddr>,
    /// Whether the relay wants to be left: it forwards, and no longer answers whoever asks
    /// whether it is there.
    pub draining: bool,
    /// Sources whose new paths are not limited.
    pub admission_exempt: Networks,
}

/// Who has a packet next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To<'a> {
    /// A transceiver of this relay's cluster.
    Transceiver(Endpoint),
    /// Any of these relays, which have the packet's cluster.
    Cluster(&'a [Endpoint]),
}

/// Where a ufrag leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// The transceiver, or the relays of its cluster.
    pub to: To<'a>,
    /// Whether no claim may come of it.
    pub probe: bool,
    /// The key its ufrag was made with.
    pub key_id: u8,
}

impl Policy {
    /// Opens a ufrag and finds the transceiver it names, or the relays of its cluster.
    #[inline]
    pub fn resolve(&self, ufrag: &[u8]) -> Result<Destination<'_>, DropReason> {
        let route = self.ring.open(ufrag).map_err(reason)?;
        if route.kind == super::ufrag::Kind::Session {
            return Err(DropReason::UfragKind);
        }
        let (probe, key_id) = (route.kind.is_probe(), route.key_id);
        if self.cluster != Some(route.cluster) {
            let relays = self.clusters.relays(route.cluster).ok_or(DropReason::ClusterUnknown)?;
            return Ok(Destination { to: To::Cluster(relays), probe, key_id });
        }
        let next_hop = self.address_of(&route).ok_or(DropReason::NodeUnknown)?;
        if !self.transceivers.contains(&next_hop) {
            return Err(DropReason::EndpointForbidden);
        }
        Ok(Destination { to: To::Transceiver(next_hop), probe, key_id })
    }

    /// The address a ufrag names, whether or not anything may go there.
    pub fn names(&self, ufrag: &[u8]) -> Option<Endpoint> {
        self.address_of(&self.ring.open(ufrag).ok()?)
    }

    fn address_of(&self, route: &Route) -> Option<Endpoint> {
        route.address().or_else(|| self.nodes.get(&route.endpoint).copied()).map(Endpoint::from)
    }
}

fn reason(invalid: Invalid) -> DropReason {
    match invalid {
        Invalid::Length | Invalid::Alphabet | Invalid::Version | Invalid::SpareBits => DropReason::UfragForeign,
        Invalid::UnknownKey => DropReason::UfragUnknownKey,
        Invalid::RevokedKey => DropReason::UfragRevokedKey,
        Invalid::Check | Invalid::Reserved => DropReason::UfragForged,
        Invalid::Kind | Invalid::Port => DropReason::UfragKind,
    }
}
