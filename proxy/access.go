package proxy

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// AccessLines says which lines the access log has. The zero value means one line for each session, at its end.
type AccessLines struct {
	When AccessWhen
	// Sample is the share of the sessions, refusals and plain requests that write lines; 0 means all of them.
	Sample float64
	// Query adds the request's query.
	Query bool
	// Mask names the parameters of the query whose values are masked; upper and lower case are the same. nil means UsualMask.
	Mask []string
}

// AccessWhen is when a session writes a line.
type AccessWhen uint8

const (
	AtEnd   AccessWhen = iota
	AtStart            // a refusal or a plain request, which has no start of its own, writes its line at its end
	AtBoth
)

// UsualMask names the parameters that often carry credentials: browsers can't set Authorization on a WebSocket.
var UsualMask = []string{
	"access_token", "api_key", "apikey", "auth", "authorization", "code", "credential", "id_token", "jwt", "key", "pass", "passwd",
	"password", "private_key", "pwd", "refresh_token", "secret", "session", "sessionid", "sid", "sig", "signature", "ticket", "token",
}

// includes reports whether the session of that id writes lines. Ids are random.
func (c *AccessLines) includes(id uint64) bool {
	return c.Sample == 0 || float64(id>>11)/(1<<53) < c.Sample
}

// maxText bounds the bytes of each text of a client that a session keeps for its life, and that a line or the API shows.
const maxText = 1024

// shortened returns a text that may be kept: its beginning, if it is longer.
func shortened(text []byte) []byte {
	if len(text) <= maxText {
		return text
	}
	n := maxText
	for n > maxText-utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n-- // not in the middle of a character
	}
	return append(text[:n:n], "…"...)
}

// queryText returns a query as it may be logged. The result is empty if there is no query, or queries are not logged.
func (c *AccessLines) queryText(query []byte) []byte {
	if !c.Query || len(query) == 0 {
		return nil
	}
	mask := c.Mask
	if mask == nil {
		mask = UsualMask
	}
	var text []byte
	for i, pair := range bytes.Split(query, []byte("&")) {
		if i > 0 {
			text = append(text, '&')
		}
		name, _, hasValue := bytes.Cut(pair, []byte("="))
		text = append(text, name...)
		switch {
		case !hasValue:
		case isMasked(string(name), mask):
			text = append(text, "=***"...)
		default:
			text = append(text, pair[len(name):]...)
		}
		if len(text) > maxText {
			break
		}
	}
	return shortened(text)
}

// isMasked reports whether the list has a parameter's name, which is as the client sent it. A name that can't be decoded is masked as well.
func isMasked(name string, mask []string) bool {
	decoded, err := url.QueryUnescape(name)
	return err != nil || slices.ContainsFunc(mask, func(m string) bool { return strings.EqualFold(m, strings.TrimSpace(decoded)) })
}
