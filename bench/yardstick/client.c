// client PORT CONNECTIONS SIZE SECONDS: the least that a closed-loop WebSocket load can do: epoll, read, compare, take the time, write.
// A yardstick for internal/load: one message on its way on each connection, at most 125 bytes. Prints messages a second.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 65536 };

static struct conn { int got; uint64_t sent_at; } conns[MAX_FDS];
static unsigned char want[128], frame[132], buf[65536];
static uint64_t latency[64 * 16]; // by power of two, 16 steps each

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void record(uint64_t ns) {
  int top = 63 - __builtin_clzll(ns | 16);
  latency[top * 16 + (ns >> (top - 4) & 15)]++;
}

static int die(const char *what) { perror(what); exit(1); }

static int dial(int port) {
  static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
  int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(fd, (void *)&a, sizeof a) < 0) die("connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (write(fd, request, sizeof request - 1) < 0) die("write the request");
  int n = 0;
  for (char head[4096] = {0}; !strstr(head, "\r\n\r\n");) {
    int m = read(fd, head + n, sizeof head - 1 - n);
    if (m <= 0) die("read the answer");
    n += m;
    if (strncmp(head, "HTTP/1.1 101 ", n < 13 ? n : 13)) die("no 101");
  }
  return fd;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  int count = atoi(argv[2]), size = atoi(argv[3]), ep = epoll_create1(0);
  if (size < 1 || size > 125) return 2;
  const unsigned char key[4] = {0x12, 0x34, 0x56, 0x78};
  want[0] = frame[0] = 0x82, want[1] = size, frame[1] = 0x80 | size;
  memcpy(frame + 2, key, 4);
  for (int i = 0; i < size; i++) want[2 + i] = i, frame[6 + i] = i ^ key[i & 3];
  for (int i = 0; i < count; i++) {
    int fd = dial(atoi(argv[1]));
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    conns[fd].sent_at = now();
    if (write(fd, frame, 6 + size) != 6 + size) die("write");
  }
  struct epoll_event events[256];
  uint64_t start = now(), t = start, end = start + (uint64_t)(atof(argv[4]) * 1e9), messages = 0;
  while (t < end) {
    int n = epoll_wait(ep, events, 256, 1000);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      struct conn *c = &conns[fd];
      int m = read(fd, buf, sizeof buf);
      if (m <= 0) die("read");
      t = now();
      if (m > 2 + size - c->got || memcmp(buf, want + c->got, m)) die("altered");
      if ((c->got += m) < 2 + size) continue;
      record(t - c->sent_at);
      messages++;
      c->got = 0, c->sent_at = t;
      if (write(fd, frame, 6 + size) != 6 + size) die("write");
    }
    if (n == 0) t = now();
  }
  printf("%.0f\n", messages / ((t - start) / 1e9));
}
