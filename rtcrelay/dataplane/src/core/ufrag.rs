//! The routing ufrag, version 0: 27 characters that carry a route, encrypted and authenticated.
//!
//! Character 1 is version (2 bits) and key id (3 bits); characters 2 to 27 are one AES-128
//! block, most significant bits first, in lower-case base32 (RFC 4648) without padding; the two
//! spare bits are zero. The block's plaintext, big-endian: kind 4 bits, reserved 4, cluster 16,
//! endpoint 32, port 16, nonce 24, check 32. One block under a secret key is a pseudo-random
//! permutation, so the 36 bits that must be zero authenticate it: a guess passes with
//! probability 2^-36 (QUIC-LB's single-pass mode rests on the same argument).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

/// Characters of a routing ufrag.
pub const LENGTH: usize = 27;
/// Keys in a ring: their id is three bits.
pub const KEYS: usize = 8;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What a ufrag is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Media to the IPv4 endpoint in the ufrag.
    Endpoint,
    /// Media to a node of the node table.
    Node,
    /// The owner of an HTTP session; routes no media.
    Session,
    /// A stateless probe of an IPv4 endpoint.
    ProbeEndpoint,
    /// A stateless probe of a node.
    ProbeNode,
}

impl Kind {
    /// The number on the wire, 0 to 15.
    pub fn number(self) -> u8 {
        match self {
            Kind::Endpoint => 0,
            Kind::Node => 1,
            Kind::Session => 4,
            Kind::ProbeEndpoint => 8,
            Kind::ProbeNode => 9,
        }
    }

    /// The kind of a number, if it has one.
    pub fn from_number(number: u8) -> Option<Kind> {
        [Kind::Endpoint, Kind::Node, Kind::Session, Kind::ProbeEndpoint, Kind::ProbeNode]
            .into_iter()
            .find(|kind| kind.number() == number)
    }

    /// Whether the endpoint field is a node id; else it is an IPv4 address.
    pub fn names_node(self) -> bool {
        matches!(self, Kind::Node | Kind::ProbeNode)
    }

    /// Whether no session, flow or claim may come of it.
    pub fn is_probe(self) -> bool {
        matches!(self, Kind::ProbeEndpoint | Kind::ProbeNode)
    }
}

/// What a ufrag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What the ufrag is for.
    pub kind: Kind,
    /// The cluster that owns the session.
    pub cluster: u16,
    /// IPv4 address or node id, by `kind`.
    pub endpoint: u32,
    /// UDP port of the shared socket (HTTP port for a session); zero for a node.
    pub port: u16,
    /// 24 random bits.
    pub nonce: u32,
    /// The key it was made with, 0 to 7.
    pub key_id: u8,
}

impl Route {
    /// The IPv4 endpoint, unless the route names a node.
    pub fn address(&self) -> Option<SocketAddr> {
        (!self.kind.names_node()).then(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::from(self.endpoint)), self.port))
    }
}

/// Why a ufrag is not a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Not 27 characters.
    Length,
    /// A character outside `a` to `z` and `2` to `7`.
    Alphabet,
    /// A version other than 0.
    Version,
    /// The two spare bits of the last character are not zero.
    SpareBits,
    /// No key with this id.
    UnknownKey,
    /// The key was revoked.
    RevokedKey,
    /// The check is not zero: forged, or another secret.
    Check,
    /// The reserved bits are not zero.
    Reserved,
    /// An unassigned kind.
    Kind,
    /// A node with a port, or an endpoint without one.
    Port,
}

impl Invalid {
    /// The name used by the command line and the test vectors.
    pub fn name(self) -> &'static str {
        match self {
            Invalid::Length => "length",
            Invalid::Alphabet => "alphabet",
            Invalid::Version => "version",
            Invalid::SpareBits => "spare_bits",
            Invalid::UnknownKey => "unknown_key",
            Invalid::RevokedKey => "revoked_key",
            Invalid::Check => "check",
            Invalid::Reserved => "reserved",
            Invalid::Kind => "kind",
            Invalid::Port => "port",
        }
    }

    /// One sentence for an operator.
    pub fn meaning(self) -> &'static str {
        match self {
            Invalid::Length => "a routing ufrag has 27 characters",
            Invalid::Alphabet => "a routing ufrag has only the characters a to z and 2 to 7",
            Invalid::Version => "the version is not 0",
            Invalid::SpareBits => "the two spare bits of the last character are not zero",
            Invalid::UnknownKey => "the key ring has no key with the id it names",
            Invalid::RevokedKey => "the key it names is revoked",
            Invalid::Check => "the check is not zero: forged, or made with another secret",
            Invalid::Reserved => "the reserved bits are not zero",
            Invalid::Kind => "the kind is not assigned",
            Invalid::Port => "a node has no port, and an endpoint has one",
        }
    }
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Mint and accept. At most one key of a ring.
    Active,
    /// Accept only.
    Accept,
    /// Refuse.
    Revoked,
}

/// Up to eight keys by id. Never prints them, and wipes them when dropped.
#[derive(Clone, Default)]
pub struct KeyRing {
    keys: [Option<(KeyState, Option<Aes128>)>; KEYS],
}

impl KeyRing {
    /// Adds a key; the key of a revoked id is forgotten. `id` is 0 to 7.
    pub fn insert(&mut self, id: u8, secret: &[u8; 16], state: KeyState) {
        let cipher = (state != KeyState::Revoked).then(|| Aes128::new(&(*secret).into()));
        self.keys[usize::from(id)] = Some((state, cipher));
    }

    /// The id of the key that mints, if there is one.
    pub fn active(&self) -> Option<u8> {
        let at = self.keys.iter().position(|key| matches!(key, Some((KeyState::Active, _))))?;
        Some(at as u8)
    }

    /// Whether ufrags made with this key are refused by now.
    pub fn is_revoked(&self, id: u8) -> bool {
        matches!(self.cipher(id), Err(Invalid::RevokedKey))
    }

    fn cipher(&self, id: u8) -> Result<&Aes128, Invalid> {
        match self.keys.get(usize::from(id)) {
            Some(Some((_, Some(cipher)))) => Ok(cipher),
            Some(Some((_, None))) => Err(Invalid::RevokedKey),
            _ => Err(Invalid::UnknownKey),
        }
    }

    /// Makes the ufrag of a route with the key it names.
    pub fn mint(&self, route: &Route) -> Result<[u8; LENGTH], Invalid> {
        let cipher = self.cipher(route.key_id)?;
        let mut block = plaintext(route).to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        Ok(spell(route.key_id, u128::from_be_bytes(block.into())))
    }

    /// Reads the route of a ufrag.
    #[inline]
    pub fn open(&self, ufrag: &[u8]) -> Result<Route, Invalid> {
        let (key_id, block) = read(ufrag)?;
        let mut block = block.to_be_bytes().into();
        self.cipher(key_id)?.decrypt_block(&mut block);
        route(key_id, u128::from_be_bytes(block.into()))
    }
}

fn plaintext(route: &Route) -> u128 {
    u128::from(route.kind.number()) << 124
        | u128::from(route.cluster) << 104
        | u128::from(route.endpoint) << 72
        | u128::from(route.port) << 56
        | u128::from(route.nonce & 0xFF_FFFF) << 32
}

fn route(key_id: u8, plain: u128) -> Result<Route, Invalid> {
    if plain as u32 != 0 {
        return Err(Invalid::Check);
    }
    if (plain >> 120) & 0xF != 0 {
        return Err(Invalid::Reserved);
    }
    let kind = Kind::from_number((plain >> 124) as u8).ok_or(Invalid::Kind)?;
    let port = (plain >> 56) as u16;
    if kind.names_node() != (port == 0) {
        return Err(Invalid::Port);
    }
    Ok(Route {
        kind,
        cluster: (plain >> 104) as u16,
        endpoint: (plain >> 72) as u32,
        port,
        nonce: (plain >> 32) as u32 & 0xFF_FFFF,
        key_id,
    })
}

fn spell(key_id: u8, block: u128) -> [u8; LENGTH] {
    let mut out = [ALPHABET[usize::from(key_id & 7)]; LENGTH];
    for (at, character) in out[1..26].iter_mut().enumerate() {
        *character = ALPHABET[(block >> (123 - 5 * at)) as usize & 31];
    }
    out[26] = ALPHABET[(block << 2) as usize & 31]; // the last three bits and two spare ones
    out
}

#[inline]
fn read(ufrag: &[u8]) -> Result<(u8, u128), Invalid> {
    let ufrag: &[u8; LENGTH] = ufrag.try_into().map_err(|_| Invalid::Length)?;
    let value = |character: u8| match character {
        b'a'..=b'z' => Ok(character - b'a'),
        b'2'..=b'7' => Ok(character - b'2' + 26),
        _ => Err(Invalid::Alphabet),
    };
    let mut block = 0u128;
    for &character in &ufrag[1..26] {
        block = block << 5 | u128::from(value(character)?);
    }
    let (first, last) = (value(ufrag[0])?, value(ufrag[26])?);
    if first >> 3 != 0 {
        return Err(Invalid::Version);
    }
    if last & 3 != 0 {
        return Err(Invalid::SpareBits);
    }
    Ok((first & 7, block << 3 | u128::from(last >> 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> KeyRing {
        let mut ring = KeyRing::default();
        ring.insert(0, &[0x11; 16], KeyState::Active);
        ring.insert(3, &[0x33; 16], KeyState::Accept);
        ring.insert(5, &[0x55; 16], KeyState::Revoked);
        ring
    }

    fn sample(key_id: u8) -> Route {
        Route { kind: Kind::Endpoint, cluster: 7, endpoint: 0x0A00_0307, port: 7000, nonce: 0xABCDEF, key_id }
    }

    #[test]
    fn a_minted_ufrag_opens_to_its_route() {
        for key_id in [0, 3] {
            let ufrag = ring().mint(&sample(key_id)).expect("a key");
            assert_eq!(ring().open(&ufrag), Ok(sample(key_id)));
        }
    }

    #[test]
    fn keys_that_are_unknown_or_revoked_neither_mint_nor_open() {
        assert_eq!(ring().mint(&sample(1)), Err(Invalid::UnknownKey));
        assert_eq!(ring().mint(&sample(5)), Err(Invalid::RevokedKey));
        let mut ufrag = ring().mint(&sample(0)).expect("a key");
        ufrag[0] = b'b';
        assert_eq!(ring().open(&ufrag), Err(Invalid::UnknownKey));
        ufrag[0] = b'f';
        assert_eq!(ring().open(&ufrag), Err(Invalid::RevokedKey));
    }

    #[test]
    fn one_changed_character_is_refused() {
        let ufrag = ring().mint(&sample(0)).expect("a key");
        for at in 0..LENGTH {
            for other in *ALPHABET {
                let mut changed = ufrag;
                changed[at] = other;
                if changed != ufrag {
                    assert!(ring().open(&changed).is_err(), "{}", String::from_utf8_lossy(&changed));
                }
            }
        }
    }

    #[test]
    fn foreign_ufrags_are_told_apart() {
        let ufrag = ring().mint(&sample(0)).expect("a key");
        assert_eq!(ring().open(b""), Err(Invalid::Length));
        assert_eq!(ring().open(&ufrag[..26]), Err(Invalid::Length));
        assert_eq!(ring().open(&ufrag.to_ascii_uppercase()), Err(Invalid::Alphabet));
        let mut changed = ufrag;
        changed[0] = b'i';
        assert_eq!(ring().open(&changed), Err(Invalid::Version));
        changed = ufrag;
        changed[26] = ALPHABET[ALPHABET.iter().position(|c| *c == ufrag[26]).expect("in it") | 1];
        assert_eq!(ring().open(&changed), Err(Invalid::SpareBits));
    }
}
