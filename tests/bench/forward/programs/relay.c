/* The floor for user space: what a relay with the same header must at least do, and no more.
 *
 * One thread, two sockets, epoll, recvmmsg and sendmmsg of up to 64, the header written into
 * headroom, a table from client to next hop with open addressing. No GSO, no GRO, no checks, no
 * expiry, no counters. With -c the upstream socket is connected, which suits one next hop only.
 * With -s poll, recvfrom and sendto: the least for a datagram that comes alone. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define SLOT 2048
#define HEADER 38
#define TABLE (1u << 18)

struct flow {
    uint64_t key; /* 0: free */
    struct sockaddr_in next_hop;
    uint64_t packets, bytes;
};

struct batch {
    struct mmsghdr messages[BATCH];
    struct iovec vectors[BATCH];
    struct sockaddr_in names[BATCH];
    unsigned char (*slots)[SLOT];
};

static struct flow *table;
static struct sockaddr_in backend, proxy;
static int client_side, backend_side, is_connected, is_single;

static struct flow *find(const struct sockaddr_in *client) {
    uint64_t key = 1ull << 63 | (uint64_t)client->sin_addr.s_addr << 16 | client->sin_port;
    uint32_t at = (key * 0x9E3779B97F4A7C15ull) >> 40 & (TABLE - 1);
    while (table[at].key && table[at].key != key) at = (at + 1) & (TABLE - 1);
    if (!table[at].key) {
        table[at].key = key;
        table[at].next_hop = backend;
    }
    return &table[at];
}

static int open_socket(const char *ip, int port) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), bytes = 8 << 20;
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr(ip)};
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
    if (fd < 0 || bind(fd, (void *)&own, sizeof own)) {
        perror("bind");
        exit(1);
    }
    return fd;
}

static int receive(int fd, struct batch *batch) {
    for (int at = 0; at < BATCH; at++) {
        batch->vectors[at] = (struct iovec){batch->slots[at] + HEADER, SLOT - HEADER};
        struct msghdr *message = &batch->messages[at].msg_hdr;
        message->msg_name = &batch->names[at];
        message->msg_namelen = sizeof batch->names[at];
        message->msg_iov = &batch->vectors[at];
        message->msg_iovlen = 1;
    }
    return recvmmsg(fd, batch->messages, BATCH, MSG_DONTWAIT, 0);
}

static int receive_one(int fd, struct batch *batch) {
    socklen_t length = sizeof batch->names[0];
    batch->vectors[0].iov_base = batch->slots[0] + HEADER;
    ssize_t received = recvfrom(fd, batch->slots[0] + HEADER, SLOT - HEADER, 0, (void *)&batch->names[0], &length);
    batch->messages[0].msg_hdr.msg_name = &batch->names[0];
    batch->messages[0].msg_hdr.msg_namelen = length;
    batch->messages[0].msg_len = received;
    return received < 0 ? -1 : 1;
}

static void flush(int fd, struct batch *batch, int count) {
    if (is_single) {
        const struct msghdr *message = &batch->messages[0].msg_hdr;
        if (count == 1)
            sendto(fd, batch->vectors[0].iov_base, batch->vectors[0].iov_len, 0, message->msg_name, message->msg_namelen);
        return;
    }
    for (int sent = 0; sent < count;) {
        int result = sendmmsg(fd, batch->messages + sent, count - sent, 0);
        sent += result > 0 ? result : 1;
    }
}

static void to_backend(struct batch *batch) {
    int count = (is_single ? receive_one : receive)(client_side, batch);
    for (int at = 0; at < count; at++) {
        struct sockaddr_in *client = &batch->names[at];
        struct flow *flow = find(client);
        unsigned char *header = batch->slots[at];
        unsigned length = batch->messages[at].msg_len;
        flow->packets++;
        flow->bytes += length;
        memset(header, 0, HEADER);
        header[0] = 0x56, header[1] = 0xEC;
        header[12] = header[13] = header[28] = header[29] = 0xFF;
        memcpy(header + 14, &client->sin_addr, 4);
        memcpy(header + 30, &proxy.sin_addr, 4);
        memcpy(header + 34, &client->sin_port, 2);
        memcpy(header + 36, &proxy.sin_port, 2);
        batch->vectors[at] = (struct iovec){header, HEADER + length};
        batch->messages[at].msg_hdr.msg_name = is_connected ? 0 : &flow->next_hop;
        batch->messages[at].msg_hdr.msg_namelen = is_connected ? 0 : sizeof flow->next_hop;
    }
    flush(backend_side, batch, count);
}

static void to_clients(struct batch *batch) {
    int count = (is_single ? receive_one : receive)(backend_side, batch);
    for (int at = 0; at < count; at++) {
        unsigned char *header = batch->slots[at] + HEADER;
        struct sockaddr_in *client = &batch->names[at];
        memcpy(&client->sin_addr, header + 14, 4);
        memcpy(&client->sin_port, header + 34, 2);
        batch->vectors[at] = (struct iovec){header + HEADER, batch->messages[at].msg_len - HEADER};
    }
    flush(client_side, batch, count);
}

int main(int argc, char **argv) {
    is_connected = argc > 1 && !strcmp(argv[1], "-c");
    is_single = argc > 1 && !strcmp(argv[1], "-s");
    backend = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = inet_addr("10.2.0.2")};
    proxy = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(3479), .sin_addr.s_addr = inet_addr("10.2.0.1")};
    table = mmap(0, sizeof *table * TABLE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    client_side = open_socket("10.1.0.1", 3478);
    backend_side = open_socket("10.2.0.1", 3479);
    if (is_connected && connect(backend_side, (void *)&backend, sizeof backend)) return 1;
    static struct batch batch;
    batch.slots = mmap(0, BATCH * SLOT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct pollfd both[2] = {{.fd = client_side, .events = POLLIN}, {.fd = backend_side, .events = POLLIN}};
    while (is_single) {
        poll(both, 2, -1);
        if (both[0].revents) to_backend(&batch);
        if (both[1].revents) to_clients(&batch);
    }
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 0}, ready[2];
    epoll_ctl(epoll, EPOLL_CTL_ADD, client_side, &event);
    event.data.u32 = 1;
    epoll_ctl(epoll, EPOLL_CTL_ADD, backend_side, &event);
    for (;;) {
        int count = epoll_wait(epoll, ready, 2, -1);
        for (int at = 0; at < count; at++) (ready[at].data.u32 ? to_clients : to_backend)(&batch);
    }
}
