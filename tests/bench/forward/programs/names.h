/* What generator, echo and sink agree on: where a flow lives, and what a payload says of itself. */
#ifndef NAMES_H
#define NAMES_H

#define MAGIC 0x66776421u         /* marks a payload of the bench */
#define FIRST_CLIENT 0x0A400001u  /* 10.64.0.1 */
#define CLIENTS 250               /* addresses that the flows are spread over */
#define FIRST_PORT 10000
#define PORT 3478
#define ETHERNET_IP_UDP 42        /* bytes in front of a UDP payload */
#define SPP_HEADER 38
#define SPP_MAGIC 0x56EC

/* Behind the first 12 bytes of an RTP or RTCP packet, and in the transaction id of a STUN message. */
struct mark {
    unsigned int flow;
    unsigned int magic;
    unsigned short length; /* of the UDP payload; 0 in STUN, whose header has it */
    unsigned short unused;
} __attribute__((packed));

#define RTP_MARK_AT 12
#define STUN_MARK_AT 8

#define FLOW_ADDRESS(flow) (FIRST_CLIENT + (flow) % CLIENTS)
#define FLOW_PORT(flow) (FIRST_PORT + (flow) / CLIENTS)

/* What the two programs count, by place in the map. */
enum count {
    ARRIVED,         /* media that came back to its client */
    STUN_ARRIVED,    /* answers to checks (or TURN requests) */
    ECHOED,          /* datagrams that the echo turned round */
    MISROUTED_DOWN,  /* came to another client than its own */
    MISROUTED_UP,    /* its SPP header names another client than its own */
    LARGE_AT_ECHO,   /* a GSO buffer at the echo: never fair, so it must be 0 */
    LARGE_AT_SINK,   /* the same at the client */
    DAMAGED,         /* another length than it was sent with */
    COUNTS
};

#endif
