//! Addresses in compact form, the key of a path, and networks.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::spp;

/// An IP address and a port, IPv4 mapped into IPv6: 18 bytes, where `SocketAddr` takes 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    ip: [u8; 16],
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// The IP address; a mapped IPv4 address is IPv4.
    pub fn ip(&self) -> IpAddr {
        spp::canonical(self.ip)
    }

    /// Whether it is an IPv4 address, mapped into IPv6.
    fn is_ipv4(&self) -> bool {
        self.ip[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]
    }

    /// Sixteen bytes of IP address and the port.
    pub fn bytes(&self) -> [u8; 18] {
        let mut bytes = [0u8; 18];
        bytes[..16].copy_from_slice(&self.ip);
        bytes[16..].copy_from_slice(&self.port.to_be_bytes());
        bytes
    }

    /// Whether no client can be there: port 0, unspecified, multicast, broadcast, or an IPv6
    /// address that means something on one link only.
    #[inline]
    pub fn is_nobody(&self) -> bool {
        self.port == 0
            || match self.ip() {
                IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
                IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local(),
            }
    }

    /// The part of the address that one customer usually has: `v4` bits of an IPv4 address, the
    /// first 56 of an IPv6 address.
    pub fn prefix(&self, v4: u32) -> [u8; 16] {
        let length = if self.is_ipv4() { 96 + v4 } else { 56 };
        (u128::from_be_bytes(self.ip) & mask(length)).to_be_bytes()
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Endpoint { ip: spp::octets(address.ip()), port: address.port() }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        SocketAddr::new(endpoint.ip(), endpoint.port)
    }
}

/// What a path is known by. The ingress id belongs to it: behind one NAT two users can have the
/// same source address towards two VIPs (seen in an experiment, 2026-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathKey {
    /// The client as the ingress relay sees it.
    pub client: Endpoint,
    /// The port of the ingress relay's internal socket.
    pub ingress: u16,
}

impl PathKey {
    /// Sixteen bytes of IP address, port, ingress id.
    pub fn bytes(&self) -> [u8; 20] {
        let mut bytes = [0u8; 20];
        bytes[..18].copy_from_slice(&self.client.bytes());
        bytes[18..].copy_from_slice(&self.ingress.to_be_bytes());
        bytes
    }
}

/// A CIDR, perhaps with ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    is_ipv4: bool,
    prefix: u128,
    length: u32,
    ports: RangeInclusive<u16>,
}

impl Network {
    /// Whether an address lies in it.
    #[inline]
    pub fn contains(&self, endpoint: &Endpoint) -> bool {
        u128::from_be_bytes(endpoint.ip) & mask(self.length) == self.prefix
            && self.is_ipv4 == endpoint.is_ipv4()
            && self.ports.contains(&endpoint.port)
    }

    fn overlaps(&self, other: &Network) -> bool {
        let shared = mask(self.length.min(other.length));
        self.is_ipv4 == other.is_ipv4
            && self.prefix & shared == other.prefix & shared
            && self.ports.start() <= other.ports.end()
            && other.ports.start() <= self.ports.end()
    }
}

/// The first `length` bits of 128.
fn mask(length: u32) -> u128 {
    u128::MAX.checked_shl(128 - length).unwrap_or(0)
}

impl FromStr for Network {
    type Err = String;

    /// Reads `CIDR`, `CIDR:PORT` or `CIDR:FIRST-LAST`; an IPv6 CIDR with ports stands in brackets.
    fn from_str(text: &str) -> Result<Network, String> {
        let wrong = |what: &str| format!("{text:?} is not a network: {what}");
        let (cidr, ports) = match text.strip_prefix('[') {
            Some(rest) => {
                let (cidr, after) = rest.split_once(']').ok_or_else(|| wrong("the bracket is not closed"))?;
                (
                    cidr,
                    if after.is_empty() {
                        None
                    } else {
                        Some(after.strip_prefix(':').ok_or_else(|| wrong("after the bracket comes :PORT"))?)
                    },
                )
            }
            None if text.matches(':').count() > 1 => (text, None),
            None => text.split_once(':').map_or((text, None), |(cidr, ports)| (cidr, Some(ports))),
        };
        let (ip, length) = cidr.split_once('/').map_or((cidr, None), |(ip, length)| (ip, Some(length)));
        let ip: IpAddr = ip.parse().map_err(|_| wrong("an IPv4 or IPv6 address comes first"))?;
        let bits: u32 = if ip.is_ipv4() { 32 } else { 128 };
        let length = match length {
            Some(length) => length
                .parse()
                .ok()
                .filter(|l| *l <= bits)
                .ok_or_else(|| wrong(&format!("the prefix length is 0 to {bits}")))?,
            None => bits,
        };
        let length = length + (128 - bits);
        let prefix = u128::from_be_bytes(spp::octets(ip));
        if prefix & mask(length) != prefix {
            let network = spp::canonical((prefix & mask(length)).to_be_bytes());
            return Err(wrong(&format!("it has host bits set, the network is {network}/{}", length - (128 - bits))));
        }
        Ok(Network {
            is_ipv4: ip.is_ipv4(),
            prefix,
            length,
            ports: ports.map_or(Ok(0..=u16::MAX), read_ports).map_err(|what| wrong(&what))?,
        })
    }
}

fn read_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(format!("{text:?} is not a port or a range of ports from 1 to 65535")),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = Ipv6Addr::from(self.prefix);
        let (ip, length) = if self.is_ipv4 { (ip.to_canonical(), self.length - 96) } else { (ip.into(), self.length) };
        let (first, last) = (self.ports.start(), self.ports.end());
        match (ip, *first == 0) {
            (_, true) => write!(f, "{ip}/{length}"),
            (IpAddr::V4(_), _) if first == last => write!(f, "{ip}/{length}:{first}"),
            (IpAddr::V4(_), _) => write!(f, "{ip}/{length}:{first}-{last}"),
            (IpAddr::V6(_), _) if first == last => write!(f, "[{ip}/{length}]:{first}"),
            (IpAddr::V6(_), _) => write!(f, "[{ip}/{length}]:{first}-{last}"),
        }
    }
}

/// A list of networks; usually one to ten, so it is searched in order.
#[derive(Clone, Debug, Default)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// Reads each text.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Networks, String> {
        texts.iter().map(|text| text.as_ref().parse()).collect::<Result<_, _>>().map(Networks)
    }

    /// Whether any of them contains the address.
    #[inline]
    pub fn contains(&self, endpoint: &Endpoint) -> bool {
        self.0.iter().any(|network| network.contains(endpoint))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A network of each list that share an address and a port.
    pub fn overlap<'a>(&'a self, other: &'a Networks) -> Option<(&'a Network, &'a Network)> {
        self.0.iter().find_map(|mine| other.0.iter().find(|theirs| mine.overlaps(theirs)).map(|theirs| (mine, theirs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse::<SocketAddr>().expect("an address").into()
    }

    #[test]
    fn networks_contain_what_their_text_says() {
        let network: Network = "10.0.0.0/8:7000-7009".parse().expect("a network");
        assert!(network.contains(&endpoint("10.255.0.1:7000")));
        assert!(network.contains(&endpoint("[::ffff:10.1.2.3]:7009")));
        assert!(!network.contains(&endpoint("10.255.0.1:7010")));
        assert!(!network.contains(&endpoint("11.0.0.1:7000")));
        let network: Network = "[2001:db8::/64]:7000".parse().expect("a network");
        assert!(network.contains(&endpoint("[2001:db8::9]:7000")));
        assert!(!network.contains(&endpoint("[2001:db8:0:1::9]:7000")));
        assert!("::/0".parse::<Network>().expect("a network").contains(&endpoint("[2001:db8::9]:1")));
        assert!(!"::/0".parse::<Network>().expect("a network").contains(&endpoint("1.2.3.4:1")));
        assert!("0.0.0.0/0".parse::<Network>().expect("a network").contains(&endpoint("1.2.3.4:1")));
        assert!(!"0.0.0.0/0".parse::<Network>().expect("a network").contains(&endpoint("[2001:db8::9]:1")));
    }

    #[test]
    fn a_network_is_written_as_it_is_read() {
        for text in [
            "10.0.0.0/8",
            "10.0.0.1/32:7000",
            "10.0.0.0/24:1-2",
            "2001:db8::/32",
            "[2001:db8::/64]:7000",
            "[::1/128]:1-9",
        ] {
            assert_eq!(text.parse::<Network>().expect("a network").to_string(), text);
        }
    }

    #[test]
    fn wrong_networks_say_what_is_wrong() {
        for (text, part) in [
            ("10.0.0.1/8", "the network is 10.0.0.0/8"),
            ("10.0.0.0/33", "0 to 32"),
            ("2001:db8::/129", "0 to 128"),
            ("ten/8", "address comes first"),
            ("10.0.0.0/8:0", "not a port"),
            ("10.0.0.0/8:9-3", "not a port"),
            ("[::1", "not closed"),
            ("[::1]7", "comes :PORT"),
            ("", "address comes first"),
        ] {
            let error = text.parse::<Network>().expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn networks_overlap_only_where_addresses_and_ports_do() {
        let of = |text: &str| Networks::parse(&[text]).expect("a network");
        assert!(of("10.0.0.0/8").overlap(&of("10.3.0.0/16")).is_some());
        assert!(of("10.0.0.0/8:1-5").overlap(&of("10.3.0.0/16:6-9")).is_none());
        assert!(of("10.0.0.0/16").overlap(&of("10.3.0.0/16")).is_none());
    }

    #[test]
    fn nobody_is_at_impossible_addresses() {
        for text in
            ["0.0.0.0:1", "1.2.3.4:0", "224.0.0.1:5", "255.255.255.255:5", "[::]:5", "[ff02::1]:5", "[fe80::1]:5"]
        {
            assert!(endpoint(text).is_nobody(), "{text}");
        }
        assert!(!endpoint("127.0.0.1:5").is_nobody());
    }
}
