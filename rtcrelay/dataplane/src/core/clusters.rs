//! Where the relays of other clusters are, and which of them a client's packets go to.
//!
//! Rendezvous hashing on the client's address: every ingress relay chooses the same, and when a
//! relay is lost only its own flows move, for the others' order does not change.

use std::collections::HashMap;

use super::address::Endpoint;
use super::table::Hashing;

/// Relays of one cluster at most; chosen: far more than one VIP needs.
pub const MAX_RELAYS: usize = 32;

/// The table of clusters.
#[derive(Clone, Debug, Default)]
pub struct Clusters {
    relays: HashMap<u16, Vec<Endpoint>>,
    cluster_of: HashMap<Endpoint, u16>,
}

impl Clusters {
    /// A table of internal addresses of relays, at most 32 for a cluster. An address belongs to
    /// one cluster; the error is one that is in two.
    pub fn new(relays: HashMap<u16, Vec<Endpoint>>) -> Result<Clusters, Endpoint> {
        let mut cluster_of = HashMap::new();
        for (cluster, relays) in &relays {
            for relay in relays {
                if cluster_of.insert(*relay, *cluster).is_some_and(|other| other != *cluster) {
                    return Err(*relay);
                }
            }
        }
        Ok(Clusters { relays, cluster_of })
    }

    /// The relays of a cluster.
    pub fn relays(&self, cluster: u16) -> Option<&[Endpoint]> {
        self.relays.get(&cluster).map(Vec::as_slice)
    }

    /// The relays of all clusters.
    pub fn all(&self) -> impl Iterator<Item = &Endpoint> {
        self.cluster_of.keys()
    }

    /// Whose relay an address is.
    pub fn cluster_of(&self, relay: &Endpoint) -> Option<u16> {
        self.cluster_of.get(relay).copied()
    }

    /// The relays of the cluster whose relay an address is, itself among them.
    pub fn beside(&self, relay: &Endpoint) -> Option<&[Endpoint]> {
        self.cluster_of(relay).and_then(|cluster| self.relays(cluster))
    }
}

/// Relays in the order in which a client's packets prefer them.
pub fn preferred<'a>(relays: &'a [Endpoint], client: &Endpoint) -> impl Iterator<Item = &'a Endpoint> + use<'a> {
    // No secret key: all ingress relays of a VIP must agree, and who chooses his own address
    // gains nothing but another relay for himself.
    let hashing = Hashing::default();
    let mut order = [(0, 0); MAX_RELAYS];
    let count = relays.len().min(MAX_RELAYS);
    for (at, (place, relay)) in order.iter_mut().zip(relays).enumerate() {
        let mut both = [0; 36];
        both[..18].copy_from_slice(&client.bytes());
        both[18..].copy_from_slice(&relay.bytes());
        *place = (hashing.of(&both), at);
    }
    order[..count].sort_unstable_by(|one, other| other.cmp(one));
    order.into_iter().take(count).map(|(_, at)| &relays[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn endpoint(last: u8, port: u16) -> Endpoint {
        SocketAddr::from(([10, 9, 0, last], port)).into()
    }

    #[test]
    fn a_lost_relay_moves_only_its_own_clients_and_they_spread_over_the_others() {
        let relays: Vec<Endpoint> = (1..=4).map(|last| endpoint(last, 3479)).collect();
        let without: Vec<Endpoint> = relays.iter().copied().filter(|relay| *relay != relays[1]).collect();
        let (mut moved, mut taken) = (0, HashMap::<Endpoint, u32>::new());
        for port in 1..=8000 {
            let client = endpoint(200, port);
            let first = *preferred(&relays, &client).next().expect("four");
            let then = *preferred(&without, &client).next().expect("three");
            if first == relays[1] {
                moved += 1;
                *taken.entry(then).or_default() += 1;
                assert_eq!(then, *preferred(&relays, &client).nth(1).expect("four"), "the next in its order");
            } else {
                assert_eq!(first, then);
            }
        }
        assert!((1800..2200).contains(&moved), "{moved} of 8000 are a fourth");
        assert!(taken.len() == 3 && taken.values().all(|count| (550..790).contains(count)), "{taken:?}");
    }

    #[test]
    fn all_relays_are_in_the_order_once() {
        let relays: Vec<Endpoint> = (1..=32).map(|last| endpoint(last, 3479)).collect();
        let mut order: Vec<Endpoint> = preferred(&relays, &endpoint(200, 1)).copied().collect();
        order.sort_by_key(Endpoint::bytes);
        assert_eq!(order, relays);
        assert_eq!(preferred(&[], &endpoint(200, 1)).count(), 0);
    }

    #[test]
    fn an_address_belongs_to_one_cluster() {
        let of = |relays: &[(u16, Endpoint)]| {
            let mut table: HashMap<u16, Vec<Endpoint>> = HashMap::new();
            for (cluster, relay) in relays {
                table.entry(*cluster).or_default().push(*relay);
            }
            Clusters::new(table)
        };
        let (one, other) = (endpoint(1, 3479), endpoint(1, 3480));
        let clusters = of(&[(7, one), (8, other)]).expect("two addresses");
        assert_eq!((clusters.cluster_of(&one), clusters.cluster_of(&other)), (Some(7), Some(8)));
        assert_eq!(clusters.relays(7), Some(&[one][..]));
        assert_eq!(clusters.relays(9), None);
        assert_eq!(of(&[(7, one), (8, one)]).err(), Some(one));
    }
}
