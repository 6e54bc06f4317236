package tls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"testing"
)

// A recordLayer seals or opens the records of one direction: crypto/tls offers no way to send a
// KeyUpdate.
type recordLayer struct {
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	number uint64
}

func newRecordLayer(t *testing.T, secret string) *recordLayer {
	t.Helper()
	raw, err := hex.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	l := &recordLayer{}
	l.set(raw)
	return l
}

// set derives keys as RFC 8446 section 7.3.
func (l *recordLayer) set(secret []byte) {
	block, err := aes.NewCipher(expandLabel(secret, "key", 16))
	if err != nil {
		panic(err)
	}
	if l.aead, err = cipher.NewGCM(block); err != nil {
		panic(err)
	}
	l.secret, l.iv, l.number = secret, expandLabel(secret, "iv", 12), 0
}

// update does what a KeyUpdate does: RFC 8446 section 7.2.
func (l *recordLayer) update() { l.set(expandLabel(l.secret, "traffic upd", 32)) }

// expandLabel is HKDF-Expand-Label of RFC 8446 section 7.1 with an empty context.
func expandLabel(secret []byte, label string, length int) []byte {
	label = "tls13 " + label
	info := string([]byte{0, byte(length), byte(len(label))}) + label + "\x00"
	key, err := hkdf.Expand(sha256.New, secret, info, length)
	if err != nil {
		panic(err)
	}
	return key
}

func (l *recordLayer) nonce() []byte {
	nonce := bytes.Clone(l.iv)
	tail := nonce[4:]
	binary.BigEndian.PutUint64(tail, binary.BigEndian.Uint64(tail)^l.number)
	l.number++
	return nonce
}

// seal returns a record of a content type.
func (l *recordLayer) seal(kind byte, content []byte) []byte {
	inner := append(bytes.Clone(content), kind)
	header := []byte{23, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(inner)+l.aead.Overhead()))
	return l.aead.Seal(header, l.nonce(), inner, bytes.Clone(header))
}

// open returns the content type and the content of one record.
func (l *recordLayer) open(t *testing.T, record []byte) (kind byte, content []byte) {
	t.Helper()
	if len(record) < 5 || len(record) != 5+int(binary.BigEndian.Uint16(record[3:])) {
		t.Fatalf("not one record: %x", record)
	}
	inner, err := l.aead.Open(nil, l.nonce(), record[5:], record[:5])
	if err != nil {
		t.Fatalf("record: %v", err)
	}
	inner = bytes.TrimRight(inner, "\x00")
	return inner[len(inner)-1], inner[:len(inner)-1]
}
