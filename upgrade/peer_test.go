package upgrade

import (
	"bytes"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
)

// pipe is a connection whose input is there and whose output is kept.
type pipe struct {
	io.Reader
	io.Writer
}

func TestAForeignClientAndBackendAgreeThroughTheGateway(t *testing.T) {
	// gobwas/ws as the client: its request, which wants the answer only when that is written.
	var fromClient bytes.Buffer
	dialer := ws.Dialer{Protocols: []string{"chat"}, Extensions: []httphead.Option{httphead.NewOption("permessage-deflate", nil)}}
	var out []byte
	answerLater := readerFunc(func(p []byte) (int, error) {
		if out == nil {
			out = throughGateway(t, fromClient.Bytes())
		}
		n := copy(p, out)
		out = out[n:]
		return n, nil
	})
	target, err := url.Parse("ws://example.com/chat?a=b")
	if err != nil {
		t.Fatal(err)
	}
	br, handshake, err := dialer.Upgrade(pipe{answerLater, &fromClient}, target)
	if err != nil || br != nil || handshake.Protocol != "chat" || len(handshake.Extensions) != 1 {
		t.Errorf("the client's handshake: %+v, %v; want chat and one extension", handshake, err)
	}
}

// throughGateway gives the client's head to gobwas/ws as a backend and returns the
// head for the client.
func throughGateway(t *testing.T, wire []byte) []byte {
	t.Helper()
	r := mustCheck(t, string(wire))
	var uri string
	var fromBackend bytes.Buffer
	upgrader := ws.Upgrader{
		OnRequest: func(p []byte) error { uri = string(p); return nil },
		Protocol:  func(p []byte) bool { return string(p) == "chat" },
		Negotiate: func(offer httphead.Option) (httphead.Option, error) { return offer, nil },
	}
	toBackend := strings.NewReader(joined(r.AppendForward(nil, &Forward{Client: peer, Proto: "http"})))
	if _, err := upgrader.Upgrade(pipe{toBackend, &fromBackend}); err != nil || uri != "/chat?a=b" {
		t.Fatalf("the backend's handshake: %q, %v; want /chat?a=b, nil", uri, err)
	}
	a := mustAnswer(t, fromBackend.String(), r)
	if !a.Deflate() || string(a.Protocol()) != "chat" {
		t.Errorf("deflate %v, protocol %q; want true, chat", a.Deflate(), a.Protocol())
	}
	return []byte(joined(a.AppendForward(nil, &AnswerChange{})))
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
