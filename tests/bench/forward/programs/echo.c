/* An echo in user space, shaped like a transceiver: one datagram per call, each looked at.
 *
 * A binding request is answered with a success. A datagram that is larger than any single one, so
 * a GSO buffer, ends it with an error; so does a header that names another client than the payload. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "names.h"

int main(void) {
    static unsigned char datagram[65536];
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = inet_addr("10.2.0.2")};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), bytes = 8 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
    if (fd < 0 || bind(fd, (void *)&own, sizeof own)) {
        perror("bind");
        return 1;
    }
    for (;;) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        ssize_t received = recvfrom(fd, datagram, sizeof datagram, 0, (void *)&from, &length);
        if (received < 12) continue;
        if (received > 1600) {
            fprintf(stderr, "a datagram of %zd bytes: not segmented\n", received);
            return 3;
        }
        unsigned char *payload = datagram;
        if (datagram[0] == (SPP_MAGIC >> 8) && datagram[1] == (SPP_MAGIC & 0xFF)) payload += SPP_HEADER;
        struct mark mark;
        memcpy(&mark, payload + (payload[0] < 4 ? STUN_MARK_AT : RTP_MARK_AT), sizeof mark);
        unsigned int client;
        unsigned short port;
        memcpy(&client, datagram + 14, 4);
        memcpy(&port, datagram + 34, 2);
        if (mark.magic != MAGIC) continue;
        if (payload != datagram && (ntohl(client) != FLOW_ADDRESS(mark.flow) || ntohs(port) != FLOW_PORT(mark.flow))) {
            fprintf(stderr, "flow %u under another client's header\n", mark.flow);
            return 4;
        }
        if (payload[0] == 0 && payload[1] == 1) payload[0] = 1;
        sendto(fd, datagram, received, 0, (void *)&from, length);
    }
}
