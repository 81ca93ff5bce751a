//! Which datagrams leave together: pure, so that it can be tried with any sequence.
//!
//! The kernel cuts a group into datagrams of equal size, of which the last may be shorter (UDP
//! GSO). Sizes differ, so a datagram may leave before one of another flow that came earlier; the
//! order within a flow is kept.

use std::net::IpAddr;

use crate::core::address::Endpoint;

/// Datagrams that wait at most.
pub const QUEUE: usize = 512;
/// Datagrams in a group: UDP_MAX_SEGMENTS before Linux 6.9.
pub const GROUP: usize = 64;
/// Bytes of a group: the largest UDP payload over IPv4 is 65,507, over IPv6 65,487.
pub const GROUP_BYTES: usize = 65_000;
/// The largest datagram of a group at first: what fits into an Ethernet frame over IPv6. The
/// kernel refuses groups of larger ones than the way out takes.
const SEGMENT: usize = 1452;
/// Groups looked at for a place; chosen: a batch of voice has fewer sizes.
const LOOK_BACK: usize = 32;
/// Flows told apart when datagrams change places; two in one place are kept in order as well.
const FLOWS: usize = 256;
const END: u16 = u16::MAX;

/// What decides with whom a datagram leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Bytes.
    pub length: usize,
    /// Where it goes.
    pub to: Endpoint,
    /// The address to send from, on a wildcard socket.
    pub from: Option<IpAddr>,
    /// Any number that the datagrams of one flow share.
    pub flow: u32,
}

/// Datagrams that leave together.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The number of the first; `Groups::members` has the others.
    pub first: u16,
    last: u16,
    /// How many.
    pub count: u16,
    /// Bytes of each but the last, which may be shorter.
    pub size: u16,
    bytes: u32,
    /// The first group that this group's only datagram may join.
    not_before: u16,
    is_closed: bool,
}

/// The groups of the datagrams that wait.
pub struct Groups {
    groups: Vec<Group>,
    /// For each datagram, the next one of its group.
    next: Box<[u16]>,
    /// For each flow of this round: the group of its last datagram.
    last_group: Box<[(u32, u16)]>,
    round: u32,
    /// The largest datagram that is grouped; 0 once the kernel has said that it groups none.
    segment: usize,
}

impl Default for Groups {
    fn default() -> Groups {
        Groups {
            groups: Vec::with_capacity(QUEUE),
            next: vec![END; QUEUE].into(),
            last_group: vec![(0, 0); FLOWS].into(),
            round: 0,
            segment: SEGMENT,
        }
    }
}

impl Groups {
    /// Puts `count` datagrams (at most 512) into groups; `datagram` describes each.
    pub fn form(&mut self, count: usize, datagram: impl Fn(usize) -> Datagram) {
        self.groups.clear();
        self.round = self.round.wrapping_add(1);
        for at in 0..count {
            self.next[at] = END;
            let one = datagram(at);
            let flow = one.flow as usize % FLOWS;
            let (round, group) = self.last_group[flow];
            let not_before = if round == self.round { group } else { 0 };
            let place = self.place(&one, usize::from(not_before), &datagram);
            match place {
                Some(group) => self.join(group, at, one.length),
                None => self.groups.push(Group {
                    first: at as u16,
                    last: at as u16,
                    count: 1,
                    size: one.length as u16,
                    bytes: one.length as u32,
                    not_before,
                    is_closed: one.length > self.segment || one.length == 0,
                }),
            }
            self.last_group[flow] = (self.round, place.unwrap_or(self.groups.len() - 1) as u16);
        }
        if self.groups.len() > 1 && self.segment > 0 {
            self.join_single_ones(datagram);
        }
    }

    /// The groups, in the order in which they leave.
    pub fn all(&self) -> &[Group] {
        &self.groups
    }

    /// The numbers of a group's datagrams, in order.
    pub fn members(&self, group: &Group) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(usize::from(group.first)), |at| self.after(*at))
    }

    /// The datagram that follows another in its group.
    pub fn after(&self, at: usize) -> Option<usize> {
        Some(self.next[at]).filter(|next| *next != END).map(usize::from)
    }

    /// What a refusal of groups of datagrams of `size` says about groups to come: EIO that this way
    /// out cannot have any (no checksum offload, IPsec), EINVAL or EMSGSIZE that it does not take
    /// datagrams of this size in groups.
    pub fn learn(&mut self, size: u16, error: Option<i32>) {
        match error {
            Some(libc::EINVAL | libc::EMSGSIZE) => self.segment = self.segment.min(usize::from(size).saturating_sub(1)),
            Some(libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT) => self.segment = 0,
            _ => {}
        }
    }

    /// A group for a datagram, not before that of its flow's last one.
    fn place(&self, one: &Datagram, not_before: usize, datagram: impl Fn(usize) -> Datagram) -> Option<usize> {
        let earliest = not_before.max(self.groups.len().saturating_sub(LOOK_BACK));
        (earliest..self.groups.len()).rev().find(|group| {
            let group = &self.groups[*group];
            usize::from(group.size) == one.length && takes(group, one, &datagram)
        })
    }

    fn join(&mut self, group: usize, at: usize, length: usize) {
        let group = &mut self.groups[group];
        self.next[usize::from(group.last)] = at as u16;
        group.last = at as u16;
        group.count += 1;
        group.bytes += length as u32;
    }

    /// Ends groups with datagrams that are alone and shorter.
    fn join_single_ones(&mut self, datagram: impl Fn(usize) -> Datagram) {
        for at in 1..self.groups.len() {
            let single = self.groups[at];
            if single.count != 1 || single.size == 0 {
                continue;
            }
            let only = datagram(usize::from(single.first));
            let earliest = usize::from(single.not_before).max(at.saturating_sub(LOOK_BACK));
            let longer = (earliest..at).find(|other| {
                let group = &self.groups[*other];
                group.count > 0 && usize::from(group.size) > only.length && takes(group, &only, &datagram)
            });
            if let Some(longer) = longer {
                self.join(longer, usize::from(single.first), only.length);
                self.groups[longer].is_closed = true;
                self.groups[at].count = 0;
            }
        }
        self.groups.retain(|group| group.count > 0);
    }
}

fn takes(group: &Group, one: &Datagram, datagram: impl Fn(usize) -> Datagram) -> bool {
    let has_room = usize::from(group.count) < GROUP && group.bytes as usize + one.length <= GROUP_BYTES;
    if group.is_closed || !has_room {
        return false;
    }
    let first = datagram(usize::from(group.first));
    first.to == one.to && first.from == one.from
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The groups of datagrams given as (flow, length), each as the numbers of its members.
    fn formed(groups: &mut Groups, datagrams: &[(u32, usize)]) -> Vec<Vec<usize>> {
        let to = Endpoint::from(std::net::SocketAddr::from(([10, 0, 0, 1], 7000)));
        groups.form(datagrams.len(), |at| Datagram { length: datagrams[at].1, to, from: None, flow: datagrams[at].0 });
        groups.all().iter().map(|group| groups.members(group).collect()).collect()
    }

    #[test]
    fn equal_sizes_leave_together_and_a_shorter_one_ends_a_group() {
        let mut groups = Groups::default();
        assert_eq!(formed(&mut groups, &[(1, 90), (2, 90), (3, 90)]), [[0, 1, 2]]);
        assert_eq!(formed(&mut groups, &[(1, 90), (2, 50), (3, 90), (4, 50)]), [[0, 2], [1, 3]]);
        assert_eq!(formed(&mut groups, &[(1, 90), (2, 50), (3, 90)]), [[0, 2, 1]]);
        assert_eq!(formed(&mut groups, &[(1, 50), (2, 90)]), [[0], [1]]);
    }

    #[test]
    fn the_order_within_a_flow_is_kept() {
        let mut groups = Groups::default();
        assert_eq!(formed(&mut groups, &[(1, 90), (2, 50), (2, 90)]), [vec![0, 1], vec![2]]);
        assert_eq!(formed(&mut groups, &[(2, 90), (2, 50), (2, 90)]), [vec![0, 1], vec![2]]);
    }

    #[test]
    fn what_the_kernel_refuses_is_not_tried_again() {
        let mut groups = Groups::default();
        groups.learn(1300, Some(libc::EINVAL));
        assert_eq!(formed(&mut groups, &[(1, 1300), (2, 1300)]), [[0], [1]]);
        assert_eq!(formed(&mut groups, &[(1, 1299), (2, 1299)]), [[0, 1]]);
        groups.learn(100, Some(libc::EIO));
        assert_eq!(formed(&mut groups, &[(1, 9), (2, 9)]), [[0], [1]]);
    }

    #[test]
    fn a_group_is_no_larger_than_the_kernel_takes() {
        let mut groups = Groups::default();
        formed(&mut groups, &vec![(1, 100); 130]);
        assert_eq!(groups.all().iter().map(|group| group.count).collect::<Vec<_>>(), [64, 64, 2]);
        formed(&mut groups, &vec![(1, 1400); 60]);
        assert!(groups.all().iter().all(|group| usize::from(group.count) * 1400 <= GROUP_BYTES));
    }
}
