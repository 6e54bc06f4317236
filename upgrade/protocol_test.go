package upgrade

import (
	"slices"
	"strings"
	"testing"
)

func TestHiddenProtocolsReachNoBackend(t *testing.T) {
	for name, test := range map[string]struct {
		lines []string
		want  string // what the backend gets
		token string // what follows the prefix
	}{
		"beside another":  {[]string{"Sec-WebSocket-Protocol: chat, auth.abc"}, "Sec-WebSocket-Protocol: chat\r\n", "abc"},
		"before others":   {[]string{"Sec-WebSocket-Protocol: auth.abc,chat ,\tmqtt"}, "Sec-WebSocket-Protocol: chat, mqtt\r\n", "abc"},
		"two lines":       {[]string{"Sec-WebSocket-Protocol: chat", "sec-websocket-protocol: auth.abc, mqtt"}, "Sec-WebSocket-Protocol: chat, mqtt\r\n", "abc"},
		"two tokens":      {[]string{"Sec-WebSocket-Protocol: auth.abc, auth.def"}, "", "abc"},
		"alone":           {[]string{"Sec-WebSocket-Protocol: auth.abc"}, "", "abc"},
		"only the prefix": {[]string{"Sec-WebSocket-Protocol: auth., chat"}, "Sec-WebSocket-Protocol: chat\r\n", ""},
		"none":            {[]string{"Sec-WebSocket-Protocol: chat"}, "Sec-WebSocket-Protocol: chat\r\n", ""},
		"no line":         {nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			head := strings.Join(append([]string{"GET / HTTP/1.1", "Host: gateway.test", "Upgrade: websocket", "Connection: Upgrade",
				"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, test.lines...), "\r\n") + "\r\n\r\n"
			var r Request
			if _, err := r.Parse([]byte(head)); err != nil {
				t.Fatal(err)
			}
			if err := r.CheckUpgrade(); err != nil {
				t.Fatal(err)
			}
			if got := string(r.ProtocolWith("auth.")); got != test.token {
				t.Errorf("ProtocolWith = %q; want %q", got, test.token)
			}
			r.HideProtocols([]string{"auth."})
			out := string(slices.Concat(r.AppendForward(nil, new(Forward))...))
			got := ""
			for line := range strings.SplitAfterSeq(out, "\r\n") {
				if strings.HasPrefix(strings.ToLower(line), "sec-websocket-protocol") {
					got += line
				}
			}
			if got != test.want {
				t.Errorf("the backend gets %q; want %q", got, test.want)
			}
			for protocol, isOffered := range map[string]bool{"auth.abc": false, "auth.": false, "chat": strings.Contains(test.want, "chat")} {
				if r.offersProtocol([]byte(protocol)) != isOffered {
					t.Errorf("offersProtocol(%q) = %t; want %t", protocol, !isOffered, isOffered)
				}
			}
			for field := range r.Forwarded(new(Forward)) {
				if strings.EqualFold(field, "Sec-WebSocket-Protocol") {
					t.Errorf("a plain request has the field %s", field)
				}
			}
			if r.Reset(); r.hiddenProtocols != nil {
				t.Error("the next head hides protocols, too")
			}
		})
	}
}
