//! The path table as bytes, for the process that takes over.
//!
//! The reader may be of another version than the writer, so the format has a name and a version
//! and is read strictly: anything unexpected ends the reading with an error, and what was read
//! before stays. Times travel as ages, for the two processes have no clock in common.

use std::net::IpAddr;
use std::time::Duration;

use super::address::{Endpoint, PathKey};
use super::path::{Claim, Path, Standing};
use super::spp;
use super::time::Time;

/// The first bytes.
const NAME: &[u8; 20] = b"rtcrelay snapshot 1\n";

/// Why bytes are not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It does not begin as one of this version.
    Name,
    /// It ends within a path, or a path says something impossible.
    Path,
}

/// A snapshot that is being written.
pub struct Writer {
    bytes: Vec<u8>,
    now: Time,
}

impl Writer {
    /// An empty snapshot of this moment.
    pub fn new(now: Time) -> Writer {
        Writer { bytes: NAME.to_vec(), now }
    }

    /// Adds a path with its live claims.
    pub fn push(&mut self, path: &Path) {
        self.bytes.extend(path.key.bytes());
        self.push_local(path.local());
        self.push_age(path.first_seen());
        self.push_age(path.last_packet());
        for count in [path.packets_in, path.bytes_in, path.packets_out, path.bytes_out] {
            self.bytes.extend(count.to_be_bytes());
        }
        let now = self.now;
        let claims = path.claims().filter(|claim| !claim.is_over(now));
        let at = self.bytes.len();
        self.bytes.push(0);
        for claim in claims {
            self.bytes[at] += 1;
            self.bytes.extend(claim.next_hop.bytes());
            self.bytes.push(claim.standing as u8);
            self.push_age(claim.since);
            self.bytes.push(claim.key_id.unwrap_or(u8::MAX));
            self.push_local(claim.local);
        }
    }

    fn push_age(&mut self, at: Time) {
        let age = u64::try_from(self.now.since(at).as_micros()).unwrap_or(u64::MAX);
        self.bytes.extend(age.to_be_bytes());
    }

    fn push_local(&mut self, local: Option<IpAddr>) {
        self.bytes.push(local.is_some().into());
        self.bytes.extend(local.map_or([0; 16], spp::octets));
    }

    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads a snapshot path by path.
pub struct Reader<'a> {
    rest: &'a [u8],
    now: Time,
}

impl<'a> Reader<'a> {
    /// Checks the name.
    pub fn new(bytes: &'a [u8], now: Time) -> Result<Reader<'a>, Malformed> {
        let rest = bytes.strip_prefix(&NAME[..]).ok_or(Malformed::Name)?;
        Ok(Reader { rest, now })
    }

    /// The next path; none at the end.
    pub fn pull(&mut self) -> Result<Option<Path>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let client = self.pull_endpoint()?;
        let key = PathKey { client, ingress: u16::from_be_bytes(self.take()?) };
        let mut path = Path::new(key, self.now);
        path.set_local(self.pull_local()?);
        let (first, last) = (self.pull_age()?, self.pull_age()?);
        path.set_seen(first, last);
        for count in [&mut path.packets_in, &mut path.bytes_in, &mut path.packets_out, &mut path.bytes_out] {
            *count = u64::from_be_bytes(self.take()?);
        }
        for _ in 0..self.take::<1>()?[0] {
            let claim = self.pull_claim()?;
            if !path.take_over(claim) {
                return Err(Malformed::Path);
            }
        }
        Ok(Some(path))
    }

    fn pull_claim(&mut self) -> Result<Claim, Malformed> {
        let next_hop = self.pull_endpoint()?;
        let standing = match self.take::<1>()?[0] {
            0 => Standing::Pending,
            1 => Standing::Weak,
            2 => Standing::Strong,
            _ => return Err(Malformed::Path),
        };
        let since = self.pull_age()?;
        let key_id = Some(self.take::<1>()?[0]).filter(|id| usize::from(*id) < super::ufrag::KEYS);
        Ok(Claim { since, key_id, local: self.pull_local()?, ..Claim::without_ufrag(next_hop, standing, self.now) })
    }

    fn pull_endpoint(&mut self) -> Result<Endpoint, Malformed> {
        let ip = spp::canonical(self.take()?);
        Ok(std::net::SocketAddr::new(ip, u16::from_be_bytes(self.take()?)).into())
    }

    fn pull_age(&mut self) -> Result<Time, Malformed> {
        let age = Duration::from_micros(u64::from_be_bytes(self.take()?));
        Ok(self.now.before(age))
    }

    fn pull_local(&mut self) -> Result<Option<IpAddr>, Malformed> {
        let there = self.take::<1>()?[0] == 1;
        let ip = spp::canonical(self.take()?);
        Ok(there.then_some(ip))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Path)?;
        self.rest = rest;
        Ok(*taken)
    }
}
