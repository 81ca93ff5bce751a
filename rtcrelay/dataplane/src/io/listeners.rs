//! The sockets of a relay: bound anew, or taken over from another process.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::runtime::StartError;
use super::socket::{self, Member, Role};

/// The two sockets that one worker has for one listener.
pub struct Sockets {
    /// The number of the listener in the configuration.
    pub listener: usize,
    /// Towards clients.
    pub public: UdpSocket,
    /// Towards transceivers and peers.
    pub internal: UdpSocket,
}

/// The sockets of one worker: at least one pair of each listener.
pub(super) type Group = Vec<Sockets>;

/// All sockets.
pub(super) struct Bound {
    pub(super) groups: Vec<Group>,
    /// Public and internal address of each listener, port 0 resolved.
    pub(super) listeners: Vec<(SocketAddr, SocketAddr)>,
    /// The smallest buffer the kernel gave, in bytes.
    pub(super) smallest_buffer: usize,
    /// Whether the kernel puts returning datagrams together.
    pub(super) receives_together: bool,
}

/// Binds a pair of sockets for each listener and worker.
pub(super) fn bind(asked: &[(SocketAddr, SocketAddr)], workers: usize, buffer: usize) -> Result<Bound, StartError> {
    let (mut smallest_buffer, mut receives_together) = (usize::MAX, true);
    let mut group = |addresses: &[(SocketAddr, SocketAddr)], member| {
        let mut bind = |address: SocketAddr, role| {
            let bound = socket::bind(address, role, member, buffer)
                .map_err(|error| StartError { address: Some(address), error })?;
            smallest_buffer = smallest_buffer.min(bound.buffer);
            receives_together &= bound.receives_together;
            Ok(bound.socket)
        };
        let pairs = addresses.iter().enumerate();
        pairs
            .map(|(listener, (public, internal))| {
                let public = bind(*public, Role::Public)?;
                Ok(Sockets { listener, public, internal: bind(*internal, Role::Internal)? })
            })
            .collect::<Result<Group, StartError>>()
    };
    let first = group(asked, Member::First)?;
    let listeners = addresses(&first)?;
    let mut groups = vec![first];
    for _ in 1..workers {
        groups.push(group(&listeners, Member::Other)?);
    }
    Ok(Bound { groups, listeners, smallest_buffer, receives_together })
}

/// Spreads the sockets of another process over the workers. There are as many groups of sockets
/// as the other had workers: with more workers than that some would have nothing to do, with
/// fewer one serves several groups.
pub(super) fn adopt(sockets: Vec<Sockets>, listeners: usize, workers: usize) -> Result<Bound, StartError> {
    let wrong = |what: &str| StartError { address: None, error: io::Error::new(io::ErrorKind::InvalidInput, what) };
    let mut by_listener: Vec<Vec<Sockets>> = (0..listeners).map(|_| Vec::new()).collect();
    let mut receives_together = true;
    for pair in sockets {
        socket::tune(&pair.public, Role::Public);
        receives_together &= socket::tune(&pair.internal, Role::Internal);
        by_listener.get_mut(pair.listener).ok_or_else(|| wrong("the other process has more listeners"))?.push(pair);
    }
    let count = by_listener.iter().map(Vec::len).min().unwrap_or(0);
    if count == 0 {
        return Err(wrong("the other process has fewer listeners"));
    }
    let mut groups: Vec<Group> = (0..workers.min(count)).map(|_| Vec::new()).collect();
    let among = groups.len();
    for pairs in by_listener {
        for (at, pair) in pairs.into_iter().enumerate() {
            groups[at % among].push(pair);
        }
    }
    let first: Vec<&Sockets> =
        (0..listeners).filter_map(|n| groups[0].iter().find(|pair| pair.listener == n)).collect();
    let listeners = addresses_of(&first)?;
    Ok(Bound { groups, listeners, smallest_buffer: usize::MAX, receives_together })
}

fn addresses(group: &Group) -> Result<Vec<(SocketAddr, SocketAddr)>, StartError> {
    addresses_of(&group.iter().collect::<Vec<_>>())
}

/// Two internal addresses with one port are refused: it is the ingress id.
fn addresses_of(group: &[&Sockets]) -> Result<Vec<(SocketAddr, SocketAddr)>, StartError> {
    let of = |socket: &UdpSocket| socket.local_addr().map_err(|error| StartError { address: None, error });
    let mut addresses: Vec<(SocketAddr, SocketAddr)> = Vec::new();
    for pair in group {
        let (public, internal) = (of(&pair.public)?, of(&pair.internal)?);
        if addresses.iter().any(|(_, other)| other.port() == internal.port()) {
            let error = io::Error::from_raw_os_error(libc::EADDRINUSE);
            return Err(StartError { address: Some(internal), error });
        }
        addresses.push((public, internal));
    }
    Ok(addresses)
}
