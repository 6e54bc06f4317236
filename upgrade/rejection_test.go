package upgrade

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"reflect"
	"testing"
)

// rejections has all sentinels.
var rejections = []*Rejection{
	ErrHeadTooLarge, ErrTooManyLines, ErrBareLF, ErrBareCR, ErrControlByte, ErrFold, ErrSpaceBeforeColon, ErrBadFieldName,
	ErrBadRequestLine, ErrBadVersion, ErrBadTarget, ErrDotSegment, ErrEncodedSlash, ErrNoHost, ErrBadHost, ErrDuplicate,
	ErrBadConnection, ErrNominated, ErrBadLength, ErrBadCoding, ErrLengthAndCoding,
	ErrNotWebSocket, ErrBadMethod, ErrOldHTTP, ErrBadUpgrade, ErrNoUpgrade, ErrBody, ErrExpect, ErrNoVersion, ErrVersion, ErrBadKey,
	ErrBadProtocol, ErrBadExtension,
	ErrTLS, ErrOrigin, ErrNoRoute, ErrHeadTimeout, ErrRate, ErrDial, ErrBadAnswer, ErrNoBackend, ErrPoolFull, ErrDescriptors, ErrPorts, ErrMemory,
	ErrSessionsPerIP, ErrConnections, ErrHandshakes, ErrRequests, ErrSessions, ErrConnectionsShare, ErrHandshakesShare, ErrRequestsShare, ErrSessionsShare, ErrQueueShare, ErrDraining, ErrBackendTimeout,
}

func TestEveryRefusalIsAWholeResponseWithConnectionClose(t *testing.T) {
	reasons := map[string]bool{}
	for _, rej := range rejections {
		if reasons[rej.Reason] {
			t.Errorf("reason %q is there twice", rej.Reason)
		}
		reasons[rej.Reason] = true
		wire := AppendRejection(nil, rej)
		br := bufio.NewReader(bytes.NewReader(wire))
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("response %q: %v", wire, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != rej.Text+"\n" || br.Buffered() != 0 {
			t.Errorf("response %q: body %q, %v; want %q", wire, body, err, rej.Text)
		}
		if want := http.StatusText(rej.Status); res.Status[4:] != want || res.StatusCode != rej.Status || !res.Close ||
			res.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("response %q: status %q, close %v; want %d %s", wire, res.Status, res.Close, rej.Status, want)
		}
	}
}

func TestARefusedVersionGetsTheSupportedOne(t *testing.T) {
	want := "HTTP/1.1 426 Upgrade Required\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 37\r\nConnection: close\r\n" +
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\nthe only Sec-WebSocket-Version is 13\n"
	if got := string(AppendRejection([]byte("x"), ErrVersion)); got != "x"+want {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestARefusalWithMoreFieldsIsStillTheSame(t *testing.T) {
	rej := ErrSessions.RetryAfter(5).With(Field{"X-A", "b"})
	if !errors.Is(rej, ErrSessions) || errors.Is(rej, ErrNoBackend) || errors.Is(rej, io.EOF) || len(ErrSessions.Header) != 0 {
		t.Errorf("%v is ErrSessions: %v; its header is now %v", rej, errors.Is(rej, ErrSessions), ErrSessions.Header)
	}
	if want := []Field{{"Retry-After", "5"}, {"X-A", "b"}}; !reflect.DeepEqual(rej.Header, want) {
		t.Errorf("header %v; want %v", rej.Header, want)
	}
	if got, want := rej.Error(), "503 sessions: the gateway has as many sessions as it may have"; got != want {
		t.Errorf("Error() = %q; want %q", got, want)
	}
}
