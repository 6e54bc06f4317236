package record

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"slices"
	"testing"
)

// openSealed opens all that ours has sealed: the content, how many records each key has sealed, and how many of them were KeyUpdates.
func openSealed(t testing.TB, out *peer, records []byte, perKey []int) (content []byte, counts []int, updates int) {
	t.Helper()
	counts = perKey
	for len(records) > 0 {
		var contentType byte
		var p []byte
		contentType, p, records = out.open(t, records)
		counts[len(counts)-1]++
		switch {
		case contentType == typeHandshake && bytes.Equal(p, keyUpdate(0)):
			out.update()
			counts = append(counts, 0)
			updates++
		case contentType == typeApplicationData && len(p) > 0 && len(p) <= 1<<14:
			content = append(content, p...)
		default:
			t.Fatalf("%d bytes %.20x of type %d are sealed", len(p), p, contentType)
		}
	}
	return content, counts, updates
}

func TestContentIsSealedInAsFewRecordsAsPossible(t *testing.T) {
	for _, id := range suiteIDs {
		for _, test := range []struct {
			spans   []int
			records int
		}{
			{nil, 0},
			{[]int{0}, 0},
			{[]int{0, 0, 0}, 0},
			{[]int{1}, 1},
			{[]int{0, 1, 0, 0, 1, 0}, 1},
			{[]int{1 << 14}, 1},
			{[]int{1<<14 - 1, 0, 1}, 1},
			{[]int{1<<14 + 1}, 2},
			{[]int{10000, 10000, 10000}, 2},
			{[]int{5, 3 << 14, 5}, 4},
			{slices.Repeat([]int{1}, 1<<14), 1},
		} {
			c, _, out := newConn(id, asServer)
			var content counter
			var spans [][]byte
			for _, n := range test.spans {
				spans = append(spans, content.bytes(n))
			}
			want := bytes.Join(spans, nil)
			got := NewLayer().Seal(c, []byte("in front"), spans)
			sealed, isAppended := bytes.CutPrefix(got, []byte("in front"))
			opened, counts, updates := openSealed(t, out, sealed, []int{0})
			if !isAppended || !bytes.Equal(opened, want) || counts[0] != test.records || updates > 0 {
				t.Errorf("%s, spans of %v bytes: %d records with %d bytes, want %d with %d, the same", tls.CipherSuiteName(id), test.spans[:min(10, len(test.spans))],
					counts[0], len(opened), test.records, len(want))
			}
			if len(sealed) != len(want)+test.records*Overhead {
				t.Errorf("%d records are %d bytes longer than their content", test.records, len(sealed)-len(want))
			}
			if !bytes.Equal(bytes.Join(spans, nil), want) {
				t.Errorf("Seal has changed the content")
			}
		}
	}
}

// RFC 8446 section 4.6.3: an end that has sent nothing may answer many requests once, before its next record with data.
func TestRequestsForNewKeysAreAnsweredBeforeData(t *testing.T) {
	for _, requests := range []int{1, 5} {
		c, in, out := newConn(tls.TLS_AES_128_GCM_SHA256, asServer)
		l := NewLayer()
		for range requests {
			if _, _, updates, err := openAll(l, c, nil, in.keyUpdate(1)); updates != 1 || err != nil {
				t.Fatalf("a KeyUpdate is opened as %d, %v", updates, err)
			}
		}
		if sealed := l.Seal(c, nil, [][]byte{nil, {}}); len(sealed) > 0 {
			t.Errorf("%d bytes are sealed without data", len(sealed))
		}
		sealed := l.Seal(c, nil, [][]byte{[]byte("one")})
		sealed = l.Seal(c, sealed, [][]byte{[]byte(", two")})
		content, counts, updates := openSealed(t, out, sealed, []int{0})
		if string(content) != "one, two" || updates != 1 || !slices.Equal(counts, []int{1, 2}) {
			t.Errorf("%d requests: %q is sealed with %d KeyUpdates, in records %v; want one at the beginning", requests, content, updates, counts)
		}
	}
}

func TestAnUpdateThatIsNotRequestedIsNotAnswered(t *testing.T) {
	c, in, out := newConn(tls.TLS_AES_128_GCM_SHA256, asServer)
	l := NewLayer()
	if _, _, updates, err := openAll(l, c, nil, in.keyUpdate(0)); updates != 1 || err != nil {
		t.Fatalf("a KeyUpdate is opened as %d, %v", updates, err)
	}
	if content, _, updates := openSealed(t, out, l.Seal(c, nil, [][]byte{[]byte("data")}), []int{0}); string(content) != "data" || updates > 0 {
		t.Errorf("%q is sealed with %d KeyUpdates, want none", content, updates)
	}
}

func TestAnAlertNeedsNoNewKeys(t *testing.T) {
	c, in, out := newConn(tls.TLS_AES_128_GCM_SHA256, asServer)
	l := NewLayer()
	if _, _, _, err := openAll(l, c, nil, in.keyUpdate(1)); err != nil {
		t.Fatal(err)
	}
	checkAlert(t, c, out, fault(IllegalParameter))
}

func TestKeysChangeBeforeTheLimitOfRecords(t *testing.T) {
	const limit = 3
	for _, id := range suiteIDs {
		c, in, out := newConn(id, asServer)
		l := NewLayer()
		l.Limit = limit
		var content counter
		var want, got []byte
		counts := []int{0}
		for i := range 30 {
			if i%7 == 3 { // at the limit, and beside it
				if _, _, _, err := openAll(l, c, nil, in.keyUpdate(1)); err != nil {
					t.Fatal(err)
				}
			}
			p := content.bytes(1 + i%4<<14)
			want = append(want, p...)
			var opened []byte
			var updates int
			opened, counts, updates = openSealed(t, out, l.Seal(c, nil, [][]byte{p}), counts)
			got = append(got, opened...)
			if i%7 == 3 && updates == 0 {
				t.Errorf("%s: the request before write %d is not answered", tls.CipherSuiteName(id), i)
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: opened %d bytes, want %d, the same", tls.CipherSuiteName(id), len(got), len(want))
		}
		for i, n := range counts {
			if n > limit+1 || n == 0 {
				t.Errorf("%s: key %d has sealed %d records, want at most %d and the KeyUpdate: %v", tls.CipherSuiteName(id), i, n, limit, counts)
			}
		}
	}
}

// A request that comes when the limit is reached is answered by the same KeyUpdate.
func TestARequestAtTheLimitIsOneChangeOfKeys(t *testing.T) {
	c, in, out := newConn(tls.TLS_AES_256_GCM_SHA384, asClient)
	l := NewLayer()
	l.Limit = 2
	sealed := l.Seal(c, nil, [][]byte{[]byte("a")})
	sealed = l.Seal(c, sealed, [][]byte{[]byte("b")})
	if _, _, _, err := openAll(l, c, nil, in.keyUpdate(1)); err != nil {
		t.Fatal(err)
	}
	sealed = l.Seal(c, sealed, [][]byte{[]byte("c")})
	content, counts, updates := openSealed(t, out, sealed, []int{0})
	if string(content) != "abc" || updates != 1 || !slices.Equal(counts, []int{3, 1}) {
		t.Errorf("%q is sealed with %d KeyUpdates, in records %v; want one", content, updates, counts)
	}
}

func TestTheLimitIsThatOfTheRFC(t *testing.T) {
	// RFC 8446 section 5.5: 2^24.5 records of full size, 23726566.4.
	if l := NewLayer(); l.Limit > 23726566 {
		t.Errorf("a key seals %d records", l.Limit)
	}
}

func TestCryptoTLSFollowsTheLimitOfRecords(t *testing.T) {
	for _, id := range suiteIDs {
		for _, takesClient := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, client %t", tls.CipherSuiteName(id), takesClient), func(t *testing.T) {
				x := templates()[id].link(t, takesClient)
				x.layer.Limit = 2
				var content counter
				var sent, back []byte
				for i := range 60 {
					p := content.bytes(1 + 3000*i%50000)
					sent = append(sent, p...)
					x.write(p)
					if i%5 == 4 { // both change their keys at once: ours before it has read their answer
						x.requestUpdate()
					}
					if i%3 == 2 {
						if got := readAll(t, x.theirs); !bytes.Equal(got, sent) {
							t.Fatalf("crypto/tls has read %d bytes, want %d, the same", len(got), len(sent))
						}
						sent = nil
						p := content.bytes(1 + 2000*i%40000)
						back = append(back, p...)
						if _, err := x.theirs.Write(p); err != nil {
							t.Fatal(err)
						}
					}
					if i%4 == 3 {
						if err := x.read(0); err != nil {
							t.Fatal(err)
						}
					}
				}
				if x.updates == 0 {
					t.Error("crypto/tls has not changed its keys")
				}
				x.checkSecrets()
				x.end()
				if !bytes.Equal(x.content, back) {
					t.Errorf("opened %d bytes, want %d, the same", len(x.content), len(back))
				}
			})
		}
	}
}

// Two Layers with few records under a key, whose records cross on the way: each end changes its keys while the other's KeyUpdate comes.
func TestBothEndsChangeTheirKeysAtOnce(t *testing.T) {
	for _, id := range suiteIDs {
		var layers [2]*Layer
		var conns [2]Conn
		for i := range conns {
			layers[i] = NewLayer()
			layers[i].Limit = 2
			conns[i].suite = suiteOf(id)
			conns[i].in.setSecret(conns[i].suite, secretOf(id, byte(1+i)))
			conns[i].out.setSecret(conns[i].suite, secretOf(id, byte(2-i)))
		}
		var updates [2]int
		for range 20 {
			var onTheWay [2][]byte
			for i := range conns {
				for range 3 {
					onTheWay[i] = layers[i].Seal(&conns[i], onTheWay[i], [][]byte{[]byte("abc")})
				}
			}
			for i := range conns {
				content, consumed, n, err := openAll(layers[i], &conns[i], nil, onTheWay[1-i])
				if string(content) != "abcabcabc" || consumed != len(onTheWay[1-i]) || err != nil {
					t.Fatalf("%s: end %d has opened %q, %v", tls.CipherSuiteName(id), i, content, err)
				}
				updates[i] += n
			}
		}
		if want := 3 * 20 / 2; updates[0] < want/2 || updates[1] != updates[0] {
			t.Errorf("%s: the keys were changed %v times, want about %d", tls.CipherSuiteName(id), updates, want)
		}
		for i := range conns {
			if conns[i].out.secret != conns[1-i].in.secret || conns[i].out.seq != conns[1-i].in.seq {
				t.Errorf("%s: the keys of end %d differ", tls.CipherSuiteName(id), i)
			}
		}
	}
}
