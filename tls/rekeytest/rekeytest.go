// Package rekeytest has the end of a TLS 1.3 connection that changes its keys as often as a test wants, which crypto/tls does on demand
// only. No part of the program imports it.
package rekeytest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
)

// A Conn is an end of a connection. crypto/tls does the handshake and reads; the Conn makes the records that it writes itself.
// One goroutine at a time may write.
type Conn struct {
	*tls.Conn
	lower net.Conn

	secret []byte // of the keys in use
	aead   cipher.AEAD
	iv     []byte
	seq    uint64 // of the next record under these keys
}

// Client does a handshake as a client.
func Client(lower net.Conn, config *tls.Config) (*Conn, error) {
	return handshake(lower, config, tls.Client, "CLIENT_TRAFFIC_SECRET_0")
}

// Server does a handshake as a server.
func Server(lower net.Conn, config *tls.Config) (*Conn, error) {
	return handshake(lower, config, tls.Server, "SERVER_TRAFFIC_SECRET_0")
}

func handshake(lower net.Conn, config *tls.Config, end func(net.Conn, *tls.Config) *tls.Conn, label string) (*Conn, error) {
	var secrets bytes.Buffer // lines of a label, the client's random value, a secret
	config = config.Clone()
	config.KeyLogWriter = &secrets
	config.SessionTicketsDisabled = true // a ticket would be a record under the keys
	c := &Conn{Conn: end(lower, config), lower: lower}
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	if suite := c.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		return nil, fmt.Errorf("the cipher suite is %s, want TLS_AES_128_GCM_SHA256", tls.CipherSuiteName(suite))
	}
	for line := range bytes.Lines(secrets.Bytes()) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == label {
			secret, err := hex.DecodeString(string(fields[2]))
			if err != nil {
				return nil, err
			}
			return c, c.setSecret(secret)
		}
	}
	return nil, fmt.Errorf("crypto/tls has logged no %s", label)
}

// setSecret derives the keys from a secret (RFC 8446 section 7.3).
func (c *Conn) setSecret(secret []byte) error {
	key, err := expand(secret, "key", 16)
	if err != nil {
		return err
	}
	iv, err := expand(secret, "iv", 12)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	c.secret, c.aead, c.iv, c.seq = secret, aead, iv, 0
	return nil
}

// expand is HKDF-Expand-Label of RFC 8446 section 7.1 with an empty context.
func expand(secret []byte, label string, length int) ([]byte, error) {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(length))
	info = append(append(info, byte(len(label))), label...)
	return hkdf.Expand(sha256.New, secret, string(append(info, 0)), length)
}

// Content types of RFC 8446 section 5.1.
const (
	typeHandshake       = 22
	typeApplicationData = 23
)

// appendRecord appends a record under the keys in use (RFC 8446 section 5.2).
func (c *Conn) appendRecord(dst []byte, contentType byte, content []byte) []byte {
	nonce := slices.Clone(c.iv)
	for i := range 8 {
		nonce[4+i] ^= byte(c.seq >> (56 - 8*i))
	}
	c.seq++
	start := len(dst)
	dst = append(dst, typeApplicationData, 3, 3)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(content)+1+c.aead.Overhead()))
	header := dst[start:]
	return c.aead.Seal(dst, nonce, append(slices.Clone(content), contentType), header)
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (n int, err error) {
	var records []byte
	for part := range slices.Chunk(p, 16<<10) {
		records = c.appendRecord(records, typeApplicationData, part)
	}
	if _, err := c.lower.Write(records); err != nil {
		return 0, err
	}
	return len(p), nil
}

// AppendRekeyed appends the records of n KeyUpdate messages, each under new keys, and then one with payload. The caller writes them by
// WriteRecords. isRequested: the other end is asked to change its keys, too.
func (c *Conn) AppendRekeyed(dst []byte, n int, isRequested bool, payload []byte) ([]byte, error) {
	message := []byte{24, 0, 0, 1, 0} // RFC 8446 section 4.6.3: key_update, of 1 byte: update_not_requested
	if isRequested {
		message[4] = 1
	}
	for range n {
		dst = c.appendRecord(dst, typeHandshake, message)
		next, err := expand(c.secret, "traffic upd", sha256.Size)
		if err != nil {
			return nil, err
		}
		if err := c.setSecret(next); err != nil {
			return nil, err
		}
	}
	return c.appendRecord(dst, typeApplicationData, payload), nil
}

// WriteRecords writes records of AppendRekeyed, in their order.
func (c *Conn) WriteRecords(records []byte) error {
	_, err := c.lower.Write(records)
	return err
}

// CloseWrite ends the stream of the connection below, without close_notify: crypto/tls doesn't know the keys any more.
func (c *Conn) CloseWrite() error { return c.lower.(interface{ CloseWrite() error }).CloseWrite() }

// Close closes the connection below.
func (c *Conn) Close() error { return c.lower.Close() }
