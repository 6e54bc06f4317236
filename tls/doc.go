// Package tls terminates TLS for a listener, and makes the TLS configuration of connections to
// backends: certificates chosen by SNI, reloaded from files and renewed by ACME, client
// certificates, session tickets, and handshakes that are bounded in time and number.
//
// It is not a TLS implementation: all of that is crypto/tls. It accepts no connections and knows no
// WebSocket. After its handshake a connection is the caller's business; stdlib_test.go checks the
// properties of crypto/tls on which the caller's event loop relies.
//
// The path through it: New reads everything that a Config names, and fails if anything is wrong.
// Run watches the files, rotates ticket keys and keeps the ACME certificates until its context
// ends. Meanwhile Handshake turns connections into *tls.Conn. A reload stores a new table of
// certificates, or a new *tls.Config, for the handshakes that come; a live session keeps what it
// has. If a reload fails, what was there stays. internal/filewatch reports changed files.
//
// The files stay in one package because a handshake uses one generation of certificates, keys and
// tickets, which a reload replaces as a whole.
package tls
