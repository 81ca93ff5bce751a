/* Both ends of the bench as tc programs, so that they cost next to nothing.
 *
 * `echo` answers each datagram that reaches the backend with the same bytes, a binding request with
 * a success; `sink` takes what reaches the clients. Both check what they see and count it. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "names.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, COUNTS);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

static __always_inline void count(__u32 which) {
    __u64 *value = bpf_map_lookup_elem(&counts, &which);
    if (value)
        *value += 1; /* everything runs on one core */
}

/* Finds the mark of the payload at `at`; tells media (1) from STUN (2), 0 for neither. */
static __always_inline int find(struct __sk_buff *skb, int at, struct mark *mark) {
    if (bpf_skb_load_bytes(skb, at + RTP_MARK_AT, mark, sizeof *mark) == 0 && mark->magic == MAGIC)
        return 1;
    if (bpf_skb_load_bytes(skb, at + STUN_MARK_AT, mark, sizeof *mark) == 0 && mark->magic == MAGIC)
        return 2;
    return 0;
}

static __always_inline int is_large(struct __sk_buff *skb) {
    return skb->gso_segs > 1 || skb->gso_size > 0 || skb->len > 1600;
}

static __always_inline void check_length(struct __sk_buff *skb, int at, const struct mark *mark) {
    if (mark->length != skb->len - at)
        count(DAMAGED);
}

SEC("tc") int sink(struct __sk_buff *skb) {
    if (skb->protocol != bpf_htons(ETH_P_IP))
        return TC_ACT_OK;
    struct mark mark;
    int at = ETHERNET_IP_UDP, kind = find(skb, at, &mark);
    if (kind == 0) { /* behind a TURN channel's header? */
        at += 4;
        kind = find(skb, at, &mark);
    }
    if (kind == 0)
        return TC_ACT_OK;
    if (is_large(skb))
        count(LARGE_AT_SINK);
    __u32 address = 0;
    __u16 port = 0;
    bpf_skb_load_bytes(skb, 30, &address, 4);
    bpf_skb_load_bytes(skb, 36, &port, 2);
    if (bpf_ntohl(address) != FLOW_ADDRESS(mark.flow) || bpf_ntohs(port) != FLOW_PORT(mark.flow))
        count(MISROUTED_DOWN);
    if (kind == 1)
        check_length(skb, at, &mark);
    count(kind == 1 ? ARRIVED : STUN_ARRIVED);
    return TC_ACT_SHOT;
}

SEC("tc") int echo(struct __sk_buff *skb) {
    if (skb->protocol != bpf_htons(ETH_P_IP))
        return TC_ACT_OK;
    struct mark mark;
    int at = ETHERNET_IP_UDP, kind = 0;
    __u16 magic = 0;
    bpf_skb_load_bytes(skb, at, &magic, 2);
    if (bpf_ntohs(magic) == SPP_MAGIC) {
        at += SPP_HEADER;
        kind = find(skb, at, &mark);
        __u32 address = 0;
        __u16 port = 0;
        bpf_skb_load_bytes(skb, ETHERNET_IP_UDP + 14, &address, 4);
        bpf_skb_load_bytes(skb, ETHERNET_IP_UDP + 34, &port, 2);
        if (kind && (bpf_ntohl(address) != FLOW_ADDRESS(mark.flow) || bpf_ntohs(port) != FLOW_PORT(mark.flow)))
            count(MISROUTED_UP);
    } else {
        kind = find(skb, at, &mark);
    }
    if (kind == 0)
        return TC_ACT_OK;
    if (is_large(skb))
        count(LARGE_AT_ECHO);
    count(ECHOED);
    if (kind == 1) {
        check_length(skb, at, &mark);
    } else {
        __u16 success = bpf_htons(0x0101);
        bpf_skb_store_bytes(skb, at, &success, 2, 0);
    }
    if (bpf_skb_pull_data(skb, ETHERNET_IP_UDP))
        return TC_ACT_SHOT;
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    if (data + ETHERNET_IP_UDP > end)
        return TC_ACT_SHOT;
    unsigned char hardware[6];
    __u32 *addresses = data + 26;
    __u16 *ports = data + 34;
    __builtin_memcpy(hardware, data, 6);
    __builtin_memcpy(data, data + 6, 6);
    __builtin_memcpy(data + 6, hardware, 6);
    __u32 source = addresses[0];
    addresses[0] = addresses[1];
    addresses[1] = source;
    __u16 port = ports[0];
    ports[0] = ports[1];
    ports[1] = port;
    return bpf_redirect(skb->ifindex, 0);
}

char _license[] SEC("license") = "GPL";
