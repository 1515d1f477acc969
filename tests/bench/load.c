/* The load: one process that asks for bytes or heads over several connections and throws them away.
 *
 * It does what load.py does, at a tenth of the CPU, so that the load is never what is measured; and what
 * load.py cannot: read slowly over a thousand connections, follow a redirect, pause between requests.
 *
 *   load get  PORT PATH SIZE CLIENTS RANGES STAGGER_MS
 *       Reads SIZE bytes at PATH over CLIENTS connections: each all of it, or (RANGES 1) each its share.
 *       A redirect is followed once per connection; the clock runs on.
 *   load ask  PORT PATH METHOD CLIENTS SECONDS PAUSE_MS
 *       Asks again and again over kept connections, each PAUSE_MS after it was answered. What is asked
 *       when the time is up is waited for and counted: no server has work left over from it.
 *   load slow PORT PATH SIZE CLIENTS RATE SECONDS
 *       Reads RATE bytes per second over each connection until SECONDS have passed since each of them
 *       had its first byte.
 *
 * Talks to 127.0.0.1 alone. Prints one JSON object; ends with 1 and a line on standard error when an
 * answer is not what was asked for: a figure for wrong answers is no figure.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 256 << 10, HEAD = 16 << 10, SLOW_READ = 16 << 10, SLOW_WINDOW = 64 << 10 };

struct wire {
    int socket;
    int body;            /* whether the head has ended */
    int moved;           /* whether a redirect was followed */
    long long low, high; /* the bytes asked for, half-open */
    long long got, wanted;
    double begun, first, total;
    size_t filled;
    char head[HEAD];
};

static char buffer[BUFFER];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *why, const char *what)
{
    fprintf(stderr, "wrong answer: %s%s%.400s\n", why, *what ? ": " : "", what);
    exit(1);
}

/* Connect to a port of the loopback; a small *window* keeps the kernel from reading ahead of a slow one. */
static int dial(int port, int window)
{
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (s < 0)
        fail("no socket", strerror(errno));
    if (window)
        setsockopt(s, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
    if (connect(s, (struct sockaddr *)&to, sizeof to))
        fail("cannot connect", strerror(errno));
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return s;
}

/* Send a request with the headers that huggingface_hub sends; *range* is a header line or nothing. */
static void request(int s, int port, const char *method, const char *path, const char *range)
{
    char text[8192];
    int size = snprintf(text, sizeof text,
                        "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                        "User-Agent: unknown/None; hf_hub/1.0.0; python/3.11\r\nAccept: */*\r\n"
                        "Accept-Encoding: identity\r\nConnection: keep-alive\r\n%s\r\n",
                        method, path, port, range);
    if (size >= (int)sizeof text)
        fail("the path is too long", "");
    if (write(s, text, size) != size)
        fail("cannot ask", strerror(errno));
}

/* The value of a header of the head *text*, up to its line's end; NULL if it is not there. */
static char *header(char *text, const char *name)
{
    char *at = strcasestr(text, name);
    return at ? at + strlen(name) : NULL;
}

static void request_body(struct wire *w, int port, const char *path, int ranges)
{
    char range[96] = "";
    if (ranges)
        snprintf(range, sizeof range, "Range: bytes=%lld-%lld\r\n", w->low, w->high - 1);
    request(w->socket, port, "GET", path, range);
    fcntl(w->socket, F_SETFL, O_NONBLOCK);
}

/* Go where a redirect leads, which must be http on the loopback. */
static void follow(struct wire *w, int watch, int ranges)
{
    int port;
    char path[4096], *to = header(w->head, "\r\nlocation: http://");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = w};
    if (!to || w->moved || sscanf(to, "%*[^:/\r\n]:%d%4095[^\r\n]", &port, path) != 2)
        fail("a redirect that cannot be followed", w->head);
    close(w->socket);
    w->moved = 1;
    w->filled = 0;
    w->socket = dial(port, 0);
    request_body(w, port, path, ranges);
    epoll_ctl(watch, EPOLL_CTL_ADD, w->socket, &event);
}

/* Read what is there; returns 0 when the connection has ended, else 1. *most* bounds one read. */
static int feed(struct wire *w, int ranges, int watch, size_t most)
{
    ssize_t count = w->body ? recv(w->socket, buffer, most, 0)
                            : recv(w->socket, w->head + w->filled, HEAD - 1 - w->filled, 0);
    if (count < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK;
    if (count == 0)
        return 0;
    if (!w->body) {
        char *end, *length;
        int status;
        w->filled += count;
        w->head[w->filled] = 0;
        if (!(end = strstr(w->head, "\r\n\r\n"))) {
            if (w->filled == HEAD - 1)
                fail("a head without end", w->head);
            return 1;
        }
        count = w->filled - (end + 4 - w->head);
        end[2] = 0;
        status = strlen(w->head) > 12 ? atoi(w->head + 9) : 0;
        if (status / 100 == 3 && watch >= 0) {
            follow(w, watch, ranges);
            return 1;
        }
        length = header(w->head, "\r\ncontent-length: ");
        if (status != (ranges ? 206 : 200) || !length || atoll(length) != w->wanted)
            fail("not what was asked for", w->head);
        w->body = 1;
    }
    if (count && !w->got)
        w->first = now() - w->begun;
    w->got += count;
    return 1;
}

static void print_all(const char *name, struct wire *wires, int clients, size_t offset)
{
    printf(", \"%s\": [", name);
    for (int i = 0; i < clients; i++)
        printf("%s%.6f", i ? ", " : "", *(double *)((char *)&wires[i] + offset));
    printf("]");
}

static void print_bodies(double begun, struct wire *wires, int clients)
{
    long long bytes = 0;
    for (int i = 0; i < clients; i++)
        bytes += wires[i].got;
    printf("{\"seconds\": %.6f, \"bytes\": %lld", now() - begun, bytes);
    print_all("first", wires, clients, offsetof(struct wire, first));
    print_all("total", wires, clients, offsetof(struct wire, total));
    printf("}\n");
}

static struct wire *wires_for(int clients, long long size, int ranges)
{
    struct wire *wires = calloc(clients, sizeof *wires);
    if (!wires)
        fail("no memory", "");
    for (int i = 0; i < clients; i++) {
        wires[i].low = ranges ? size * i / clients : 0;
        wires[i].high = ranges ? size * (i + 1) / clients : size;
        wires[i].wanted = wires[i].high - wires[i].low;
    }
    return wires;
}

static void get(char **v)
{
    int port = atoi(v[0]), clients = atoi(v[3]), ranges = atoi(v[4]), begun = 0, ended = 0;
    double stagger = atof(v[5]) / 1000, start = now();
    struct wire *wires = wires_for(clients, atoll(v[2]), ranges);
    int watch = epoll_create1(0);
    while (ended < clients) {
        struct epoll_event events[64];
        for (; begun < clients && now() - start >= begun * stagger; begun++) {
            struct wire *w = &wires[begun];
            struct epoll_event event = {.events = EPOLLIN, .data.ptr = w};
            w->begun = now();
            w->socket = dial(port, 0);
            request_body(w, port, v[1], ranges);
            epoll_ctl(watch, EPOLL_CTL_ADD, w->socket, &event);
        }
        int ready = epoll_wait(watch, events, 64, begun < clients ? 1 : 30000);
        if (!ready && begun == clients)
            fail("nothing came for 30 s", "");
        for (int i = 0; i < ready; i++) {
            struct wire *w = events[i].data.ptr;
            if (!feed(w, ranges, watch, BUFFER))
                fail("the connection ended early", w->head);
            if (w->body && w->got >= w->wanted) {
                w->total = now() - w->begun;
                close(w->socket);
                ended++;
            }
        }
    }
    print_bodies(start, wires, clients);
}

static void slow(char **v)
{
    int port = atoi(v[0]), clients = atoi(v[3]);
    double rate = atof(v[4]), start = now(), end = 0;
    struct wire *wires = wires_for(clients, atoll(v[2]), 0);
    for (int i = 0; i < clients; i++) {
        wires[i].begun = now();
        wires[i].socket = dial(port, SLOW_WINDOW);
        request_body(&wires[i], port, v[1], 0);
    }
    while (!end || now() < end) {
        int served = 0;
        for (int i = 0; i < clients; i++) {
            struct wire *w = &wires[i];
            served += w->got > 0;
            if (w->got < w->wanted && (now() - start) * rate - w->got >= SLOW_READ
                && !feed(w, 0, -1, SLOW_READ))
                fail("the connection ended early", w->head);
        }
        if (!end && served == clients)
            end = now() + atof(v[5]);
        else if (!end && now() > start + 60)
            fail("some clients got nothing for 60 s", "");
        usleep(10000);
    }
    print_bodies(start, wires, clients);
}

struct asker {
    int socket, body;
    long long left, filled;
    double asked, next;
    char head[HEAD];
};

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Take what arrived; returns whether the answer is complete. */
static int answered(struct asker *a, int head_only)
{
    char *end, *length;
    ssize_t count = a->body ? recv(a->socket, buffer, BUFFER, 0)
                            : recv(a->socket, a->head + a->filled, HEAD - 1 - a->filled, 0);
    if (count <= 0)
        fail("the connection ended", count ? strerror(errno) : "");
    if (a->body) {
        a->left -= count;
        return a->left <= 0;
    }
    a->filled += count;
    a->head[a->filled] = 0;
    if (!(end = strstr(a->head, "\r\n\r\n")))
        return 0;
    count = a->filled - (end + 4 - a->head);
    end[2] = 0;
    length = header(a->head, "\r\ncontent-length: ");
    if (strncmp(a->head, "HTTP/1.1 200", 12) || !length)
        fail("not what was asked for", a->head);
    a->left = head_only ? 0 : atoll(length) - count;
    a->body = 1;
    return a->left <= 0;
}

static void ask(char **v)
{
    int port = atoi(v[0]), clients = atoi(v[3]), head_only = !strcmp(v[2], "HEAD");
    double pause = atof(v[5]) / 1000, start, end, t;
    size_t count = 0, room = 1 << 16;
    int open = clients;
    float *waits = malloc(room * sizeof *waits);
    struct asker *askers = calloc(clients, sizeof *askers);
    int watch = epoll_create1(0);
    if (!waits || !askers)
        fail("no memory", "");
    for (int i = 0; i < clients; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &askers[i]};
        askers[i].socket = dial(port, 0);
        epoll_ctl(watch, EPOLL_CTL_ADD, askers[i].socket, &event);
    }
    start = t = now();
    end = start + atof(v[4]);
    for (int i = 0; i < clients; i++) {
        askers[i].asked = now();
        request(askers[i].socket, port, v[2], v[1], "");
    }
    while (t < end || open > 0) {
        struct epoll_event events[64];
        if (t > end + 30)
            fail("no answers for 30 s", "");
        int ready = epoll_wait(watch, events, 64, pause > 0 ? 1 : 100);
        for (int i = 0; i < ready; i++) {
            struct asker *a = events[i].data.ptr;
            if (!answered(a, head_only))
                continue;
            t = now();
            if (count == room && !(waits = realloc(waits, (room *= 2) * sizeof *waits)))
                fail("no memory", "");
            waits[count++] = t - a->asked;
            a->body = a->filled = 0;
            a->next = t + pause;
            open--;
            if (pause <= 0 && t < end) {
                open++;
                a->asked = t;
                request(a->socket, port, v[2], v[1], "");
            }
        }
        t = now();
        for (int i = 0; pause > 0 && i < clients; i++)
            if (askers[i].next > 0 && t >= askers[i].next && t < end) {
                open++;
                askers[i].next = 0;
                askers[i].asked = t;
                request(askers[i].socket, port, v[2], v[1], "");
            }
    }
    qsort(waits, count, sizeof *waits, ascending);
    printf("{\"count\": %zu, \"seconds\": %.6f, \"median\": %.7f, \"p99\": %.7f}\n", count, t - start,
           count ? waits[count / 2] : 0, count ? waits[count * 99 / 100] : 0);
}

int main(int count, char **v)
{
    if (count == 8 && !strcmp(v[1], "get"))
        get(v + 2);
    else if (count == 8 && !strcmp(v[1], "ask"))
        ask(v + 2);
    else if (count == 8 && !strcmp(v[1], "slow"))
        slow(v + 2);
    else {
        fprintf(stderr, "usage: load get|ask|slow, see the source\n");
        return 2;
    }
    return 0;
}
