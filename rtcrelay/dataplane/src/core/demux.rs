//! What a datagram is, judged by its first byte and then its length.
//!
//! RFC 7983 section 7 as updated by RFC 9443: one socket carries STUN, DTLS, RTP and RTCP; the
//! other ranges belong to protocols that are not relayed. A class is a promise about the first
//! bytes only, not that the rest will parse.

use crate::stats::DropReason;

/// The largest payload in bytes that is passed on, either way.
///
/// 1500 is Ethernet's MTU; a longer one kills stock aiortc's DTLS transport (measured 2026-11).
pub const MAX_PAYLOAD: usize = 1500;

/// The protocols that are relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// STUN (RFC 8489): first byte 0 to 3, at least 20 bytes.
    Stun,
    /// DTLS (RFC 6347, 9147): first byte 20 to 63, at least 13 bytes.
    Dtls,
    /// RTP or SRTP (RFC 3550): first byte 128 to 191, at least 12 bytes.
    Rtp,
    /// RTCP or SRTCP: as RTP, second byte 192 to 223 (RFC 5761 section 4), at least 8 bytes.
    Rtcp,
}

/// A payload whose class is known.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What it is.
    pub class: Class,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// Says what a payload is, or why it is dropped.
#[inline]
pub fn classify(payload: &[u8]) -> Result<Class, DropReason> {
    let Some(&first) = payload.first() else {
        return Err(DropReason::Empty);
    };
    if payload.len() > MAX_PAYLOAD {
        return Err(DropReason::Oversize);
    }
    match first {
        0..=3 if payload.len() >= 20 => Ok(Class::Stun),
        0..=3 => Err(DropReason::ShortStun),
        4..=15 => Err(DropReason::FirstByte),
        16..=19 => Err(DropReason::Zrtp),
        20..=63 if payload.len() >= 13 => Ok(Class::Dtls),
        20..=63 => Err(DropReason::ShortDtls),
        64..=79 => Err(DropReason::TurnChannel),
        80..=127 => Err(DropReason::Quic),
        128..=191 => match payload.get(1) {
            Some(192..=223) if payload.len() >= 8 => Ok(Class::Rtcp),
            Some(192..=223) | None => Err(DropReason::ShortRtp),
            Some(_) if payload.len() >= 12 => Ok(Class::Rtp),
            Some(_) => Err(DropReason::ShortRtp),
        },
        192..=255 => Err(DropReason::Quic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_the_class_of_rfc_9443() {
        for first in 0..=255u8 {
            let mut payload = [0u8; 64];
            payload[0] = first;
            let expected = match first {
                0..=3 => Ok(Class::Stun),
                4..=15 => Err(DropReason::FirstByte),
                16..=19 => Err(DropReason::Zrtp),
                20..=63 => Ok(Class::Dtls),
                64..=79 => Err(DropReason::TurnChannel),
                128..=191 => Ok(Class::Rtp),
                _ => Err(DropReason::Quic),
            };
            assert_eq!(classify(&payload), expected, "first byte {first}");
        }
    }

    #[test]
    fn lengths_are_judged_at_their_exact_limits() {
        let of = |first: u8, second: u8, length: usize| {
            let mut payload = vec![0u8; length];
            payload[0] = first;
            if length > 1 {
                payload[1] = second;
            }
            classify(&payload)
        };
        assert_eq!(classify(&[]), Err(DropReason::Empty));
        assert_eq!(of(0, 1, 20), Ok(Class::Stun));
        assert_eq!(of(0, 1, 19), Err(DropReason::ShortStun));
        assert_eq!(of(22, 254, 13), Ok(Class::Dtls));
        assert_eq!(of(22, 254, 12), Err(DropReason::ShortDtls));
        assert_eq!(of(128, 111, 12), Ok(Class::Rtp));
        assert_eq!(of(128, 111, 11), Err(DropReason::ShortRtp));
        assert_eq!(of(128, 200, 8), Ok(Class::Rtcp));
        assert_eq!(of(128, 200, 7), Err(DropReason::ShortRtp));
        assert_eq!(of(128, 0, 1), Err(DropReason::ShortRtp));
        assert_eq!(of(128, 191, 12), Ok(Class::Rtp));
        assert_eq!(of(128, 223, 12), Ok(Class::Rtcp));
        assert_eq!(of(128, 224, 12), Ok(Class::Rtp));
        assert_eq!(of(128, 111, MAX_PAYLOAD), Ok(Class::Rtp));
        assert_eq!(of(128, 111, MAX_PAYLOAD + 1), Err(DropReason::Oversize));
    }
}
