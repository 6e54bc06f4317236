// Package record is the TLS 1.3 record layer of a connection whose handshake crypto/tls has done: it opens and seals records (RFC 8446
// section 5), changes keys, and knows the alert for each fault. It performs no I/O, has no clock and starts no goroutine.
//
//	crypto/tls ── Take ──→ Conn, 224 bytes without pointers
//	records ── Layer.Open ──→ content        content ── Layer.Seal ──→ records
//
// Nothing of cryptography is implemented here: keys come from crypto/hkdf, records from crypto/aes, crypto/cipher and
// x/crypto/chacha20poly1305. Take reads the secrets inside a tls.Conn, whose layout the package checks; Works reports whether it can.
package record
