//! Which packets a capture takes, and how much of each.

use super::address::{Endpoint, Networks, PathKey};
use super::demux::{self, Class};
use super::path::Path;
use super::policy::Policy;
use super::stun::{self, Message};

/// The flows a capture is about. Any value of one kind will do, and all kinds that were given
/// must; without any, everything is taken.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of the client's address.
    pub clients: Networks,
    /// Of next hops.
    pub nodes: Networks,
    /// Routing ufrags, and the hashes by which claims know them.
    pub ufrags: Vec<(Vec<u8>, u64)>,
}

/// A packet as a capture sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its path; none if it has no SPP header that can be read.
    pub key: Option<PathKey>,
    /// What is behind the SPP header.
    pub payload: &'a [u8],
    /// Its source, if that is not the client.
    pub source: Option<Endpoint>,
}

impl Filter {
    /// Whether the packet's client is one of those.
    pub fn takes_client(&self, seen: &Seen<'_>) -> bool {
        self.clients.is_empty() || seen.key.is_some_and(|key| self.clients.contains(&key.client))
    }

    /// Whether the packet goes to or comes from one of the next hops, or one of them claims its
    /// path, or its ufrag names one.
    pub fn takes_node(&self, seen: &Seen<'_>, hops: &[Option<Endpoint>], path: Option<&Path>, policy: &Policy) -> bool {
        let is_one = |hop: &Endpoint| self.nodes.contains(hop);
        self.nodes.is_empty()
            || seen.source.as_ref().is_some_and(is_one)
            || hops.iter().flatten().any(is_one)
            || path.is_some_and(|path| path.claims().any(|claim| is_one(&claim.next_hop)))
            || username(seen.payload).is_some_and(|ufrag| policy.names(ufrag).as_ref().is_some_and(is_one))
    }

    /// Whether the packet is a request with one of the ufrags.
    pub fn names_ufrag(&self, seen: &Seen<'_>) -> bool {
        !self.ufrags.is_empty()
            && username(seen.payload).is_some_and(|ufrag| self.ufrags.iter().any(|(wanted, _)| wanted == ufrag))
    }

    /// Whether one of the ufrags has opened a claim of this path.
    pub fn takes_claims(&self, path: &Path) -> bool {
        self.ufrags.iter().any(|(_, hash)| path.claims().any(|claim| claim.ufrag == *hash))
    }
}

/// The server's ufrag in a binding request.
fn username(payload: &[u8]) -> Option<&[u8]> {
    if demux::classify(payload) != Ok(Class::Stun) {
        return None;
    }
    let message = Message::read(payload).filter(|message| message.kind() == stun::BINDING_REQUEST)?;
    message.find(stun::USERNAME)?.value.split(|byte| *byte == b':').next()
}

/// The content type of DTLS records that carry data channels.
const APPLICATION_DATA: u8 = 23;
/// Bytes of an SRTCP packet that are in the clear (RFC 3711 section 3.4).
const RTCP_HEADER: usize = 8;

/// How many bytes of a payload say nothing of what people said, encrypted or not: STUN whole, DTLS
/// up to the first record of application data and its header, SRTP up to its payload, SRTCP its
/// first 8 bytes; what is none of these whole, for nobody knows what it is.
pub fn header_length(payload: &[u8]) -> usize {
    match demux::classify(payload) {
        Ok(Class::Dtls) => before_application_data(payload),
        Ok(Class::Rtp) => rtp_header(payload),
        Ok(Class::Rtcp) => RTCP_HEADER,
        Ok(Class::Stun) | Err(_) => payload.len(),
    }
}

fn before_application_data(payload: &[u8]) -> usize {
    let mut at = 0;
    while let Some(header) = payload.get(at..).and_then(<[u8]>::first_chunk::<13>) {
        let end = at + 13;
        if header[0] == APPLICATION_DATA {
            return end;
        }
        at = end + usize::from(u16::from_be_bytes([header[11], header[12]]));
    }
    payload.len()
}

/// With the header extension, which is in the clear as well (RFC 3711 section 3.1).
fn rtp_header(payload: &[u8]) -> usize {
    let mut length = 12 + 4 * usize::from(payload[0] & 0x0F);
    if payload[0] & 0x10 != 0
        && let Some(words) = payload.get(length + 2..length + 4)
    {
        length += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    length.min(payload.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(first: u8, length: usize) -> Vec<u8> {
        let mut packet = vec![7; length];
        (packet[0], packet[1]) = (first, 111);
        packet
    }

    #[test]
    fn of_srtp_the_header_with_its_extension_is_kept() {
        assert_eq!(header_length(&rtp(0x80, 172)), 12);
        assert_eq!(header_length(&rtp(0x83, 172)), 24);
        let mut extended = rtp(0x90, 172);
        extended[12..16].copy_from_slice(&[0xBE, 0xDE, 0, 2]);
        assert_eq!(header_length(&extended), 24);
        extended[14..16].copy_from_slice(&[0xFF, 0xFF]);
        assert_eq!(header_length(&extended), 172, "a length that cannot be is not believed");
        assert_eq!(header_length(&rtp(0x9F, 12)), 12);
    }

    #[test]
    fn of_srtcp_eight_bytes_are_kept() {
        assert_eq!(header_length(&[[0x81, 201].as_slice(), &[0; 50]].concat()), 8);
    }

    #[test]
    fn of_dtls_everything_but_application_data_is_kept() {
        let record = |kind: u8, length: u8| {
            [&[kind, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, length][..], &vec![9; usize::from(length)]].concat()
        };
        assert_eq!(header_length(&record(22, 100)), 113);
        assert_eq!(header_length(&record(23, 100)), 13);
        assert_eq!(header_length(&[record(22, 40), record(23, 100)].concat()), 53 + 13);
        assert_eq!(header_length(&record(22, 100)[..50]), 50);
    }

    #[test]
    fn stun_and_what_nobody_knows_is_kept_whole() {
        assert_eq!(header_length(&[0; 20]), 20);
        assert_eq!(header_length(&[200; 99]), 99);
        assert_eq!(header_length(&[]), 0);
    }
}
