// Receives deliveries for webhooks.py, and takes as little of the processor as it can: what is measured is the sender.
//
//     receiver
//
// Listens on a free port of 127.0.0.1, which is the first line it prints. A POST is answered at once; at a path that
// ends in `hang`, never. The body of a delivery holds "at SECONDS", the moment of its cause, by the clock of this machine.
// Any line on its standard input makes it print, as one line, how many arrived and were hung, then the moment and the lag
// of each one that arrived, in microseconds, and begin anew.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { capacity = 65536, most = 4 << 20, descriptors = 65536 };

struct client {
    char bytes[capacity];
    size_t count;
};

static struct client *clients[descriptors];
static int64_t (*arrivals)[2];
static size_t arrived, hung;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static void leave(int descriptor) {
    free(clients[descriptor]);
    clients[descriptor] = NULL;
    close(descriptor);
}

// Takes one whole request from the front of what a client sent; answers how long it was, 0 where it is not whole.
static size_t take(int descriptor, char *start, size_t count) {
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    char *end = memmem(start, count, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = end + 4 - start;
    end[3] = 0;
    char *field = strcasestr(start, "\ncontent-length:");
    size_t length = field ? strtoul(field + 16, NULL, 10) : 0;
    end[3] = '\n';
    if (count < head + length) return 0;
    char *line = memchr(start, '\r', head);
    if (memmem(start, line - start, "/hang ", 6)) {
        hung++;
        return head + length;
    }
    char *stamp = memmem(start + head, length, "\"at ", 4);
    if (stamp && arrived < most) {
        int64_t moment = now();
        arrivals[arrived][0] = moment;
        arrivals[arrived][1] = moment - (int64_t)(strtod(stamp + 4, NULL) * 1e6);
        arrived++;
    }
    if (write(descriptor, ok, sizeof ok - 1) < 0) perror("write");
    return head + length;
}

static void receive(int descriptor) {
    struct client *client = clients[descriptor];
    ssize_t count = read(descriptor, client->bytes + client->count, capacity - client->count);
    if (count <= 0) return leave(descriptor);
    client->count += count;
    size_t done = 0, length;
    while ((length = take(descriptor, client->bytes + done, client->count - done))) done += length;
    client->count -= done;
    memmove(client->bytes, client->bytes + done, client->count);
    if (client->count == capacity) leave(descriptor);
}

static void tell(void) {
    printf("%zu %zu", arrived, hung);
    for (size_t index = 0; index < arrived; index++)
        printf(" %lld %lld", (long long)arrivals[index][0], (long long)arrivals[index][1]);
    printf("\n");
    fflush(stdout);
    arrived = hung = 0;
}

int main(void) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (listener < 0 || epoll < 0) fail("socket");
    if (bind(listener, (void *)&address, size) || listen(listener, 4096)) fail("listen");
    if (getsockname(listener, (void *)&address, &size)) fail("getsockname");
    arrivals = calloc(most, sizeof *arrivals);
    if (!arrivals) fail("calloc");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    int known[2] = {listener, STDIN_FILENO};
    for (int index = 0; index < 2; index++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = known[index]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, known[index], &event)) fail("epoll_ctl");
    }
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll, events, 256, -1);
        for (int index = 0; index < count; index++) {
            int descriptor = events[index].data.fd;
            if (descriptor == STDIN_FILENO) {
                char line[64];
                if (read(STDIN_FILENO, line, sizeof line) <= 0) return 0;
                tell();
            } else if (descriptor == listener) {
                int fresh = accept(listener, NULL, NULL);
                if (fresh < 0) continue;
                if (fresh >= descriptors || !(clients[fresh] = calloc(1, sizeof **clients))) fail("accept");
                setsockopt(fresh, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                struct epoll_event event = {.events = EPOLLIN, .data.fd = fresh};
                if (epoll_ctl(epoll, EPOLL_CTL_ADD, fresh, &event)) fail("epoll_ctl");
            } else {
                receive(descriptor);
            }
        }
    }
}
