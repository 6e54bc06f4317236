// server PORT: the least that a WebSocket echo backend can do: epoll, read, unmask in place, write.
// A yardstick for internal/echo: frames of up to 125 bytes, whole in one read (the answer waits for the rest), no limits kept.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FDS = 65536, PARTIAL = 4096 };

static struct conn {
  char open;          // the handshake is made
  int held;           // bytes of partial
  unsigned char *partial;
} conns[MAX_FDS];
static unsigned char buf[65536 + PARTIAL];

static uint32_t rol(uint32_t x, int n) { return x << n | x >> (32 - n); }

// sha1 of at most 119 bytes. RFC 3174.
static void sha1(const char *s, unsigned char out[20]) {
  unsigned char block[128] = {0};
  size_t n = strlen(s), blocks = n < 56 ? 1 : 2;
  memcpy(block, s, n);
  block[n] = 0x80;
  for (int i = 0; i < 8; i++) block[blocks * 64 - 1 - i] = (uint64_t)n * 8 >> 8 * i;
  uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}, w[80];
  for (size_t b = 0; b < blocks; b++) {
    for (int i = 0; i < 16; i++) {
      unsigned char *p = block + b * 64 + i * 4;
      w[i] = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
    }
    for (int i = 16; i < 80; i++) w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = h[0], bb = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 80; i++) {
      uint32_t f = i < 20 ? (bb & c) | (~bb & d) : i < 40 ? bb ^ c ^ d : i < 60 ? (bb & c) | (bb & d) | (c & d) : bb ^ c ^ d;
      uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
      uint32_t t = rol(a, 5) + f + e + k + w[i];
      e = d, d = c, c = rol(bb, 30), bb = a, a = t;
    }
    h[0] += a, h[1] += bb, h[2] += c, h[3] += d, h[4] += e;
  }
  for (int i = 0; i < 20; i++) out[i] = h[i / 4] >> (24 - i % 4 * 8);
}

static void base64(const unsigned char in[20], char out[29]) {
  static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int i = 0, o = 0; i < 21; i += 3, o += 4) {
    uint32_t v = in[i] << 16 | in[i + 1] << 8 | (i + 2 < 20 ? in[i + 2] : 0);
    out[o] = set[v >> 18], out[o + 1] = set[v >> 12 & 63], out[o + 2] = set[v >> 6 & 63], out[o + 3] = set[v & 63];
  }
  out[27] = '=', out[28] = 0;
}

static void drop(int fd) {
  free(conns[fd].partial);
  memset(&conns[fd], 0, sizeof conns[fd]);
  close(fd);
}

static void shake_hands(int fd, int n) {
  buf[n] = 0;
  char *key = strcasestr((char *)buf, "Sec-WebSocket-Key:"), text[128], accept[29], answer[256];
  if (!key || !strstr((char *)buf, "\r\n\r\n")) { drop(fd); return; }
  key += strlen("Sec-WebSocket-Key:");
  key += strspn(key, " ");
  snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
  unsigned char sum[21] = {0};
  sha1(text, sum);
  base64(sum, accept);
  n = snprintf(answer, sizeof answer,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
  conns[fd].open = write(fd, answer, n) == n;
}

static void echo(int fd) {
  struct conn *c = &conns[fd];
  if (c->held) memcpy(buf, c->partial, c->held);
  int n = read(fd, buf + c->held, 65535);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) { drop(fd); return; }
  n += c->held, c->held = 0;
  if (!c->open) { shake_hands(fd, n); return; }
  int in = 0, out = 0;
  while (n - in >= 6) {
    int length = buf[in + 1] & 127, opcode = buf[in] & 15;
    if (length > 125 || !(buf[in + 1] & 128)) { drop(fd); return; }
    if (n - in < 6 + length) break;
    unsigned char key[4];
    memcpy(key, buf + in + 2, 4);
    buf[out] = opcode == 9 ? 0x8a : buf[in], buf[out + 1] = length;
    for (int i = 0; i < length; i++) buf[out + 2 + i] = buf[in + 6 + i] ^ key[i & 3];
    in += 6 + length, out += 2 + length;
  }
  if (n > in) {
    if (n - in > PARTIAL) { drop(fd); return; }
    if (!c->partial) c->partial = malloc(PARTIAL);
    memcpy(c->partial, buf + in, c->held = n - in);
  }
  for (int o = 0; o < out;) {
    int w = write(fd, buf + o, out - o);
    if (w >= 0) o += w;
    else if (errno != EAGAIN) return;
  }
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  signal(SIGPIPE, SIG_IGN);
  int one = 1, l = socket(AF_INET, SOCK_STREAM, 0), ep = epoll_create1(0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(l, (void *)&a, sizeof a) < 0 || listen(l, 4096) < 0) { perror("server"); return 1; }
  struct epoll_event e = {.events = EPOLLIN, .data.fd = l}, events[256];
  epoll_ctl(ep, EPOLL_CTL_ADD, l, &e);
  for (;;) {
    int n = epoll_wait(ep, events, 256, -1);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      if (fd != l) { echo(fd); continue; }
      if ((fd = accept4(l, 0, 0, SOCK_NONBLOCK)) < 0) continue;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      e.events = EPOLLIN, e.data.fd = fd;
      epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    }
  }
}
