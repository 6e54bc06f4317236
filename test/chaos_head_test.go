//go:build unix

package test

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// The hosts and paths of both requests and routes. They are few, so that requests match routes and metrics have few labels.
var (
	chaosHosts = []string{"gateway.test", "a.gateway.test", "deep.a.gateway.test", "127.0.0.1", "[::1]", "xn--bcher-kva.test"}
	chaosPaths = []string{"/", "/chat", "/chat/room", "/chat/room/7", "/a/b/c", "/ü", "/a b"}
)

// upgradeHead returns the head of a handshake, valid or odd as those of real clients, and the value of its Sec-WebSocket-Key.
func (d dice) upgradeHead(seed uint64) (text, key string) {
	key = base64.StdEncoding.EncodeToString([]byte(d.octets(16)))
	host := d.host()
	lines := []string{
		"Host: " + host,
		"Upgrade: " + one(d, "websocket", "websocket", "WebSocket", "h2c, websocket"),
		"Connection: " + one(d, "Upgrade", "Upgrade", "keep-alive, Upgrade", "upgrade"),
		"Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: " + key,
	}
	lines = append(lines, some(d, 2, "Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
		"Sec-WebSocket-Extensions: permessage-deflate, x-other; a=\"b\"", "Pragma: no-cache")...)
	method := "GET"
	if d.oneIn(8) {
		method = one(d, "GET", "GET", "GET", "GET", "POST", "get", "CONNECT")
		lines = append(lines, some(d, 2, "Sec-WebSocket-Protocol:", "Sec-WebSocket-Extensions:", "Content-Length: 0", "Content-Length: 3", "Transfer-Encoding: chunked",
			"Expect: 100-continue", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: "+key)...)
	}
	text = d.headOf(d.target(host), append(lines, d.fields(seed)...), method)
	return text, key
}

// plainHead returns the head of a request that is not WebSocket; more are its lines about a body.
func (d dice) plainHead(seed uint64, method string, more ...string) string {
	host := d.host()
	lines := append([]string{"Host: " + host}, more...)
	lines = append(lines, some(d, 1, "Connection: keep-alive", "Connection: close", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
		"TE: trailers", "Connection: X-Team", "Accept: text/event-stream")...)
	return d.headOf(d.target(host), append(lines, d.fields(seed)...), method)
}

func (d dice) headOf(target string, lines []string, method string) string {
	version := "HTTP/1.1"
	if d.oneIn(40) {
		version = one(d, "HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "http/1.1", "")
	}
	d.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	if d.oneIn(40) {
		target = "\r\n" + target
	}
	return head(append([]string{strings.TrimSpace(method + " " + target + " " + version)}, lines...)...)
}

func (d dice) host() string {
	host := one(d, chaosHosts...)
	switch {
	case d.oneIn(20):
		return one(d, "", "*", "GATEWAY.test", "gateway.test.", "nowhere.test", "a@b", "[::1", "host:port", ".gateway.test", strings.Repeat("x", 300), "é.test")
	case d.oneIn(4):
		return host + one(d, ":80", ":443", ":8080", ":", ":99999")
	default:
		return host
	}
}

// target returns what a request to a host asks for: a path, or a URL.
func (d dice) target(host string) string {
	path := strings.NewReplacer("ü", "%C3%BC", " ", "%20").Replace(one(d, chaosPaths...))
	switch {
	case d.oneIn(12):
		path = one(d, "//chat", "/chat/../a", "/chat/%2e%2e/a", "/chat%2froom", "/chat%5croom", "/%", "/%zz", "/chat;x=1/room", "*", "", "chat", "/ü",
			"/"+strings.Repeat("long/", d.between(1, 3500)))
	case d.oneIn(12):
		path = one(d, "http", "https", "ws", "wss", "HTTP", "ftp") + "://" + one(d, host, host, d.host()) + path
	}
	if d.oneIn(4) {
		path += "?" + one(d, "", "token=secret", "room=1", "a=b&room=%zz", "?", strings.Repeat("q", d.between(1, 2000)))
	}
	return path
}

// fields returns header lines. The seed decides how a backend of the test answers.
func (d dice) fields(seed uint64) []string {
	lines := []string{fmt.Sprintf("X-Seed: %d", seed)}
	if d.oneIn(3) {
		lines = append(lines, "Origin: "+d.origin())
	}
	lines = append(lines, some(d, 3, "Cookie: sluice=abc.def; room=1", "Cookie: sluice="+d.letters(40), "X-Room: "+d.letters(1), "User-Agent: chaos",
		"X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: [2001:db8::1]:443, 192.0.2.9:1", "X-Forwarded-For:", "X-Forwarded-Proto: https",
		"X_Forwarded_For: 192.0.2.3", "X-Request-Id: "+d.letters(8),
		"Forwarded: for=192.0.2.4", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"+one(d, "0", "1"),
		"traceparent: 00-"+d.letters(20),
		"X-Client-Cert-Subject: CN=root", "Authorization: Basic abc", "X-Debug:"+strings.Repeat(" ", d.between(0, 20)), "X-Team: \xc3\xbc", "Keep-Alive: 300",
	)...)
	if d.oneIn(15) {
		for range d.between(1, 110) {
			lines = append(lines, "X-"+d.letters(d.between(1, 30))+": "+d.letters(d.between(0, 80)))
		}
	}
	return lines
}

func (d dice) origin() string {
	return one(d, "https://example.com", "http://example.com", "https://a.example.com", "https://example.com:8443", "https://evil.com/.example.com", "null", "file://",
		"https://", "://", "https", "", "*", "https://*", "https://[::1]:80", "https://user@example.com", "https://EXAMPLE.com", "https://example.com.",
		"https://gateway.test", "http://127.0.0.1", "https://a.gateway.test:443", "http://localhost:3000", "https://é.example.com",
		"https://"+strings.Repeat("x", d.between(1, 400)), "https://a.example.com https://b.example.com")
}

// body returns the header lines that announce a body, and the bytes that are sent for it: complete, truncated or malformed.
func (d dice) body() (lines []string, text string) {
	content := strings.Repeat("b", d.size()/4)
	switch d.IntN(6) {
	case 0, 1:
		return nil, ""
	case 2:
		return []string{fmt.Sprintf("Content-Length: %d", len(content))}, content
	case 3:
		lines = one(d, []string{}, []string{"Expect: 100-continue"}, []string{"Trailer: X-Sum"})
		text = d.chunked(content)
		if d.oneIn(3) {
			text = d.mutate(text)
		}
		return append([]string{"Transfer-Encoding: chunked"}, lines...), text
	case 4: // truncated
		return []string{fmt.Sprintf("Content-Length: %d", len(content)+d.between(1, 1000))}, content
	default:
		length := one(d, "-1", "1, 1", "0x10", "99999999999999999999", "+3", "3\r\nContent-Length: 4", "3\r\nTransfer-Encoding: chunked")
		return []string{"Content-Length: " + length}, "3\r\nabc\r\n0\r\n\r\n"
	}
}

func (d dice) chunked(content string) string {
	var b strings.Builder
	for len(content) > 0 {
		n := min(d.between(1, 5000), len(content))
		fmt.Fprintf(&b, "%x%s\r\n%s\r\n", n, one(d, "", "", ";x", ";x=\"y\""), content[:n])
		content = content[n:]
	}
	return b.String() + "0\r\n" + one(d, "", "X-Sum: 1\r\n", "Host: evil.test\r\n") + "\r\n"
}
