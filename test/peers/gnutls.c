// A TLS 1.3 backend made of GnuTLS, for one connection after the other: what arrives goes to stdout, and what stdin has is sent. SIGUSR1 and
// SIGUSR2 change its keys (KeyUpdate); the latter asks the peer for the same.
//
//	gnutls CERT KEY PRIORITY
//
// As openssl s_server does, it writes to stdout a line with its address at first, a line "Reused session-id" before what a resumed connection
// sends, and a line "DONE" after what each connection has sent, if there was a close_notify.

#define _GNU_SOURCE // ppoll

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile sig_atomic_t signaled; // the signal that came and was not processed

static void note(int number) { signaled = number; }

// must ends the program if what a function of GnuTLS returned is an error.
static int must(int result, const char *what) {
  if (result < 0) {
    fprintf(stderr, "%s: %s\n", what, gnutls_strerror(result));
    exit(1);
  }
  return result;
}

// serve passes bytes until the connection's end. The signals come while it waits.
static void serve(gnutls_session_t session, int fd, const sigset_t *waiting) {
  char buffer[1 << 14];
  struct pollfd polled[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
  for (;;) {
    polled[0].revents = 0;
    polled[1].revents = POLLIN;
    if (gnutls_record_check_pending(session) == 0 && ppoll(polled, 2, NULL, waiting) < 0) {
      if (errno != EINTR) must(GNUTLS_E_PULL_ERROR, "ppoll");
      must(gnutls_session_key_update(session, signaled == SIGUSR2 ? GNUTLS_KU_PEER : 0), "key update");
      printf("KEYUPDATE\n");
      fflush(stdout);
      continue;
    }
    if (polled[1].revents != 0) {
      ssize_t n = gnutls_record_recv(session, buffer, sizeof buffer);
      if (n == 0) break;
      if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) continue; // a message of TLS itself
      must(n, "receive");
      fwrite(buffer, 1, n, stdout);
      fflush(stdout);
    } else if (polled[0].revents != 0) {
      ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
      if (n <= 0) exit(0);
      must(gnutls_record_send(session, buffer, n), "send");
    }
  }
  gnutls_bye(session, GNUTLS_SHUT_WR);
  printf("DONE\n");
  fflush(stdout);
}

int main(int count, char **args) {
  if (count != 4) return 2;
  sigset_t changes, waiting;
  sigemptyset(&changes);
  sigaddset(&changes, SIGUSR1);
  sigaddset(&changes, SIGUSR2);
  sigprocmask(SIG_BLOCK, &changes, &waiting);
  signal(SIGUSR1, note);
  signal(SIGUSR2, note);

  gnutls_certificate_credentials_t credentials;
  gnutls_datum_t ticket_key;
  must(gnutls_certificate_allocate_credentials(&credentials), "credentials");
  must(gnutls_certificate_set_x509_key_file(credentials, args[1], args[2], GNUTLS_X509_FMT_PEM), "certificate");
  must(gnutls_session_ticket_key_generate(&ticket_key), "ticket key");

  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 16) || getsockname(listener, (struct sockaddr *)&address, &size)) {
    perror("listen");
    return 1;
  }
  printf("ACCEPT 127.0.0.1:%d\n", ntohs(address.sin_port));
  fflush(stdout);
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    gnutls_session_t session;
    must(gnutls_init(&session, GNUTLS_SERVER), "session");
    must(gnutls_priority_set_direct(session, args[3], NULL), "priority");
    must(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials), "credentials");
    must(gnutls_session_ticket_enable_server(session, &ticket_key), "tickets");
    gnutls_transport_set_int(session, fd);
    must(gnutls_handshake(session), "handshake");
    if (gnutls_session_is_resumed(session)) printf("Reused session-id\n");
    serve(session, fd, &waiting);
    gnutls_deinit(session);
    close(fd);
  }
}
