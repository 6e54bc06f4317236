package record

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

// A script is a fuzz target's input, which a test reads decisions from. After its end, all of them are 0.
type script struct{ rest []byte }

func (s *script) more() bool { return len(s.rest) > 0 }

func (s *script) byte() (b byte) {
	if len(s.rest) > 0 {
		b, s.rest = s.rest[0], s.rest[1:]
	}
	return b
}

// size returns a size of up to 40 KB: one below 64, next to a record's, or any.
func (s *script) size() int {
	switch b := int(s.byte()); b >> 6 {
	case 0:
		return b
	case 1:
		return 1<<14 - 32 + b&63
	case 2:
		return b & 63 << 4
	default:
		return b&63<<8 | int(s.byte())
	}
}

// take returns the next bytes.
func (s *script) take(n int) (p []byte) {
	n = min(n, len(s.rest))
	p, s.rest = s.rest[:n], s.rest[n:]
	return p
}

// suite returns one of the cipher suites.
func (s *script) suite() uint16 { return suiteIDs[int(s.byte())%len(suiteIDs)] }

// A counter makes content in which no part is like another.
type counter struct{ next uint32 }

func (c *counter) bytes(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(c.next>>8) ^ byte(c.next*7)
		c.next++
	}
	return p
}

// addScripts adds seeds for the targets of two ends: each suite and end, with the decisions of a few bytes.
func addScripts(f *testing.F) {
	for suite := range byte(3) {
		for end := range byte(2) {
			f.Add([]byte{suite, end, 0, 0, 5, 3, 3, 0, 2, 70, 90})
			f.Add([]byte{suite, end, 3, 1, 0xff, 0, 4, 2, 0, 200, 1, 3, 1, 0, 9, 3})
			f.Add([]byte{suite, end, 1, 0, 0x5f, 0x60, 0, 0x61, 1, 1, 1, 0, 1, 3, 0xff, 0xff})
			f.Add([]byte{suite, end, 2, 2, 2, 0, 2, 0, 3, 2, 0, 0xc1, 2, 1, 1, 7})
		}
	}
}

// FuzzSealedIsOpenedByCryptoTLS has ours write, in spans, with few records under a key, and be asked for new keys at any time.
func FuzzSealedIsOpenedByCryptoTLS(f *testing.F) {
	addScripts(f)
	f.Fuzz(sealedIsOpenedByCryptoTLS)
}

func sealedIsOpenedByCryptoTLS(t *testing.T, input []byte) {
	s := &script{input}
	x := templates()[s.suite()].link(t, s.byte()%2 > 0)
	if limit := s.byte(); limit > 0 {
		x.layer.Limit = uint64(limit)
	}
	// Theirs writes by this: crypto/tls can't ask for new keys.
	theirs := newPeer(x.theirs.ConnectionState().CipherSuite, bytes.Clone(x.conn.in.secret[:suites[x.conn.suite].hashBytes]))
	var content counter
	var want, got []byte
	requests := 0
	for steps := 0; s.more() && steps < 64; steps++ {
		switch s.byte() % 4 {
		case 0:
			var spans [][]byte
			for range s.byte() % 5 {
				spans = append(spans, content.bytes(s.size()))
			}
			want = append(want, bytes.Join(spans, nil)...)
			x.write(spans...)
		case 1:
			got = append(got, readAll(t, x.theirs)...)
		case 2:
			_, _, updates, err := openAll(x.layer, &x.conn, nil, theirs.keyUpdate(1))
			if requests++; updates != 1 || err != nil {
				t.Fatalf("a KeyUpdate is opened as %d, %v", updates, err)
			}
		case 3:
			_, _, updates, err := openAll(x.layer, &x.conn, nil, theirs.keyUpdate(0))
			if updates != 1 || err != nil {
				t.Fatalf("a KeyUpdate is opened as %d, %v", updates, err)
			}
		}
		x.conn = moved(t, &x.conn)
	}
	got = append(got, readAll(t, x.theirs)...)
	if !bytes.Equal(got, want) {
		t.Errorf("crypto/tls has read %d bytes, want %d, the same", len(got), len(want))
	}
	if ours, theirs := x.conn.out.secret[:suites[x.conn.suite].hashBytes], *at[[]byte](x.theirs, theLayout.in.secret); !bytes.Equal(ours, theirs) {
		t.Errorf("after %d requests, the secret is %x here, and %x there", requests, ours, theirs)
	}
	x.wire.send(t, x.layer.Alert(&x.conn, nil, CloseNotify))
	if n, err := x.theirs.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("crypto/tls: Read = %d, %v; want io.EOF", n, err)
	}
}

// FuzzSealedByCryptoTLSIsOpened has crypto/tls write, and change its keys because ours asks for it. What it has sent comes in pieces.
func FuzzSealedByCryptoTLSIsOpened(f *testing.F) {
	addScripts(f)
	f.Fuzz(sealedByCryptoTLSIsOpened)
}

func sealedByCryptoTLSIsOpened(t *testing.T, input []byte) {
	s := &script{input}
	x := templates()[s.suite()].link(t, s.byte()%2 > 0)
	var content counter
	var want []byte
	updates := 0
	for steps := 0; s.more() && steps < 64; steps++ {
		switch s.byte() % 4 {
		case 0:
			p := content.bytes(s.size())
			want = append(want, p...)
			if _, err := x.theirs.Write(p); err != nil {
				t.Fatal(err)
			}
		case 1:
			x.write([]byte("data")) // of KeyUpdates in a row, crypto/tls refuses more than 16
			x.requestUpdate()
			readAll(t, x.theirs)
			updates++
		case 2:
			if err := x.read(1 + s.size()); err != nil {
				t.Fatal(err)
			}
		case 3: // as in another process
			x.layer, x.conn = NewLayer(), moved(t, &x.conn)
		}
	}
	x.end()
	if !bytes.Equal(x.content, want) || x.updates != updates {
		t.Errorf("%d bytes and %d changes of keys are opened, want %d, the same, and %d", len(x.content), x.updates, len(want), updates)
	}
	x.checkSecrets()
}

func TestRandomExchangesWithCryptoTLS(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 200 {
		input := make([]byte, 3+random.IntN(100))
		for j := range input {
			input[j] = byte(random.Uint32())
		}
		sealedIsOpenedByCryptoTLS(t, input)
		sealedByCryptoTLSIsOpened(t, input)
		if t.Failed() {
			t.Fatalf("script %d of seed %d: %q", i, seed, input)
		}
	}
}

// FuzzOpen opens records of any inner plaintexts, and bytes that aren't records: at once, and in pieces.
func FuzzOpen(f *testing.F) {
	const (
		bare    = iota // bytes as they are
		plain          // an inner plaintext as it is
		padded         // a type, content and padding
		whole          // a handshake message
		ofData         // data
		updated        // a KeyUpdate
		kinds
	)
	f.Add([]byte{0, 0, 7, ofData, 5, 'h', 'e', 'l', 'l', 'o', updated, 1, ofData, 1, '.'})
	f.Add([]byte{1, 1, 1, padded, typeApplicationData, 0x60, 1, ofData, 0, padded, typeHandshake, 3, 0})
	f.Add([]byte{2, 1, 200, whole, messageNewSessionTicket, 30, plain, 3, 24, 0, 22, plain, 4, 0, 1, 0, 22, ofData, 1, 'x'})
	f.Add([]byte{2, 0, 30, whole, messageHelloRequest, 0, bare, 8, 23, 3, 3, 0, 3, 1, 2, 3})
	f.Add([]byte{0, 1, 30, plain, 3, 1, 0, 21, plain, 0, padded, 0, 5, 9})
	f.Add([]byte{1, 0, 9, bare, 5, 23, 3, 3, 0x41, 1, ofData, 1, 'x'})
	f.Fuzz(func(t *testing.T, input []byte) {
		s := &script{input}
		id, isTheClient, piece := s.suite(), s.byte()%2 > 0, 1+int(s.byte())
		c, in, out := newConn(id, isTheClient)
		var stream, data []byte // data: all that was sent before bytes that are no record
		var content counter
		isBare := false
		for steps := 0; s.more() && steps < 64; steps++ {
			switch s.byte() % kinds {
			case bare:
				p := s.take(int(s.byte()))
				isBare = isBare || len(p) > 0
				stream = append(stream, p...)
			case plain:
				inner := s.take(int(s.byte()))
				stream = append(stream, in.inner(inner)...)
				if inner = bytes.TrimRight(inner, "\x00"); !isBare && bytes.HasSuffix(inner, []byte{typeApplicationData}) {
					data = append(data, inner[:len(inner)-1]...)
				}
			case padded:
				contentType, p := s.byte(), content.bytes(s.size()%(MaxContent+1))
				stream = append(stream, in.inner(p, []byte{contentType}, zeros(min(s.size(), MaxContent+255-len(p))))...)
				if !isBare && contentType == typeApplicationData {
					data = append(data, p...)
				}
			case whole:
				stream = append(stream, in.record(typeHandshake, message(s.byte(), content.bytes(s.size()%MaxContent))...)...)
			case ofData:
				p := s.take(int(s.byte()))
				stream = append(stream, in.data(string(p))...)
				if !isBare {
					data = append(data, p...)
				}
			case updated:
				stream = append(stream, in.keyUpdate(s.byte()%2)...)
			}
		}
		pieces := *c
		got := openWhole(t, c, stream)
		if !bytes.HasPrefix(data, []byte(got.content)) {
			t.Errorf("opened %q, want the beginning of %q", got.content, data)
		}
		if got.err == nil && !isBare && got.content != string(data) {
			t.Errorf("opened %q without an error, want %q", got.content, data)
		}

		l := NewLayer()
		var inPieces result
		var came []byte
		for len(stream) > 0 && inPieces.err == nil {
			n := min(piece, len(stream))
			came = append(came, stream[:n]...)
			stream = stream[n:]
			p, consumed, updates, err := openAll(l, &pieces, nil, came)
			if consumed > len(came) {
				t.Fatalf("%d bytes of %d are consumed", consumed, len(came))
			}
			came = came[consumed:]
			inPieces = result{inPieces.content + string(p), inPieces.updates + updates, err}
			if err == nil {
				pieces = moved(t, &pieces)
			}
		}
		if inPieces.content != got.content || inPieces.updates != got.updates || !isSameError(inPieces.err, got.err) {
			t.Errorf("in pieces of %d: %d bytes, %d changes of keys, %v; at once: %d, %d, %v", piece,
				len(inPieces.content), inPieces.updates, inPieces.err, len(got.content), got.updates, got.err)
		}
		for _, h := range []*half{&c.in, &c.out, &pieces.in, &pieces.out} {
			h.cached = 0 // where each layer has it
		}
		for _, of := range []*Conn{c, &pieces} {
			clear(of.begun[of.begunLen:]) // left from messages before
		}
		if *c != pieces {
			t.Errorf("the connection is %+v in pieces, and %+v at once", pieces, *c)
		}

		// Writing goes on, after the KeyUpdate that the peer may have asked for.
		wantUpdate := c.flags&owesUpdate != 0
		records := l.Seal(&pieces, nil, [][]byte{[]byte("after")})
		contentType, p, records := out.open(t, records)
		if wantUpdate {
			if contentType != typeHandshake || !bytes.Equal(p, keyUpdate(0)) {
				t.Fatalf("type %d, %x is sealed, want a KeyUpdate", contentType, p)
			}
			out.update()
			contentType, p, records = out.open(t, records)
		}
		if contentType != typeApplicationData || string(p) != "after" || len(records) > 0 {
			t.Errorf("type %d, %q, and %d bytes are sealed, want the data", contentType, p, len(records))
		}
		checkAlert(t, &pieces, out, got.err)
	})
}
