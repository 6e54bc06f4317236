package record

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Take leans on what crypto/tls keeps in its connections. Each test here holds one property, so that a Go release which changes it
// fails here, and not in the gateway.

// changed returns a type like tls.Conn, in which a field has another type, or none for nil. The path is of a field, or of one in a struct.
func changed(of reflect.Type, path string, to reflect.Type) reflect.Type {
	name, rest, isDeep := strings.Cut(path, ".")
	var fields []reflect.StructField
	for i := range of.NumField() {
		field := of.Field(i)
		if field.Anonymous { // a type that is made can't have it
			field.Anonymous, field.Name, field.PkgPath = false, "embedded", "crypto/tls"
		}
		field.Offset, field.Index = 0, nil
		if field.Name == name {
			if isDeep {
				field.Type = changed(field.Type, rest, to)
			} else if field.Type = to; to == nil {
				continue
			}
		}
		fields = append(fields, field)
	}
	return reflect.StructOf(fields)
}

func TestStdlibConnHasTheLayout(t *testing.T) {
	if errLayout != nil {
		t.Fatal(errLayout)
	}
	conn := reflect.TypeFor[tls.Conn]()
	if l, err := findLayout(changed(conn, "", nil)); err != nil || l != theLayout {
		t.Fatalf("a copy of it has the layout %+v, %v; want %+v", l, err, theLayout)
	}
	for _, path := range []string{
		"isHandshakeComplete", "isClient", "vers", "cipherSuite", "rawInput", "hand", "input", "sendBuf", "closeNotifySent",
		"in", "in.err", "in.trafficSecret", "in.seq", "out", "out.err", "out.trafficSecret", "out.seq",
	} {
		for how, to := range map[string]reflect.Type{"without": nil, "with another": reflect.TypeFor[*int]()} {
			_, err := findLayout(changed(conn, path, to))
			name := path[strings.LastIndex(path, ".")+1:]
			if err == nil || !strings.Contains(err.Error(), " "+name) {
				t.Errorf("%s %s: the error is %v, want one that names it", how, path, err)
			}
		}
	}
}

func TestStdlibSequenceNumbersCountRecords(t *testing.T) {
	for _, id := range suiteIDs {
		x := templates()[id].link(t, asServer)
		for range 300 {
			if _, err := x.theirs.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			x.write([]byte("x"))
		}
		readAll(t, x.theirs)
		for name, half := range map[string]halfLayout{"in": theLayout.in, "out": theLayout.out} {
			if seq := binary.BigEndian.Uint64(at[[8]byte](x.theirs, half.seq)[:]); seq != 300 {
				t.Errorf("%s: %s.seq is %d after 300 records", tls.CipherSuiteName(id), name, seq)
			}
		}
	}
}

func TestStdlibTrafficSecretsAreThoseOfTheKeyLog(t *testing.T) {
	for _, id := range suiteIDs {
		withSuite(id, func() {
			var keyLog bytes.Buffer
			server, client := configs()
			client.KeyLogWriter = &keyLog
			p := newPair(t, server, client)
			for label, secrets := range map[string][2][]byte{
				"CLIENT_TRAFFIC_SECRET_0": {*at[[]byte](p.client, theLayout.out.secret), *at[[]byte](p.server, theLayout.in.secret)},
				"SERVER_TRAFFIC_SECRET_0": {*at[[]byte](p.server, theLayout.out.secret), *at[[]byte](p.client, theLayout.in.secret)},
			} {
				for _, secret := range secrets {
					if want := fmt.Sprintf(" %x\n", secret); len(secret) == 0 || !slices.ContainsFunc(strings.SplitAfter(keyLog.String(), "\n"),
						func(line string) bool { return strings.HasPrefix(line, label) && strings.HasSuffix(line, want) }) {
						t.Errorf("%s: the key log has no %s%s: %s", tls.CipherSuiteName(id), label, want, &keyLog)
					}
				}
			}
		})
	}
}

// Open and crypto/tls judge alike, but for an alert of another length, which is unexpected_message to crypto/tls, and a KeyUpdate of the
// value 2, which is decode_error.
func TestStdlibSendsTheSameAlerts(t *testing.T) {
	empty := func(p *peer) (all []byte) {
		for range maxUseless + 1 {
			all = append(all, p.data("")...)
		}
		return all
	}
	for _, test := range []struct {
		name string
		sent func(p *peer) []byte
		want Alert
	}{
		{"a record that is not authentic", func(p *peer) []byte { p.update(); return p.data("x") }, BadRecordMAC},
		{"a record that is too long", func(*peer) []byte { return []byte{23, 3, 3, 0x41, 1} }, RecordOverflow},
		{"padding that is too long", sealed(text(1<<14), ofData, zeros(1)), RecordOverflow},
		{"padding alone", sealed(zeros(10)), UnexpectedMessage},
		{"padding alone that is too long", sealed(zeros(1<<14 + 2)), RecordOverflow},
		{"an unknown type", sealed([]byte{1, 25}), UnexpectedMessage},
		{"an empty handshake record", sealed(ofHandshake), UnexpectedMessage},
		{"a ticket to a server", sealed(realTicket, ofHandshake), UnexpectedMessage},
		{"an empty KeyUpdate", sealed(message(messageKeyUpdate, nil), ofHandshake), DecodeError},
		{"a KeyUpdate that does not end its record", sealed(keyUpdate(0), []byte{messageKeyUpdate}, ofHandshake), UnexpectedMessage},
		{"HelloRequest", sealed(message(messageHelloRequest, nil), ofHandshake), UnexpectedMessage},
		{"data in a message", func(p *peer) []byte { return join(p.record(typeHandshake, 24, 0), p.data("x")) }, UnexpectedMessage},
		{"many empty records", empty, UnexpectedMessage},
	} {
		server, client := configs()
		server.SessionTicketsDisabled = true
		p := newPair(t, server, client)
		records := test.sent(peerOf(p.client))
		theirs, _, _, isTaken := Take(p.client)
		if !isTaken {
			t.Fatal("the client isn't taken")
		}
		ours, _, _, isTaken := Take(p.server)
		if !isTaken {
			t.Fatal("the server isn't taken")
		}
		if _, _, _, err := openAll(NewLayer(), &ours, nil, records); !isSameError(err, fault(test.want)) {
			t.Errorf("%s: Open returns %v, want the alert %v", test.name, err, test.want)
		}
		// The server reads them by crypto/tls, too: Take has left it as it was.
		p.clientWire.send(t, records)
		if n, err := p.server.Read(make([]byte, 1)); n > 0 || err == nil || err == errAgain {
			t.Errorf("%s: crypto/tls has read %d bytes, %v", test.name, n, err)
		}
		if _, _, _, err := openAll(NewLayer(), &theirs, nil, p.clientWire.takeAll()); err != PeerAlert(test.want) {
			t.Errorf("%s: of crypto/tls, Open returns %v, want the alert %v", test.name, err, test.want)
		}
	}
}
