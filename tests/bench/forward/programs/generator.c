/* Opens flows and sends bursts: one round trip at a time for each packet of a burst.
 *
 * It shares a core with the relay under SCHED_FIFO and yields until a burst has come back, so the
 * time that both (and the kernel's threads, named with -p) ran is the cost of the round trips.
 *
 *   generator -u FILE [-m FILE] [-s BYTES] [-f FLOWS] [-t] [-n] -p PID,... PACKETS:BURST ...
 *
 * -u  ufrags, 27 bytes each, one for each flow    -m  sizes: lines of "media|check BYTES"
 * -s  payload bytes (160)                         -t  open TURN channels first
 * -e  user-space echo: do not attach the echo     -d  address to send to (10.1.0.1)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "names.h"

#define MAX_BURST 64
#define FRAME 1664
#define UFRAG 27
#define MAX_SIZES 65536
#define WAIT_NS 40000000ull /* a packet that takes longer is lost */

static const unsigned char HARDWARE[12] = {2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 2};

struct size { unsigned short bytes; unsigned char is_check; };

static struct {
    int socket, flows, is_turn;
    uint32_t to;
    const char *ufrags;
    struct size sizes[MAX_SIZES];
    int size_count;
    volatile uint64_t *counts;
} bench;

static unsigned char frames[MAX_BURST][FRAME] __attribute__((aligned(64)));
static struct mmsghdr messages[MAX_BURST];
static struct iovec vectors[MAX_BURST];

static void die(const char *what) { perror(what); exit(1); }

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* ---- the network ---- */

static void enter(const char *namespace) {
    char path[128];
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    int fd = open(path, O_RDONLY);
    if (fd < 0 || setns(fd, CLONE_NEWNET)) die(path);
    close(fd);
}

static int attach(struct bpf_object *object, const char *program, const char *device) {
    int index = if_nametoindex(device);
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = index, .attach_point = BPF_TC_INGRESS);
    bpf_tc_hook_create(&hook);
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = 1, .priority = 1, .flags = BPF_TC_F_REPLACE,
                .prog_fd = bpf_program__fd(bpf_object__find_program_by_name(object, program)));
    if (bpf_tc_attach(&hook, &options)) die(program);
    return index;
}

static int open_socket(int index) {
    int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1, bytes = 8 << 20;
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = index};
    if (fd < 0 || bind(fd, (void *)&address, sizeof address)) die("AF_PACKET");
    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
    return fd;
}

/* ---- frames ---- */

static void checksum(struct iphdr *ip) {
    uint32_t sum = 0;
    uint16_t *words = (void *)ip;
    ip->check = 0;
    for (int at = 0; at < 10; at++) sum += words[at];
    while (sum >> 16) sum = (sum & 0xFFFF) + (sum >> 16);
    ip->check = ~sum;
}

/* Addresses of a flow and the length of its payload; the UDP checksum is absent, as if a network
 * card had checked it. */
static void address(int at, uint32_t flow, int payload) {
    struct iphdr *ip = (void *)(frames[at] + 14);
    struct udphdr *udp = (void *)(frames[at] + 34);
    ip->saddr = htonl(FLOW_ADDRESS(flow));
    ip->daddr = bench.to;
    ip->tot_len = htons(28 + payload);
    checksum(ip);
    udp->source = htons(FLOW_PORT(flow));
    udp->len = htons(8 + payload);
    vectors[at].iov_len = ETHERNET_IP_UDP + payload;
}

static void prepare(void) {
    for (int at = 0; at < MAX_BURST; at++) {
        unsigned char *frame = frames[at];
        memcpy(frame, HARDWARE, 12);
        frame[12] = 8;
        struct iphdr *ip = (void *)(frame + 14);
        *ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP, .frag_off = htons(0x4000)};
        ((struct udphdr *)(frame + 34))->dest = htons(PORT);
        memset(frame + ETHERNET_IP_UDP, 0x5A, FRAME - ETHERNET_IP_UDP);
        vectors[at].iov_base = frame;
        messages[at].msg_hdr.msg_iov = &vectors[at];
        messages[at].msg_hdr.msg_iovlen = 1;
    }
}

static unsigned char *put(unsigned char *at, uint16_t type, const void *value, int length) {
    uint16_t words[2] = {htons(type), htons(length)};
    memcpy(at, words, 4);
    memcpy(at + 4, value, length);
    memset(at + 4 + length, 0, -length & 3);
    return at + 4 + ((length + 3) & ~3);
}

/* A STUN header and the attributes that `end` is behind of; returns the length in all. */
static int finish_stun(unsigned char *stun, uint16_t type, unsigned char *end, uint32_t flow) {
    static uint32_t serial;
    struct mark mark = {.flow = flow, .magic = MAGIC};
    serial++;
    uint16_t words[2] = {htons(type), htons(end - stun - 20)};
    uint32_t cookie = htonl(0x2112A442);
    memcpy(stun, words, 4);
    memcpy(stun + 4, &cookie, 4);
    memcpy(stun + STUN_MARK_AT, &mark, sizeof mark);
    memcpy(stun + STUN_MARK_AT + 8, &serial, 4);
    return end - stun;
}

/* A binding request with the flow's ufrag, filled up to `size` with an unknown attribute. */
static int write_check(unsigned char *stun, uint32_t flow, int size) {
    char username[UFRAG + 6];
    memcpy(username, bench.ufrags + (size_t)flow * UFRAG, UFRAG);
    memcpy(username + UFRAG, ":abcd", 5);
    unsigned char *end = put(stun + 20, 0x0006, username, UFRAG + 5);
    int room = (size & ~3) - (int)(end - stun) - 4;
    if (room > 0) {
        static const unsigned char zeros[1600];
        end = put(end, 0xC057, zeros, room);
    }
    return finish_stun(stun, 0x0001, end, flow);
}

static int write_media(unsigned char *media, uint32_t flow, int size) {
    static uint16_t sequence;
    struct mark mark = {.flow = flow, .magic = MAGIC, .length = size};
    uint32_t source = htonl(0x77000000 + flow);
    uint16_t number = htons(++sequence);
    media[0] = 0x80;
    media[1] = 111;
    memcpy(media + 2, &number, 2);
    memcpy(media + 8, &source, 4);
    memcpy(media + RTP_MARK_AT, &mark, sizeof mark);
    return size;
}

static int write_allocate(unsigned char *stun, uint32_t flow) {
    static const unsigned char udp[4] = {17};
    return finish_stun(stun, 0x0003, put(stun + 20, 0x0019, udp, 4), flow);
}

static int write_channel_bind(unsigned char *stun, uint32_t flow) {
    static const unsigned char channel[4] = {0x40, 0};
    unsigned char peer[8] = {0, 1};
    uint16_t port = htons(5000 ^ 0x2112);
    uint32_t ip = htonl(0x0A020002 ^ 0x2112A442);
    memcpy(peer + 2, &port, 2);
    memcpy(peer + 4, &ip, 4);
    return finish_stun(stun, 0x0009, put(put(stun + 20, 0x000C, channel, 4), 0x0012, peer, 8), flow);
}

/* The next packet of a run at place `at`; says whether its answer is STUN. */
static int write_next(int at, uint32_t flow, uint64_t serial) {
    const struct size *size = &bench.sizes[serial % bench.size_count];
    unsigned char *payload = frames[at] + ETHERNET_IP_UDP;
    if (bench.is_turn) {
        int length = write_media(payload + 4, flow, size->bytes);
        uint16_t words[2] = {htons(0x4000), htons(length)};
        memcpy(payload, words, 4);
        address(at, flow, 4 + length);
        return 0;
    }
    address(at, flow, size->is_check ? write_check(payload, flow, size->bytes) : write_media(payload, flow, size->bytes));
    return size->is_check;
}

/* ---- runs ---- */

static uint64_t arrived(void) { return bench.counts[ARRIVED] + bench.counts[STUN_ARRIVED]; }

/* Sends `count` frames and waits for as many to come back; returns how many did. */
static int round_trip(int count) {
    uint64_t before = arrived(), begin = now();
    int sent = 0;
    while (sent < count) {
        int result = sendmmsg(bench.socket, messages + sent, count - sent, 0);
        if (result > 0) sent += result;
    }
    while (arrived() < before + count && now() - begin < WAIT_NS) sched_yield();
    return arrived() - before;
}

/* One packet of each flow, until it is answered. */
static void open_flows(int (*write)(unsigned char *, uint32_t), const char *what) {
    for (int flow = 0; flow < bench.flows; flow++) {
        int tries = 0;
        do {
            if (tries++ == 20) {
                fprintf(stderr, "flow %d: no answer to its %s\n", flow, what);
                exit(1);
            }
            address(0, flow, write(frames[0] + ETHERNET_IP_UDP, flow));
        } while (round_trip(1) != 1);
    }
}

static int write_small_check(unsigned char *stun, uint32_t flow) { return write_check(stun, flow, 0); }
static int write_small_media(unsigned char *media, uint32_t flow) { return write_media(media, flow, 160); }

static uint64_t thread_ns(const char *pid, const char *task) {
    char path[320], text[128] = {0};
    snprintf(path, sizeof path, "/proc/%s/task/%s/schedstat", pid, task);
    int fd = open(path, O_RDONLY);
    if (fd < 0) return 0;
    if (read(fd, text, sizeof text - 1) < 0) text[0] = 0;
    close(fd);
    return strtoull(text, 0, 10);
}

static uint64_t process_ns(const char *pid) {
    char path[64];
    uint64_t sum = 0;
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks) return 0;
    for (struct dirent *task; (task = readdir(tasks));)
        if (task->d_name[0] != '.') sum += thread_ns(pid, task->d_name);
    closedir(tasks);
    return sum;
}

static uint64_t own_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static char *pids[64];
static int pid_count;

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void run(uint64_t packets, int burst) {
    static uint32_t durations[1 << 20];
    static uint64_t serial;
    uint64_t before[COUNTS], others[64], sent = 0, back = 0, count = 0;
    for (int at = 0; at < COUNTS; at++) before[at] = bench.counts[at];
    for (int at = 0; at < pid_count; at++) others[at] = process_ns(pids[at]);
    uint64_t own = own_ns(), begin = now(), lost_bursts = 0;
    while (sent < packets && lost_bursts < 50) {
        for (int at = 0; at < burst; at++, serial++) write_next(at, serial % bench.flows, serial);
        uint64_t start = now();
        int came = round_trip(burst);
        sent += burst;
        back += came;
        lost_bursts += came != burst;
        if (count < sizeof durations / sizeof *durations) durations[count++] = now() - start;
    }
    own = own_ns() - own;
    uint64_t end = now();
    qsort(durations, count, sizeof *durations, by_value);
    printf("{\"burst\":%d,\"sent\":%lu,\"back\":%lu,\"generator_ns\":%.1f,\"others_ns\":[", burst, sent, back,
           (double)own / back);
    for (int at = 0; at < pid_count; at++)
        printf("%s%.1f", at ? "," : "", (double)(process_ns(pids[at]) - others[at]) / back);
    printf("],\"wall_ns\":%.1f,\"p50_ns\":%u,\"p99_ns\":%u", (double)(end - begin) / back, durations[count / 2],
           durations[count * 99 / 100]);
    static const char *names[] = {0, 0, "echoed", "misrouted_down", "misrouted_up", "large_at_echo", "large_at_sink",
                                  "damaged"};
    for (int at = ECHOED; at < COUNTS; at++) printf(",\"%s\":%lu", names[at], bench.counts[at] - before[at]);
    printf("}\n");
    fflush(stdout);
}

/* ---- arguments ---- */

static const char *map_file(const char *path) {
    int fd = open(path, O_RDONLY);
    off_t length = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    if (length <= 0) die(path);
    return mmap(0, length, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
}

static void read_sizes(const char *path) {
    FILE *file = fopen(path, "r");
    char line[64], kind[16];
    int bytes;
    if (!file) die(path);
    while (bench.size_count < MAX_SIZES && fgets(line, sizeof line, file))
        if (sscanf(line, "%15s %d", kind, &bytes) == 2 && line[0] != '#')
            bench.sizes[bench.size_count++] = (struct size){bytes, !strcmp(kind, "check")};
    fclose(file);
}

static int no_log(enum libbpf_print_level level, const char *format, va_list values) {
    (void)level, (void)format, (void)values;
    return 0;
}

int main(int argc, char **argv) {
    const char *program = "wire.bpf.o", *prefix = "bench";
    char name[64];
    int option, payload = 160, has_echo = 1;
    bench.flows = 1000;
    bench.to = inet_addr("10.1.0.1");
    while ((option = getopt(argc, argv, "u:m:s:f:tep:d:b:N:")) > 0) switch (option) {
        case 'u': bench.ufrags = map_file(optarg); break;
        case 'm': read_sizes(optarg); break;
        case 's': payload = atoi(optarg); break;
        case 'f': bench.flows = atoi(optarg); break;
        case 't': bench.is_turn = 1; break;
        case 'e': has_echo = 0; break;
        case 'd': bench.to = inet_addr(optarg); break;
        case 'b': program = optarg; break;
        case 'N': prefix = optarg; break;
        case 'p': for (char *pid = strtok(optarg, ","); pid; pid = strtok(0, ",")) pids[pid_count++] = pid; break;
        default: return 2;
    }
    if (!bench.size_count) bench.sizes[bench.size_count++] = (struct size){payload, 0};
    libbpf_set_print(no_log);
    struct bpf_object *object = bpf_object__open_file(program, 0);
    if (!object || bpf_object__load(object)) die(program);
    bench.counts = mmap(0, 4096, PROT_READ, MAP_SHARED, bpf_object__find_map_fd_by_name(object, "counts"), 0);
    if (bench.counts == MAP_FAILED) die("counts");
    if (has_echo) {
        snprintf(name, sizeof name, "%s-b", prefix);
        enter(name);
        attach(object, "echo", "b0");
    }
    snprintf(name, sizeof name, "%s-c", prefix);
    enter(name);
    bench.socket = open_socket(attach(object, "sink", "c0"));
    prepare();
    if (bench.is_turn) {
        open_flows(write_allocate, "TURN allocation");
        open_flows(write_channel_bind, "TURN channel");
    } else {
        open_flows(write_small_check, "binding request");
        open_flows(write_small_media, "first packet");
    }
    usleep(100000); /* late answers to repeated requests are not taken for those of the run */
    for (int at = optind; at < argc; at++) {
        char *colon = strchr(argv[at], ':');
        if (!colon || atoi(colon + 1) < 1 || atoi(colon + 1) > MAX_BURST) return 2;
        run(strtoull(argv[at], 0, 10), atoi(colon + 1));
    }
    return 0;
}
