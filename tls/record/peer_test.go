package record

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"hash"
	"slices"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

// Content types and messages that only a test sends (RFC 8446 sections 5.1 and 4).
const (
	typeChangeCipherSpec      = 20
	messageHelloRequest       = 0
	messageClientHello        = 1
	messageCertificateRequest = 13
	messageFinished           = 20
)

// suiteIDs are the cipher suites, each of which most tests run with.
var suiteIDs = []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256}

// A peer is one direction of a connection by the text of RFC 8446: it shares no code with the package, and seals what no
// Layer does.
type peer struct {
	id     uint16
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func newPeer(id uint16, secret []byte) *peer {
	p := &peer{id: id}
	p.setSecret(secret)
	return p
}

// setSecret derives the keys as RFC 8446 section 7.3 says.
func (p *peer) setSecret(secret []byte) {
	keyBytes := 32
	if p.id == tls.TLS_AES_128_GCM_SHA256 {
		keyBytes = 16
	}
	p.secret, p.seq = secret, 0
	key := p.expand("key", keyBytes)
	p.iv = p.expand("iv", 12)
	var err error
	if p.id == tls.TLS_CHACHA20_POLY1305_SHA256 {
		p.aead, err = chacha20poly1305.New(key)
	} else {
		var block cipher.Block
		if block, err = aes.NewCipher(key); err == nil {
			p.aead, err = cipher.NewGCM(block)
		}
	}
	if err != nil {
		panic(err)
	}
}

// expand is HKDF-Expand-Label, which needs one block of HKDF-Expand (RFC 5869 section 2.3) for what TLS 1.3 derives here.
func (p *peer) expand(label string, length int) []byte {
	newHash := func() hash.Hash { return sha256.New() }
	if p.id == tls.TLS_AES_256_GCM_SHA384 {
		newHash = sha512.New384
	}
	info := []byte{0, byte(length), byte(len("tls13 ") + len(label))}
	info = append(info, "tls13 "+label...)
	mac := hmac.New(newHash, p.secret)
	mac.Write(append(info, 0 /* no context */, 1 /* the first block */))
	return mac.Sum(nil)[:length]
}

// update changes the keys (RFC 8446 section 7.2).
func (p *peer) update() { p.setSecret(p.expand("traffic upd", len(p.secret))) }

// nonce returns the nonce of the next record (RFC 8446 section 5.3).
func (p *peer) nonce() []byte {
	nonce := make([]byte, 12)
	binary.BigEndian.PutUint64(nonce[4:], p.seq)
	for i := range nonce {
		nonce[i] ^= p.iv[i]
	}
	p.seq++
	return nonce
}

// seal returns the record of a TLSInnerPlaintext (RFC 8446 section 5.2), under a header of a version.
func (p *peer) seal(version uint16, inner []byte) []byte {
	header := []byte{23, byte(version >> 8), byte(version), 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(inner)+16))
	return append(header, p.aead.Seal(nil, p.nonce(), inner, header)...)
}

// inner returns the record of a TLSInnerPlaintext.
func (p *peer) inner(parts ...[]byte) []byte { return p.seal(0x0303, bytes.Join(parts, nil)) }

// record returns the record of content of a type.
func (p *peer) record(contentType byte, content ...byte) []byte {
	return p.inner(content, []byte{contentType})
}

// data returns the record of application data.
func (p *peer) data(s string) []byte { return p.record(typeApplicationData, []byte(s)...) }

// keyUpdate returns the record of a KeyUpdate, and changes the keys.
func (p *peer) keyUpdate(isRequested byte) []byte {
	record := p.record(typeHandshake, keyUpdate(isRequested)...)
	p.update()
	return record
}

// open opens the record that the other end has sealed, and returns the records after it.
func (p *peer) open(t testing.TB, records []byte) (contentType byte, content, rest []byte) {
	t.Helper()
	if len(records) < 5 || len(records) < 5+int(binary.BigEndian.Uint16(records[3:])) {
		t.Fatalf("%d bytes %x are no record", len(records), records[:min(5, len(records))])
	}
	end := 5 + int(binary.BigEndian.Uint16(records[3:]))
	if records[0] != 23 || records[1] != 3 || records[2] != 3 {
		t.Errorf("the header is %x, want 170303 and a length", records[:5])
	}
	inner, err := p.aead.Open(nil, p.nonce(), records[5:end], records[:5])
	if err != nil || len(inner) == 0 || inner[len(inner)-1] == 0 {
		t.Fatalf("the record %x is opened to %x, %v; want no padding, and no error", records[:end], inner, err)
	}
	last := len(inner) - 1
	return inner[last], inner[:last], records[end:]
}

// message returns a handshake message (RFC 8446 section 4).
func message(kind byte, body []byte) []byte {
	return append([]byte{kind, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

func keyUpdate(isRequested byte) []byte { return message(messageKeyUpdate, []byte{isRequested}) }

// ticket returns a NewSessionTicket whose body has a length.
func ticket(bodyBytes int) []byte { return message(messageNewSessionTicket, make([]byte, bodyBytes)) }

// secretOf returns a traffic secret for a suite, made of a byte.
func secretOf(id uint16, b byte) []byte {
	n := 32
	if id == tls.TLS_AES_256_GCM_SHA384 {
		n = 48
	}
	return bytes.Repeat([]byte{b}, n)
}

// newConn returns a connection, the peer that seals what it opens, and the one that opens what it seals.
func newConn(id uint16, isTheClient bool) (c *Conn, in, out *peer) {
	in, out = newPeer(id, secretOf(id, 0x11)), newPeer(id, secretOf(id, 0x22))
	c = &Conn{suite: suiteOf(id)}
	c.in.setSecret(c.suite, in.secret)
	c.out.setSecret(c.suite, out.secret)
	if isTheClient {
		c.flags = isClient
	}
	return c, in, out
}

// openAll opens records until an error other than ErrKeyUpdate, and returns how often the peer has changed its keys.
func openAll(l *Layer, c *Conn, dst, records []byte) (content []byte, consumed, updates int, err error) {
	for content = dst; ; updates++ {
		var n int
		content, n, err = l.Open(c, content, records[consumed:])
		consumed += n
		if err != ErrKeyUpdate {
			return content, consumed, updates, err
		}
	}
}

// A result is what the records that a peer has sent come to.
type result struct {
	content string
	updates int
	err     error
}

// openWhole opens records that come at once.
func openWhole(t testing.TB, c *Conn, records []byte) result {
	t.Helper()
	content, consumed, updates, err := openAll(NewLayer(), c, nil, records)
	checkConsumed(t, records[:consumed], records[consumed:], err)
	return result{string(content), updates, err}
}

// openBytewise opens records that come byte by byte.
func openBytewise(t testing.TB, c *Conn, records []byte) (r result) {
	t.Helper()
	l := NewLayer()
	var begin int
	for end := range len(records) + 1 {
		content, consumed, updates, err := openAll(l, c, nil, records[begin:end])
		if begin += consumed; consumed > 0 && begin != end && err == nil {
			t.Fatalf("%d bytes are consumed after byte %d", consumed, end)
		}
		r.content += string(content)
		r.updates += updates
		if r.err = err; err != nil {
			break
		}
	}
	return r
}

// checkConsumed checks that Open has stopped at a record's beginning, and without an error only because the next one isn't whole.
func checkConsumed(t testing.TB, consumed, rest []byte, err error) {
	t.Helper()
	for len(consumed) > 0 {
		size, sizeErr := Size(consumed)
		if sizeErr != nil || size == 0 || size > len(consumed) {
			t.Fatalf("a part of a record is consumed: %x", consumed)
		}
		consumed = consumed[size:]
	}
	if size, sizeErr := Size(rest); err == nil && (sizeErr != nil || size > 0 && size <= len(rest)) {
		t.Errorf("a record of %d bytes is left, error %v", size, sizeErr)
	}
}

// isSameError reports whether Open has returned what was expected: of a *Fault, the alert counts.
func isSameError(got, want error) bool {
	var gotFault, wantFault *Fault
	if errors.As(got, &gotFault) && errors.As(want, &wantFault) {
		return gotFault.Alert == wantFault.Alert
	}
	return got == want
}

// fault returns an error of Open for an alert.
func fault(a Alert) error { return &Fault{Alert: a} }

// check opens records of a fresh connection for each suite, at once and byte by byte.
func check(t *testing.T, isTheClient bool, sent func(p *peer) []byte, want result) {
	t.Helper()
	for _, id := range suiteIDs {
		for how, open := range map[string]func(testing.TB, *Conn, []byte) result{"at once": openWhole, "byte by byte": openBytewise} {
			c, in, out := newConn(id, isTheClient)
			records := sent(in)
			backup := bytes.Clone(records)
			got := open(t, c, records)
			if got.content != want.content || got.updates != want.updates || !isSameError(got.err, want.err) {
				t.Errorf("%s, %s: content %.40q of %d bytes, %d changes of keys, error %v; want %.40q of %d bytes, %d, %v", tls.CipherSuiteName(id), how,
					got.content, len(got.content), got.updates, got.err, want.content, len(want.content), want.updates, want.err)
			}
			if !bytes.Equal(records, backup) {
				t.Errorf("%s, %s: Open has changed the records", tls.CipherSuiteName(id), how)
			}
			checkAlert(t, c, out, got.err)
		}
	}
}

// checkAlert checks that an alert can be sent for what Open has returned, and that nothing follows it.
func checkAlert(t testing.TB, c *Conn, out *peer, err error) {
	t.Helper()
	a := CloseNotify
	var f *Fault
	if errors.As(err, &f) {
		a = f.Alert
	}
	l := NewLayer()
	contentType, content, rest := out.open(t, l.Alert(c, nil, a))
	level := byte(2)
	if a == CloseNotify {
		level = 1
	}
	if contentType != typeAlert || !bytes.Equal(content, []byte{level, byte(a)}) || len(rest) > 0 {
		t.Errorf("the alert %v is sealed as %x of type %d, and %d bytes", a, content, contentType, len(rest))
	}
	if after := l.Seal(c, l.Alert(c, nil, a), [][]byte{[]byte("data")}); len(after) > 0 {
		t.Errorf("%d bytes follow the alert", len(after))
	}
}

// join returns records in their order.
func join(records ...[]byte) []byte { return slices.Concat(records...) }
