package upgrade

import (
	"net/netip"
	"testing"
)

// BenchmarkParse isolates the strict scan and the checks of one Chromium head
// that arrives whole. It shows neither reads nor the pool.
func BenchmarkParse(b *testing.B) {
	wire := []byte(chromium)
	var r Request
	b.ReportAllocs()
	b.SetBytes(int64(len(wire)))
	for b.Loop() {
		r.Reset()
		if n, err := r.Parse(wire); n != len(wire) || err != nil {
			b.Fatal(n, err)
		}
		if err := r.CheckUpgrade(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseAndForward is the whole client side: parse, check, what routes
// ask for, the head for the backend. It does not show the write.
func BenchmarkParseAndForward(b *testing.B) {
	wire := []byte(chromium)
	f := &Forward{Client: netip.MustParseAddr("203.0.113.7"), Proto: "https", RequestID: "01J9ZK3V8Q6T4W2N"}
	var r Request
	var out [][]byte
	b.ReportAllocs()
	b.SetBytes(int64(len(wire)))
	for b.Loop() {
		r.Reset()
		if _, err := r.Parse(wire); err != nil {
			b.Fatal(err)
		}
		if err := r.CheckUpgrade(); err != nil {
			b.Fatal(err)
		}
		if len(r.Path()) == 0 || len(r.Hostname()) == 0 || len(r.Origin()) == 0 {
			b.Fatal("the head lost a part")
		}
		out = r.AppendForward(out[:0], f)
	}
}

// BenchmarkAnswer is the whole backend side: parse, check with its SHA-1, the
// head for the client.
func BenchmarkAnswer(b *testing.B) {
	var r Request
	if _, err := r.Parse([]byte(chromium)); err != nil {
		b.Fatal(err)
	}
	if err := r.CheckUpgrade(); err != nil {
		b.Fatal(err)
	}
	wire := []byte(switchingHead("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: permessage-deflate",
		"Set-Cookie: a=b; Path=/"))
	change := &AnswerChange{AddHeaders: []Field{{"Set-Cookie", "sluice=b1; Path=/; HttpOnly"}}}
	var a Answer
	var out [][]byte
	b.ReportAllocs()
	for b.Loop() {
		a.Reset()
		if _, err := a.Parse(wire); err != nil {
			b.Fatal(err)
		}
		if err := a.Check(&r); err != nil {
			b.Fatal(err)
		}
		out = a.AppendForward(out[:0], change)
	}
}
