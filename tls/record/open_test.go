package record

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// A scenario is what a peer sends, and what Open makes of it.
type scenario struct {
	name string
	sent func(p *peer) []byte
	want result
}

// checkEach runs scenarios that both ends judge alike, or one of them.
func checkEach(t *testing.T, scenarios []scenario, ends ...bool) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			for _, isTheClient := range ends {
				check(t, isTheClient, s.sent, s.want)
			}
		})
	}
}

const asServer, asClient = false, true

// sealed returns what sends one record of a TLSInnerPlaintext.
func sealed(parts ...[]byte) func(p *peer) []byte {
	return func(p *peer) []byte { return p.inner(parts...) }
}

// raw returns what sends bytes that aren't sealed, after data.
func raw(p ...byte) func(*peer) []byte {
	return func(in *peer) []byte { return join(in.data("before"), p) }
}

var (
	ofData      = []byte{typeApplicationData}
	ofHandshake = []byte{typeHandshake}
	ofAlert     = []byte{typeAlert}
)

func zeros(n int) []byte { return make([]byte, n) }

// text returns content of a length without a zero.
func text(n int) []byte { return bytes.Repeat([]byte{'x'}, n) }

func TestDataIsOpened(t *testing.T) {
	scenarios := []scenario{
		{"nothing", func(*peer) []byte { return nil }, result{}},
		{"records in a row", func(p *peer) []byte { return join(p.data("one, "), p.data("two, "), p.data("three")) }, result{content: "one, two, three"}},
		{"content that ends in zeros", sealed([]byte("a\x00\x00"), ofData), result{content: "a\x00\x00"}},
		{"content of zeros", sealed(zeros(10), ofData), result{content: string(zeros(10))}},
		{"content of 2^14 bytes", sealed(text(1<<14), ofData), result{content: string(text(1 << 14))}},
		{"padding up to 2^14 + 1 bytes", sealed(text(1<<14-255), ofData, zeros(255)), result{content: string(text(1<<14 - 255))}},
		{"2^14 bytes of padding", func(p *peer) []byte { return join(p.inner(ofData, zeros(1<<14)), p.data("after")) }, result{content: "after"}},
		// RFC 8446 section 5.1: legacy_record_version "MUST be ignored for all purposes".
		{"versions that the peer has authenticated", func(p *peer) []byte {
			return join(p.seal(0x0301, []byte("a\x17")), p.seal(0, []byte("b\x17")), p.seal(0xffff, []byte("c\x17")))
		}, result{content: "abc"}},
		{"empty data between data", func(p *peer) []byte { return join(p.data("a"), p.data(""), p.data("b")) }, result{content: "ab"}},
	}
	for padding := range 257 {
		scenarios = append(scenarios, scenario{fmt.Sprintf("padding of %d bytes", padding), func(p *peer) []byte {
			return join(p.inner([]byte("padded"), ofData, zeros(padding)), p.inner([]byte("."), ofData))
		}, result{content: "padded."}})
	}
	checkEach(t, scenarios, asServer, asClient)
}

func TestARecordIsOpenedOnlyWhenItIsWhole(t *testing.T) {
	for _, id := range suiteIDs {
		c, in, _ := newConn(id, asServer)
		l := NewLayer()
		before := *c
		record := in.data("whole")
		for n := range len(record) {
			content, consumed, err := l.Open(c, nil, record[:n])
			if len(content) > 0 || consumed > 0 || err != nil || *c != before {
				t.Fatalf("Open of %d bytes of %d = %q, %d, %v; want nothing, and the connection unchanged", n, len(record), content, consumed, err)
			}
		}
		if content, consumed, err := l.Open(c, nil, record); string(content) != "whole" || consumed != len(record) || err != nil {
			t.Errorf("Open = %q, %d, %v; want the content", content, consumed, err)
		}
	}
}

func TestContentIsAppended(t *testing.T) {
	c, in, _ := newConn(tls.TLS_AES_128_GCM_SHA256, asServer)
	records := join(in.data("two"), in.data("three"))
	room := make([]byte, 0, len(records)+10)
	got, _, err := NewLayer().Open(c, append(room, "one"...), records)
	if string(got) != "onetwothree" || err != nil || &got[0] != &room[:1][0] {
		t.Errorf("Open = %q, %v; want all in the room that there was", got, err)
	}
	got, _, err = NewLayer().Open(c, []byte("no room: "), in.data("four"))
	if string(got) != "no room: four" || err != nil {
		t.Errorf("Open without room = %q, %v", got, err)
	}
}

func TestSizeOfARecord(t *testing.T) {
	for _, test := range []struct {
		p    []byte
		want int
		err  error
	}{
		{nil, 0, nil},
		{[]byte{23}, 0, nil},
		{[]byte{23, 3, 3, 0xff}, 0, nil},
		{[]byte{23, 3, 3, 0, 0}, 5, nil},
		{[]byte{23, 3, 3, 0x41, 0}, MaxBytes, nil},
		{[]byte{23, 3, 3, 0x41, 1}, 0, fault(RecordOverflow)},
		{[]byte{23, 3, 3, 0xff, 0xff, 9}, 0, fault(RecordOverflow)},
		{[]byte{22}, 0, fault(UnexpectedMessage)},
		{[]byte{0, 3, 3, 0, 1, 1}, 0, fault(UnexpectedMessage)},
	} {
		if got, err := Size(test.p); got != test.want || !isSameError(err, test.err) {
			t.Errorf("Size(%x) = %d, %v; want %d, %v", test.p, got, err, test.want, test.err)
		}
	}
}

func TestRecordsThatAreNotSealedAreUnexpected(t *testing.T) {
	var scenarios []scenario
	for _, contentType := range []byte{0, typeChangeCipherSpec, typeAlert, typeHandshake, 24, 25, 'G', 0x80, 0xff} {
		scenarios = append(scenarios,
			scenario{fmt.Sprintf("type %d", contentType), raw(contentType, 3, 3, 0, 2, 1, 0), result{content: "before", err: fault(UnexpectedMessage)}},
			// RFC 8446 section 5.2: the header is authenticated, and its type is always application_data.
			scenario{fmt.Sprintf("type %d outside a sealed record", contentType), func(p *peer) []byte {
				record := p.data("data")
				record[0] = contentType
				return record
			}, result{err: fault(UnexpectedMessage)}})
	}
	// RFC 8446 section 5: "after the peer's Finished message, it MUST be treated as an unexpected record type".
	scenarios = append(scenarios, scenario{"the change_cipher_spec of a handshake", raw(typeChangeCipherSpec, 3, 3, 0, 1, 1),
		result{content: "before", err: fault(UnexpectedMessage)}})
	checkEach(t, scenarios, asServer, asClient)
}

func TestAFlippedBitIsNotAuthentic(t *testing.T) {
	for _, id := range suiteIDs {
		for bit := range 8 * (HeaderBytes + len("attack at dawn") + 1 + tagBytes) {
			c, in, _ := newConn(id, asServer)
			record := in.data("attack at dawn")
			after := in.data(strings.Repeat("after", 100))
			l := NewLayer()
			record[bit/8] ^= 1 << (bit % 8)
			want := fault(BadRecordMAC)
			switch {
			case bit/8 == 0:
				want = fault(UnexpectedMessage)
			case bit/8 == 3 && bit%8 == 7: // 2^15 bytes more
				want = fault(RecordOverflow)
			case bit/8 == 3 && bit%8 > 1: // 2^10 bytes more, and up: than have come
				want = nil
			}
			content, consumed, err := l.Open(c, nil, join(record, after))
			if len(content) > 0 || !isSameError(err, want) || err == nil && consumed > 0 {
				t.Errorf("%s, bit %d: Open = %q, %d, %v; want no content, %v", tls.CipherSuiteName(id), bit, content, consumed, err, want)
			}
			record[bit/8] ^= 1 << (bit % 8)
			if content, _, err := l.Open(c, nil, record); string(content) != "attack at dawn" || err != nil {
				t.Errorf("%s, bit %d: the record itself is opened as %q, %v", tls.CipherSuiteName(id), bit, content, err)
			}
		}
	}
}

func TestRecordsThatAreNotAuthenticAreBad(t *testing.T) {
	// sent returns some of three records, in an order.
	sent := func(order ...int) func(p *peer) []byte {
		return func(p *peer) (all []byte) {
			records := [][]byte{p.data("a"), p.data("b"), p.data("c")}
			for _, i := range order {
				all = append(all, records[i]...)
			}
			return all
		}
	}
	scenarios := []scenario{
		{"sent again", sent(0, 0), result{content: "a", err: fault(BadRecordMAC)}},
		{"sent again later", sent(0, 1, 0), result{content: "ab", err: fault(BadRecordMAC)}},
		{"in another order", sent(0, 2, 1), result{content: "a", err: fault(BadRecordMAC)}},
		{"one dropped", sent(0, 2), result{content: "a", err: fault(BadRecordMAC)}},
		{"the first one dropped", sent(1), result{err: fault(BadRecordMAC)}},
		{"under the old key after a KeyUpdate", func(p *peer) []byte {
			old := *p
			records := join(p.keyUpdate(0), p.data("new"))
			old.seq = p.seq
			return join(records, old.data("old"))
		}, result{content: "new", updates: 1, err: fault(BadRecordMAC)}},
		{"sent again after a KeyUpdate", func(p *peer) []byte {
			first := p.data("first")
			return join(first, p.keyUpdate(1), first)
		}, result{content: "first", updates: 1, err: fault(BadRecordMAC)}},
		{"under the new key before a KeyUpdate", func(p *peer) []byte {
			p.update()
			return p.data("early")
		}, result{err: fault(BadRecordMAC)}},
		{"an alert of another's key", func(*peer) []byte {
			return newPeer(tls.TLS_AES_128_GCM_SHA256, secretOf(tls.TLS_AES_128_GCM_SHA256, 1)).record(typeAlert, 1, 0)
		}, result{err: fault(BadRecordMAC)}},
	}
	for size := range 18 {
		scenarios = append(scenarios, scenario{fmt.Sprintf("%d bytes that no key has sealed", size), raw(append([]byte{23, 3, 3, 0, byte(size)}, zeros(size)...)...),
			result{content: "before", err: fault(BadRecordMAC)}})
	}
	checkEach(t, scenarios, asServer, asClient)
}

func TestRecordsThatAreTooLongOverflow(t *testing.T) {
	checkEach(t, []scenario{
		{"a header, of 2^14 + 257 bytes", raw(23, 3, 3, 0x41, 1), result{content: "before", err: fault(RecordOverflow)}},
		{"a header, of 2^16 - 1 bytes", raw(23, 3, 3, 0xff, 0xff), result{content: "before", err: fault(RecordOverflow)}},
		{"content of 2^14 + 1 bytes", sealed(text(1<<14+1), ofData), result{err: fault(RecordOverflow)}},
		{"content of 2^14 + 239 bytes, the most that a record has", sealed(text(1<<14+239), ofData), result{err: fault(RecordOverflow)}},
		// RFC 8446 section 5.4: "the full encoded TLSInnerPlaintext MUST NOT exceed 2^14 + 1 octets".
		{"content of 2^14 bytes, and one of padding", sealed(text(1<<14), ofData, zeros(1)), result{err: fault(RecordOverflow)}},
		{"content of 2^14 - 1 bytes, and two of padding", sealed(text(1<<14-1), ofData, zeros(2)), result{err: fault(RecordOverflow)}},
		{"no content, and 2^14 + 1 bytes of padding", sealed(ofData, zeros(1<<14+1)), result{err: fault(RecordOverflow)}},
		{"padding alone, of 2^14 + 2 bytes", sealed(zeros(1<<14 + 2)), result{err: fault(RecordOverflow)}},
		{"a handshake message of 2^14 + 1 bytes", sealed(ticket(1<<14-3), ofHandshake), result{err: fault(RecordOverflow)}},
	}, asServer, asClient)
}

func TestRecordsWithoutATypeAreUnexpected(t *testing.T) {
	// RFC 8446 section 5.4: no non-zero octet is an unexpected_message.
	var scenarios []scenario
	for _, size := range []int{0, 1, 2, 100, 1<<14 + 1} {
		scenarios = append(scenarios, scenario{fmt.Sprintf("%d zeros", size), func(p *peer) []byte {
			return join(p.data("before\x00"), p.inner(zeros(size)))
		}, result{content: "before\x00", err: fault(UnexpectedMessage)}})
	}
	checkEach(t, scenarios, asServer, asClient)
}

func TestSealedRecordsOfOtherTypesAreUnexpected(t *testing.T) {
	var scenarios []scenario
	for contentType := 1; contentType < 256; contentType++ {
		if contentType >= typeAlert && contentType <= typeApplicationData {
			continue
		}
		for _, content := range []string{"", "\x01"} { // of change_cipher_spec, too: RFC 8446 section 5
			scenarios = append(scenarios, scenario{fmt.Sprintf("type %d, %d bytes", contentType, len(content)),
				sealed([]byte(content), []byte{byte(contentType)}), result{err: fault(UnexpectedMessage)}})
		}
	}
	// RFC 8446 section 5.4: no handshake message and no alert is empty.
	scenarios = append(scenarios,
		scenario{"an empty alert", sealed(ofAlert), result{err: fault(UnexpectedMessage)}},
		scenario{"an empty alert with padding", sealed(ofAlert, zeros(100)), result{err: fault(UnexpectedMessage)}},
		scenario{"an empty handshake record", sealed(ofHandshake), result{err: fault(UnexpectedMessage)}},
		scenario{"an empty handshake record with padding", sealed(ofHandshake, zeros(100)), result{err: fault(UnexpectedMessage)}})
	checkEach(t, scenarios, asServer, asClient)
}

func TestRecordsWithoutDataAreBounded(t *testing.T) {
	// many returns what sends a record n times, and data after it, twice.
	many := func(n int, one func(p *peer) []byte) func(*peer) []byte {
		return func(p *peer) (all []byte) {
			for range 2 {
				for range n {
					all = append(all, one(p)...)
				}
				all = append(all, p.data("data")...)
			}
			return all
		}
	}
	empty := sealed(ofData, zeros(9))
	canceled := sealed([]byte{1, byte(userCanceled)}, ofAlert)
	checkEach(t, []scenario{
		{"as many empty records as may be", many(maxUseless, empty), result{content: "datadata"}},
		{"one more", many(maxUseless+1, empty), result{err: fault(UnexpectedMessage)}},
		{"as many alerts that are none", many(maxUseless, canceled), result{content: "datadata"}},
		{"one more of them", many(maxUseless+1, canceled), result{err: fault(UnexpectedMessage)}},
		{"both in turn", many(maxUseless/2+1, func(p *peer) []byte { return join(empty(p), canceled(p)) }), result{err: fault(UnexpectedMessage)}},
		// What many KeyUpdates mean, the caller judges; they don't make the others more.
		{"KeyUpdates are told, not counted", many(100, func(p *peer) []byte { return p.keyUpdate(1) }), result{content: "datadata", updates: 200}},
		{"KeyUpdates between empty records", many(maxUseless+1, func(p *peer) []byte { return join(empty(p), p.keyUpdate(0)) }),
			result{updates: maxUseless, err: fault(UnexpectedMessage)}},
	}, asServer, asClient)
	checkEach(t, []scenario{
		{"as many tickets as may be", many(maxUseless, sealed(ticket(50), ofHandshake)), result{content: "datadata"}},
		{"one more", many(maxUseless+1, sealed(ticket(50), ofHandshake)), result{err: fault(UnexpectedMessage)}},
	}, asClient)
}

func TestAlertsOfThePeer(t *testing.T) {
	scenarios := []scenario{
		{"close_notify", sealed([]byte{1, 0}, ofAlert), result{err: io.EOF}},
		// RFC 8446 section 6: the level is ignored.
		{"close_notify that says it is fatal", sealed([]byte{2, 0}, ofAlert), result{err: io.EOF}},
		{"close_notify with padding", sealed([]byte{1, 0}, ofAlert, zeros(77)), result{err: io.EOF}},
		// RFC 8446 section 6.1: data after it "MUST be ignored".
		{"data after close_notify", func(p *peer) []byte { return join(p.data("a"), p.record(typeAlert, 1, 0), p.data("b")) }, result{content: "a", err: io.EOF}},
		{"user_canceled, and data", func(p *peer) []byte {
			return join(p.record(typeAlert, 1, 90), p.data("a"), p.record(typeAlert, 2, 90), p.data("b"), p.record(typeAlert, 1, 0))
		}, result{content: "ab", err: io.EOF}},
	}
	for a := 1; a < 256; a++ {
		if Alert(a) == userCanceled {
			continue
		}
		for _, level := range []byte{1, 2, 0} { // also those that no RFC knows
			scenarios = append(scenarios, scenario{fmt.Sprintf("alert %d, level %d", a, level), func(p *peer) []byte {
				return join(p.data("a"), p.record(typeAlert, level, byte(a)), p.data("b"))
			}, result{content: "a", err: PeerAlert(a)}})
		}
	}
	checkEach(t, scenarios, asServer, asClient)
}

// RFC 8446 section 5.1: a record of the type alert has exactly one message. Of another length, it can't be decoded: decode_error, as
// BoringSSL says; crypto/tls and OpenSSL say unexpected_message.
func TestAlertsOfAnotherLengthAreNotDecoded(t *testing.T) {
	bad := result{err: fault(DecodeError)}
	checkEach(t, []scenario{
		{"one byte", sealed([]byte{2}, ofAlert), bad},
		{"three bytes", sealed([]byte{2, 40, 0}, ofAlert), bad},
		{"close_notify and another byte", sealed([]byte{1, 0, 0}, ofAlert), bad},
		{"two in a record", sealed([]byte{1, 90, 1, 0}, ofAlert), bad},
		{"split over two records", func(p *peer) []byte { return join(p.record(typeAlert, 1), p.record(typeAlert, 0)) }, bad},
		{"2^14 bytes", sealed(text(1<<14), ofAlert), bad},
	}, asServer, asClient)
}

func TestMessagesOfAHandshakeAreUnexpectedAfterIt(t *testing.T) {
	var both, atServer []scenario
	for kind := range 256 {
		// RFC 8446 sections 4.1.2 (ClientHello), 4.6.2 (CertificateRequest) and 4 (all that are unknown).
		s := scenario{fmt.Sprintf("type %d", kind), sealed(message(byte(kind), []byte("body")), ofHandshake), result{err: fault(UnexpectedMessage)}}
		switch kind {
		case messageKeyUpdate:
		case messageNewSessionTicket:
			atServer = append(atServer, s)
		default:
			both = append(both, s)
		}
	}
	both = append(both,
		scenario{"HelloRequest of TLS 1.2", sealed(message(messageHelloRequest, nil), ofHandshake), result{err: fault(UnexpectedMessage)}},
		scenario{"its header alone", sealed([]byte{messageClientHello, 0, 1, 0}, ofHandshake), result{err: fault(UnexpectedMessage)}},
		scenario{"split", func(p *peer) []byte {
			m := message(messageCertificateRequest, []byte("body"))
			return join(p.data("a"), p.record(typeHandshake, m[:2]...), p.record(typeHandshake, m[2:]...))
		}, result{content: "a", err: fault(UnexpectedMessage)}},
		scenario{"after a KeyUpdate", func(p *peer) []byte {
			return join(p.keyUpdate(0), p.record(typeHandshake, message(messageFinished, zeros(32))...))
		}, result{updates: 1, err: fault(UnexpectedMessage)}})
	checkEach(t, both, asServer, asClient)
	checkEach(t, atServer, asServer)
	checkEach(t, []scenario{{"after a ticket", sealed(ticket(20), message(messageHelloRequest, nil), ofHandshake), result{err: fault(UnexpectedMessage)}}}, asClient)
}

// The bounds of a NewSessionTicket's body by its fields (RFC 8446 section 4.6.1): ticket_lifetime, ticket_age_add, ticket_nonce<0..255>,
// ticket<1..2^16-1>, extensions<0..2^16-2>.
const (
	leastTicket = 4 + 4 + (1 + 0) + (2 + 1) + (2 + 0)
	mostTicket  = 4 + 4 + (1 + 255) + (2 + 65535) + (2 + 65534)
)

// inRecords returns what sends handshake messages in records of at most a size, and data after them.
func inRecords(size int, messages ...[]byte) func(*peer) []byte {
	return func(p *peer) (all []byte) {
		for part := range slices.Chunk(join(messages...), size) {
			all = append(all, p.record(typeHandshake, part...)...)
		}
		return append(all, p.data("after")...)
	}
}

func TestAClientReadsOverTickets(t *testing.T) {
	after := result{content: "after"}
	scenarios := []scenario{
		{"the smallest", inRecords(1<<14, ticket(leastTicket)), after},
		{"several in a record", inRecords(1<<14, ticket(200), ticket(leastTicket), ticket(300)), after},
		{"several over records", inRecords(150, ticket(200), ticket(100), ticket(300)), after},
		{"the largest", inRecords(1<<14, ticket(mostTicket)), after},
		{"the two largest", inRecords(1<<14, ticket(mostTicket-1<<15), ticket(mostTicket-1<<15)), after},
		{"and a KeyUpdate in its record", func(p *peer) []byte {
			record := p.inner(ticket(100), keyUpdate(1), ofHandshake)
			p.update()
			return join(record, p.data("after"))
		}, result{content: "after", updates: 1}},
		{"between data", func(p *peer) []byte { return join(p.data("a"), inRecords(40, ticket(60), ticket(60))(p)) }, result{content: "aafter"}},
	}
	one := join(ticket(leastTicket), ticket(20))
	for cut := 1; cut < len(one); cut++ {
		scenarios = append(scenarios, scenario{fmt.Sprintf("two, split at byte %d", cut), func(p *peer) []byte {
			return join(p.record(typeHandshake, one[:cut]...), p.record(typeHandshake, one[cut:]...), p.data("after"))
		}, after})
	}
	checkEach(t, scenarios, asClient)
}

// RFC 8446 section 6: a message that can't be parsed by its syntax is a decode_error.
func TestATicketOfAnImpossibleLengthIsNotDecoded(t *testing.T) {
	bad := result{err: fault(DecodeError)}
	checkEach(t, []scenario{
		{"empty", sealed(ticket(0), ofHandshake), bad},
		{"one byte less than the smallest", sealed(ticket(leastTicket-1), ofHandshake), bad},
		{"one byte more than the largest", inRecords(1<<14, ticket(mostTicket+1)), bad},
		{"2^24 - 1 bytes, its header alone", sealed([]byte{messageNewSessionTicket, 0xff, 0xff, 0xff}, ofHandshake), bad},
		{"after one that is right", sealed(ticket(100), ticket(0), ofHandshake), bad},
	}, asClient)
}

func TestATicketIsUnexpectedAtAServer(t *testing.T) {
	checkEach(t, []scenario{
		{"whole", sealed(ticket(100), ofHandshake), result{err: fault(UnexpectedMessage)}},
		{"its header alone", sealed(ticket(100)[:4], ofHandshake), result{err: fault(UnexpectedMessage)}},
		{"of an impossible length", sealed(ticket(0), ofHandshake), result{err: fault(UnexpectedMessage)}},
	}, asServer)
}

func TestKeyUpdatesAreFollowed(t *testing.T) {
	scenarios := []scenario{
		{"one", func(p *peer) []byte { return join(p.data("a"), p.keyUpdate(0), p.data("b")) }, result{content: "ab", updates: 1}},
		{"in a row", func(p *peer) []byte { return join(p.keyUpdate(0), p.keyUpdate(1), p.keyUpdate(1), p.data("b")) }, result{content: "b", updates: 3}},
		{"with padding", func(p *peer) []byte {
			record := p.inner(keyUpdate(1), ofHandshake, zeros(300))
			p.update()
			return join(record, p.data("b"))
		}, result{content: "b", updates: 1}},
		{"and close_notify", func(p *peer) []byte { return join(p.keyUpdate(1), p.record(typeAlert, 1, 0)) }, result{updates: 1, err: io.EOF}},
		{"a byte a record", func(p *peer) (all []byte) {
			for _, b := range keyUpdate(1) {
				all = append(all, p.record(typeHandshake, b)...)
			}
			p.update()
			return append(all, p.data("b")...)
		}, result{content: "b", updates: 1}},
	}
	for cut := 1; cut < keyUpdateBytes; cut++ {
		scenarios = append(scenarios, scenario{fmt.Sprintf("split at byte %d", cut), func(p *peer) []byte {
			m := keyUpdate(0)
			records := join(p.data("a"), p.record(typeHandshake, m[:cut]...), p.record(typeHandshake, m[cut:]...))
			p.update()
			return join(records, p.data("b"))
		}, result{content: "ab", updates: 1}})
	}
	checkEach(t, scenarios, asServer, asClient)
}

func TestWrongKeyUpdatesAreRefused(t *testing.T) {
	scenarios := []scenario{
		{"empty", sealed(message(messageKeyUpdate, nil), ofHandshake), result{err: fault(DecodeError)}},
		{"two bytes long", sealed(message(messageKeyUpdate, zeros(2)), ofHandshake), result{err: fault(DecodeError)}},
		{"2^24 - 1 bytes long, its header alone", sealed([]byte{messageKeyUpdate, 0xff, 0xff, 0xff}, ofHandshake), result{err: fault(DecodeError)}},
		// RFC 8446 section 4.6.3: any other value is an illegal_parameter.
		{"value 2", sealed(keyUpdate(2), ofHandshake), result{err: fault(IllegalParameter)}},
		{"value 255", sealed(keyUpdate(255), ofHandshake), result{err: fault(IllegalParameter)}},
		{"value 2, in a second record", func(p *peer) []byte {
			return join(p.record(typeHandshake, messageKeyUpdate, 0, 0, 1), p.record(typeHandshake, 2))
		}, result{err: fault(IllegalParameter)}},
		// RFC 8446 section 5.1: messages before a change of keys must end with a record.
		{"followed by a byte", sealed(keyUpdate(0), []byte{messageKeyUpdate}, ofHandshake), result{err: fault(UnexpectedMessage)}},
		{"followed by another", sealed(keyUpdate(1), keyUpdate(1), ofHandshake), result{err: fault(UnexpectedMessage)}},
		{"followed by a ticket", sealed(keyUpdate(1), ticket(100), ofHandshake), result{err: fault(UnexpectedMessage)}},
		{"followed by a zero", sealed(keyUpdate(1), zeros(1), ofHandshake), result{err: fault(UnexpectedMessage)}},
		{"split, and followed by a byte", func(p *peer) []byte {
			return join(p.record(typeHandshake, messageKeyUpdate, 0), p.record(typeHandshake, 0, 1, 0, messageKeyUpdate))
		}, result{err: fault(UnexpectedMessage)}},
	}
	// RFC 8446 section 5.1: "there MUST NOT be any other records between them".
	for cut := 1; cut < keyUpdateBytes; cut++ {
		for name, between := range map[string][]byte{
			"data": []byte("x\x17"), "empty data": ofData, "close_notify": {1, 0, typeAlert}, "a fatal alert": {2, 40, typeAlert}, "user_canceled": {1, 90, typeAlert},
		} {
			scenarios = append(scenarios, scenario{fmt.Sprintf("%s after byte %d of it", name, cut), func(p *peer) []byte {
				m := keyUpdate(0)
				return join(p.record(typeHandshake, m[:cut]...), p.inner(between), p.record(typeHandshake, m[cut:]...))
			}, result{err: fault(UnexpectedMessage)}})
		}
	}
	checkEach(t, scenarios, asServer, asClient)
	var tickets []scenario
	for cut := 1; cut < messageHeaderBytes+leastTicket; cut++ {
		tickets = append(tickets, scenario{fmt.Sprintf("data after byte %d of a ticket", cut), func(p *peer) []byte {
			m := ticket(leastTicket)
			return join(p.record(typeHandshake, m[:cut]...), p.data("x"), p.record(typeHandshake, m[cut:]...))
		}, result{err: fault(UnexpectedMessage)}})
	}
	checkEach(t, tickets, asClient)
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	for err, want := range map[error]string{
		PeerAlert(48):  "TLS: the peer sent the alert unknown_ca",
		PeerAlert(255): "TLS: the peer sent the alert unknown alert",
		&Fault{RecordOverflow, "a record is too long"}: "TLS: a record is too long",
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
	for a, want := range map[Alert]string{
		CloseNotify: "close_notify", UnexpectedMessage: "unexpected_message", BadRecordMAC: "bad_record_mac", RecordOverflow: "record_overflow",
		IllegalParameter: "illegal_parameter", DecodeError: "decode_error", userCanceled: "user_canceled", 1: "unknown alert",
	} {
		if a.String() != want {
			t.Errorf("alert %d is %q, want %q", a, a, want)
		}
	}
}
