//! The STUN attribute reader, and the one message a relay writes itself.
//!
//! RFC 8489. The reader checks the frame (header, cookie, lengths) and walks the attributes; it
//! knows nothing of their meaning. The relay never changes a STUN message and holds no password;
//! integrity is the transceiver's affair.

use std::net::{IpAddr, SocketAddr};

/// Bytes of the message header.
pub const HEADER: usize = 20;
/// The magic cookie at bytes 4 to 7.
pub const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
/// A binding request (method 1, class request).
pub const BINDING_REQUEST: u16 = 0x0001;
/// A binding success response.
pub const BINDING_SUCCESS: u16 = 0x0101;
/// USERNAME (RFC 8489 section 14.3).
pub const USERNAME: u16 = 0x0006;
/// XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).
pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// FINGERPRINT (RFC 8489 section 14.7).
pub const FINGERPRINT: u16 = 0x8028;
/// The CRC-32 of a FINGERPRINT is XORed with this ("STUN").
const FINGERPRINT_XOR: u32 = 0x5354_554E;
/// The longest binding response: header, XOR-MAPPED-ADDRESS with IPv6, FINGERPRINT.
pub const MAX_RESPONSE: usize = HEADER + 24 + 8;

/// A STUN message whose frame and attribute lengths are right.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
}

/// One attribute: its type, where its value begins in the message, and the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The registered number.
    pub kind: u16,
    /// Offset of the value from the start of the message, in bytes.
    pub offset: usize,
    /// The value without its padding.
    pub value: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message: the first two bits are zero, the cookie is there, the length is
    /// that of the datagram, and the attributes, padded to four bytes, fill it exactly.
    #[inline]
    pub fn read(bytes: &'a [u8]) -> Option<Message<'a>> {
        let length = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
        if bytes.len() < HEADER
            || bytes[0] > 3
            || bytes[4..8] != COOKIE
            || length % 4 != 0
            || length != bytes.len() - HEADER
        {
            return None;
        }
        let mut rest = &bytes[HEADER..];
        while !rest.is_empty() {
            rest = rest.get(4 + padded(value_length(rest))..)?;
        }
        Some(Message { bytes })
    }

    /// Method and class, as the first 16 bits hold them.
    pub fn kind(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// The 96-bit transaction id.
    pub fn transaction(&self) -> &'a [u8] {
        &self.bytes[8..20]
    }

    /// The attributes in their order.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes { bytes: self.bytes, at: HEADER }
    }

    /// The value of the first attribute of this kind.
    pub fn find(&self, kind: u16) -> Option<Attribute<'a>> {
        self.attributes().find(|attribute| attribute.kind == kind)
    }

    /// Whether a FINGERPRINT is right; `None` if there is none.
    pub fn fingerprint_is_right(&self) -> Option<bool> {
        let attribute = self.find(FINGERPRINT)?;
        let start = attribute.offset - 4;
        Some(start + 8 == self.bytes.len() && attribute.value == fingerprint(&self.bytes[..start]).to_be_bytes())
    }
}

/// Walks the attributes of a message.
pub struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    #[inline]
    fn next(&mut self) -> Option<Attribute<'a>> {
        let rest = self.bytes.get(self.at..).filter(|rest| rest.len() >= 4)?;
        let length = value_length(rest);
        let attribute = Attribute {
            kind: u16::from_be_bytes([rest[0], rest[1]]),
            offset: self.at + 4,
            value: rest.get(4..4 + length)?,
        };
        self.at += 4 + padded(length);
        Some(attribute)
    }
}

/// The length field of the attribute at the start of `rest`, or more than fits if it is cut off.
#[inline]
fn value_length(rest: &[u8]) -> usize {
    match rest {
        [_, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => usize::from(u16::MAX),
    }
}

#[inline]
fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// CRC-32 of what precedes the attribute, whose header already counts the attribute itself.
fn fingerprint(before: &[u8]) -> u32 {
    crc32fast::hash(before) ^ FINGERPRINT_XOR
}

/// Writes the answer to a binding request without USERNAME: XOR-MAPPED-ADDRESS, and FINGERPRINT
/// if the request had one. Returns the bytes written.
pub fn write_binding_success(request: &Message<'_>, mapped: SocketAddr, out: &mut [u8; MAX_RESPONSE]) -> usize {
    let with_fingerprint = request.find(FINGERPRINT).is_some();
    out[8..20].copy_from_slice(request.transaction());
    out[4..8].copy_from_slice(&COOKIE);
    let mut mask = [0u8; 16];
    mask[..4].copy_from_slice(&COOKIE);
    mask[4..].copy_from_slice(request.transaction());
    let address = match mapped.ip() {
        IpAddr::V4(ip) => write_xored(&ip.octets(), &mask, 1, mapped.port(), &mut out[HEADER..]),
        IpAddr::V6(ip) => write_xored(&ip.octets(), &mask, 2, mapped.port(), &mut out[HEADER..]),
    };
    let end = HEADER + address;
    let length = address + if with_fingerprint { 8 } else { 0 };
    out[..2].copy_from_slice(&BINDING_SUCCESS.to_be_bytes());
    out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    if with_fingerprint {
        let crc = fingerprint(&out[..end]);
        out[end..end + 2].copy_from_slice(&FINGERPRINT.to_be_bytes());
        out[end + 2..end + 4].copy_from_slice(&4u16.to_be_bytes());
        out[end + 4..end + 8].copy_from_slice(&crc.to_be_bytes());
    }
    HEADER + length
}

fn write_xored(ip: &[u8], mask: &[u8; 16], family: u8, port: u16, out: &mut [u8]) -> usize {
    out[..2].copy_from_slice(&XOR_MAPPED_ADDRESS.to_be_bytes());
    out[2..4].copy_from_slice(&(4 + ip.len() as u16).to_be_bytes());
    out[4] = 0;
    out[5] = family;
    out[6..8].copy_from_slice(&(port ^ 0x2112).to_be_bytes());
    for (to, (byte, mask)) in out[8..].iter_mut().zip(ip.iter().zip(mask)) {
        *to = byte ^ mask;
    }
    8 + ip.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 section 2.1: a request with SOFTWARE, PRIORITY, ICE-CONTROLLED, USERNAME,
    /// MESSAGE-INTEGRITY and FINGERPRINT.
    const REQUEST: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
\x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\
\x00\x06\x00\x09\x65\x76\x74\x6a\x3a\x68\x36\x76\x59\x20\x20\x20\
\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
\x80\x28\x00\x04\xe5\x7a\x3b\xcf";

    #[test]
    fn the_request_of_rfc_5769_is_read() {
        let message = Message::read(REQUEST).expect("a valid message");
        assert_eq!(message.kind(), BINDING_REQUEST);
        let kinds: Vec<u16> = message.attributes().map(|attribute| attribute.kind).collect();
        assert_eq!(kinds, [0x8022, 0x0024, 0x8029, 0x0006, 0x0008, 0x8028]);
        assert_eq!(message.find(USERNAME).expect("a username").value, b"evtj:h6vY");
        assert_eq!(message.fingerprint_is_right(), Some(true));
    }

    #[test]
    fn one_changed_bit_anywhere_spoils_the_fingerprint_or_the_frame() {
        for at in 0..REQUEST.len() {
            let mut changed = REQUEST.to_vec();
            changed[at] ^= 1;
            let right = Message::read(&changed).and_then(|message| message.fingerprint_is_right());
            assert_ne!(right, Some(true), "byte {at}");
        }
    }

    #[test]
    fn every_cut_of_a_message_is_refused() {
        for length in 0..REQUEST.len() {
            assert!(Message::read(&REQUEST[..length]).is_none(), "{length} bytes");
        }
        let mut long = REQUEST.to_vec();
        long.extend([0; 4]);
        assert!(Message::read(&long).is_none());
    }

    #[test]
    fn a_first_byte_over_three_is_no_stun() {
        let mut other = REQUEST.to_vec();
        other[0] |= 0x40;
        assert!(Message::read(&other).is_none());
    }

    #[test]
    fn a_fingerprint_that_is_not_last_is_wrong() {
        let mut longer = REQUEST.to_vec();
        longer.extend([0x80, 0x22, 0, 0]);
        longer[3] += 4;
        assert_eq!(Message::read(&longer).expect("a valid frame").fingerprint_is_right(), Some(false));
    }

    #[test]
    fn an_attribute_that_leaves_the_message_is_refused() {
        let mut message = [0u8; 28];
        message[3] = 8;
        message[4..8].copy_from_slice(&COOKIE);
        message[22..24].copy_from_slice(&4u16.to_be_bytes());
        assert!(Message::read(&message).is_some());
        message[22..24].copy_from_slice(&5u16.to_be_bytes());
        assert!(Message::read(&message).is_none());
    }

    #[test]
    fn the_answer_holds_the_mapped_address_of_rfc_5769() {
        // Sections 2.2 and 2.3: 192.0.2.1 port 32853, and 2001:db8:1234:5678:11:2233:4455:6677.
        let request = Message::read(REQUEST).expect("a valid message");
        for (address, value) in [
            ("192.0.2.1:32853", &b"\x00\x01\xa1\x47\xe1\x12\xa6\x43"[..]),
            (
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
                &b"\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9"[..],
            ),
        ] {
            let mut out = [0u8; MAX_RESPONSE];
            let length = write_binding_success(&request, address.parse().expect("an address"), &mut out);
            let answer = Message::read(&out[..length]).expect("a valid message");
            assert_eq!(answer.kind(), BINDING_SUCCESS);
            assert_eq!(answer.transaction(), request.transaction());
            assert_eq!(answer.find(XOR_MAPPED_ADDRESS).expect("an address").value, value);
            assert_eq!(answer.fingerprint_is_right(), Some(true));
        }
    }

    #[test]
    fn without_a_fingerprint_the_answer_has_none() {
        let mut bytes = [0u8; 20];
        bytes[1] = 1;
        bytes[4..8].copy_from_slice(&COOKIE);
        let request = Message::read(&bytes).expect("a valid message");
        let mut out = [0u8; MAX_RESPONSE];
        let length = write_binding_success(&request, "192.0.2.1:1".parse().expect("an address"), &mut out);
        assert_eq!(length, 32);
        assert_eq!(Message::read(&out[..length]).expect("a valid message").fingerprint_is_right(), None);
    }
}
