//! The header between relays and transceivers: Cloudflare's Simple Proxy Protocol.
//!
//! 38 bytes before every datagram, both ways: magic 0x56EC, client address, proxy address (16
//! bytes each, IPv4 mapped into IPv6), client port, proxy port, all big-endian. The ingress
//! relay writes it; every other party copies the 36 bytes after the magic unchanged.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Bytes of the header.
pub const HEADER: usize = 38;
/// The first two bytes.
pub const MAGIC: [u8; 2] = [0x56, 0xEC];

/// The two addresses a header carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The client as the ingress relay sees it.
    pub client: SocketAddr,
    /// The return address: the internal socket of the relay that received the datagram.
    pub proxy: SocketAddr,
}

/// Why bytes are not an SPP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer than 38 bytes.
    Short,
    /// The first two bytes are not 0x56EC.
    Magic,
}

/// The header as bytes.
#[inline]
pub fn pack(header: &Header) -> [u8; HEADER] {
    let mut bytes = [0u8; HEADER];
    bytes[..2].copy_from_slice(&MAGIC);
    bytes[2..18].copy_from_slice(&octets(header.client.ip()));
    bytes[18..34].copy_from_slice(&octets(header.proxy.ip()));
    bytes[34..36].copy_from_slice(&header.client.port().to_be_bytes());
    bytes[36..38].copy_from_slice(&header.proxy.port().to_be_bytes());
    bytes
}

/// Splits a datagram into header and payload. An empty payload is an announce.
#[inline]
pub fn unpack(datagram: &[u8]) -> Result<(Header, &[u8]), Malformed> {
    let (header, payload) = datagram.split_first_chunk::<HEADER>().ok_or(Malformed::Short)?;
    if header[..2] != MAGIC {
        return Err(Malformed::Magic);
    }
    let address = |at: usize, port: usize| {
        let mut ip = [0u8; 16];
        ip.copy_from_slice(&header[at..at + 16]);
        SocketAddr::new(canonical(ip), u16::from_be_bytes([header[port], header[port + 1]]))
    };
    Ok((Header { client: address(2, 34), proxy: address(18, 36) }, payload))
}

/// An address as 16 bytes, IPv4 mapped into IPv6.
#[inline]
pub fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Sixteen bytes as an address; a mapped IPv4 address becomes IPv4.
#[inline]
pub fn canonical(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            client: "198.51.100.7:51234".parse().expect("an address"),
            proxy: "[2001:db8::1]:3479".parse().expect("an address"),
        }
    }

    #[test]
    fn the_layout_is_cloudflares() {
        let bytes = pack(&header());
        assert_eq!(bytes[..2], [0x56, 0xEC]);
        assert_eq!(bytes[2..18], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 198, 51, 100, 7]);
        assert_eq!(bytes[18..34], [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(bytes[34..38], [0xC8, 0x22, 0x0D, 0x97]);
    }

    #[test]
    fn a_packed_header_unpacks_to_itself() {
        let mut datagram = pack(&header()).to_vec();
        assert_eq!(unpack(&datagram), Ok((header(), &b""[..])));
        datagram.extend(b"payload");
        assert_eq!(unpack(&datagram), Ok((header(), &b"payload"[..])));
    }

    #[test]
    fn too_short_and_wrong_magic_are_told_apart() {
        let mut datagram = pack(&header()).to_vec();
        assert_eq!(unpack(&datagram[..37]), Err(Malformed::Short));
        assert_eq!(unpack(&[]), Err(Malformed::Short));
        datagram[1] ^= 1;
        assert_eq!(unpack(&datagram), Err(Malformed::Magic));
    }
}
