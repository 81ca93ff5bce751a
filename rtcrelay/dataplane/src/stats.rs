//! Every reason to drop a packet, and the counters of a worker.
//!
//! The list is closed: a packet that goes nowhere is counted under exactly one of these names,
//! which are also the `reason` label of the metrics and the words of the documentation.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! drop_reasons {
    ($($variant:ident => $name:literal, $meaning:literal;)*) => {
        /// Why a packet was not forwarded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $(#[doc = $meaning] $variant,)* }

        impl DropReason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];

            /// The name used in metrics, logs and documentation.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }

            /// One sentence for an operator.
            pub const fn meaning(self) -> &'static str {
                match self { $(DropReason::$variant => $meaning,)* }
            }
        }
    };
}

drop_reasons! {
    Empty => "empty", "The datagram has no payload.";
    Oversize => "oversize", "The payload is over 1500 bytes.";
    FirstByte => "first_byte", "The first byte belongs to no protocol (4 to 15, RFC 7983).";
    Zrtp => "zrtp", "The first byte says ZRTP, which is not relayed.";
    TurnChannel => "turn_channel", "The first byte says TURN channel data, which is not relayed.";
    Quic => "quic", "The first byte says QUIC, which is not relayed.";
    ShortStun => "stun_short", "A STUN message is shorter than its 20-byte header.";
    MalformedStun => "stun_malformed", "A STUN message has a wrong cookie, length or attribute.";
    StunFingerprint => "stun_fingerprint", "A binding request without USERNAME has a wrong FINGERPRINT.";
    StunRateLimited => "stun_rate", "This network asks for its mapped address more than 10 times a second.";
    Draining => "draining", "A binding request without USERNAME is not answered, because the relay drains.";
    ShortDtls => "dtls_short", "A DTLS record is shorter than its 13-byte header.";
    ShortRtp => "rtp_short", "An RTP packet is shorter than 12 bytes, or an RTCP packet than 8.";
    UfragForeign => "ufrag_foreign", "The ufrag is not one of ours: length, alphabet or version differ.";
    UfragUnknownKey => "ufrag_unknown_key", "The ufrag names a key that is not in the key ring.";
    UfragRevokedKey => "ufrag_revoked_key", "The ufrag was made with a revoked key.";
    UfragForged => "ufrag_forged", "The ufrag fails its check: forged, or made with another secret.";
    UfragKind => "ufrag_kind", "The ufrag is of a kind that routes no media.";
    ClusterUnknown => "cluster_unknown", "The ufrag names a cluster this relay does not know.";
    ClusterDown => "cluster_down", "No relay of the ufrag's cluster has answered for too long.";
    SecondHop => "second_hop", "Another relay forwarded a packet that is not for this relay's own cluster.";
    NodeUnknown => "node_unknown", "The ufrag names a node that is not in the node table.";
    EndpointForbidden => "endpoint_forbidden", "The ufrag names an address outside the configured transceivers.";
    AdmissionRate => "admission_rate", "This source opens new paths faster than allowed.";
    TableFull => "table_full", "The path table is full; known paths keep working.";
    NoRoute => "no_route", "Not a binding request, and the path has no confirmed claim.";
    Killed => "killed", "An operator has ended this path; it comes back with the client's next check or after 5 s.";
    NextHopDead => "next_hop_dead", "Nothing has come back from the next hop for too long.";
    SppShort => "spp_short", "A datagram on the internal socket is shorter than the 38-byte SPP header.";
    SppMagic => "spp_magic", "A datagram on the internal socket does not begin with the SPP magic 0x56EC.";
    SppClient => "spp_client", "The client address of an SPP header can be nobody's.";
    SppDirection => "spp_direction", "Source and proxy address of an SPP datagram fit no allowed direction.";
    Source => "source", "The source address can be nobody's: port 0, multicast, broadcast, unspecified or IPv6 link-local.";
    SendBufferFull => "send_buffer_full", "The socket's send buffer or the interface's queue is full.";
    SendTooBig => "send_too_big", "The datagram is larger than the path's MTU.";
    SendUnreachable => "send_unreachable", "The kernel has no way to the destination.";
    SendFailed => "send_failed", "The kernel refused to send, for another reason.";
}

macro_rules! counters {
    ($($field:ident, $meaning:literal;)*) => {
        /// The counters of one worker. Only that worker adds; anybody reads.
        #[repr(align(128))] // two cache lines: neighbours' counters do not share one
        pub struct Counters {
            $(#[doc = $meaning] pub $field: Counter,)*
            drops: [Counter; DropReason::ALL.len()],
            batches: [Counter; BATCHES.len()],
        }

        impl Default for Counters {
            fn default() -> Self {
                Counters {
                    $($field: Counter::default(),)*
                    drops: std::array::from_fn(|_| Counter::default()),
                    batches: std::array::from_fn(|_| Counter::default()),
                }
            }
        }

        impl Counters {
            /// Adds to the counter of this name, if there is one: what a predecessor counted.
            pub fn add_to(&self, name: &str, n: u64) {
                match name {
                    $(stringify!($field) => self.$field.add(n),)*
                    _ => {
                        let batches = BATCHES.iter().zip(&self.batches).filter(|(known, _)| **known == name);
                        batches.for_each(|(_, count)| count.add(n));
                    }
                }
            }

            /// Calls `each` with the name and value of every counter but the drops.
            pub fn for_each(&self, mut each: impl FnMut(&'static str, u64)) {
                $(each(stringify!($field), self.$field.value());)*
                BATCHES.iter().zip(&self.batches).for_each(|(name, count)| each(name, count.value()));
            }
        }
    };
}

counters! {
    public_in_packets, "Datagrams received from clients.";
    public_in_bytes, "Payload bytes received from clients.";
    public_out_packets, "Datagrams sent to clients.";
    public_out_bytes, "Payload bytes sent to clients.";
    internal_in_packets, "Datagrams received from transceivers and peers.";
    internal_in_bytes, "Bytes received from transceivers and peers, SPP header included.";
    internal_out_packets, "Datagrams sent to transceivers and peers.";
    internal_out_bytes, "Bytes sent to transceivers and peers, SPP header included.";
    routed_by_ufrag, "Binding requests routed by their ufrag.";
    routed_by_path, "Packets forwarded by the claims of their path.";
    probes, "Binding requests with a probe ufrag.";
    announces, "Announces received.";
    stun_answered, "Binding requests without USERNAME answered by the relay itself.";
    claims_opened, "Pending claims opened.";
    claims_confirmed, "Pending claims confirmed by a packet that came back.";
    claims_learned, "Claims created from returning packets on a path that had none.";
    claims_restored, "Claims created from the route cache.";
    killed, "Paths that an operator has ended.";
    questions, "Paths without a claim that the route cache was asked for.";
    held, "Packets held for the answer to such a question.";
    fan_out, "Additional copies sent because a path had several confirmed claims.";
    icmp_errors, "ICMP errors reported by the kernel for internal destinations.";
    receive_errors, "Receiving calls that failed.";
    receive_buffers, "Buffers received: one datagram each, or several that the kernel put together.";
    gro_buffers, "Buffers with several datagrams.";
    gro_packets, "Datagrams in those.";
    gso_sends, "Groups of datagrams that the kernel took in one piece and cut apart.";
    gso_packets, "Datagrams in those.";
    gso_refused, "Groups that the kernel refused; their datagrams went one by one.";
    kernel_drops, "Datagrams that the kernel dropped because this worker took them too late.";
    panics, "Defects that stopped a turn of a worker; the worker goes on.";
}

/// Receiving calls by the number of buffers they brought: one, two, up to 4, 8, 16, 32, 64.
const BATCHES: [&str; 7] =
    ["batches_1", "batches_2", "batches_4", "batches_8", "batches_16", "batches_32", "batches_64"];

/// A count with one writer.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds without a locked instruction: only one thread writes.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    /// Counts one dropped packet.
    #[inline]
    pub fn drop(&self, reason: DropReason) {
        self.drops[reason as usize].add(1);
    }

    /// Counts a receiving call that brought this many buffers, from 1.
    #[inline]
    pub fn batch(&self, buffers: usize) {
        let at = buffers.max(1).next_power_of_two().ilog2() as usize;
        self.batches[at.min(BATCHES.len() - 1)].add(1);
    }

    /// Adds to the count of a reason.
    pub fn add_drops(&self, reason: DropReason, n: u64) {
        self.drops[reason as usize].add(n);
    }

    /// Packets dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].value()
    }
}
