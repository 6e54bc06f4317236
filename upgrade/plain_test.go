package upgrade

import (
	"slices"
	"testing"
)

func TestTheBodyOfAPlainRequestEndsWhereItsHeadSays(t *testing.T) {
	for _, test := range []struct {
		name, head, rest string
		want             int
		isDone           bool
	}{
		{"none", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /", 0, true},
		{"a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", "abcGET /", 3, true},
		{"a part of a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", "abc", 3, false},
		{"chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n0\r\n\r\nGET /", 13, true},
	} {
		var r Request
		if _, err := r.Parse([]byte(test.head)); err != nil {
			t.Fatalf("%s: Parse: %v", test.name, err)
		}
		body := r.Body()
		n, err := body.Scan([]byte(test.rest))
		if n != test.want || err != nil || body.Done() != test.isDone {
			t.Errorf("%s: Scan(%q) = %d, %v, done %v; want %d, nil, %v", test.name, test.rest, n, err, body.Done(), test.want, test.isDone)
		}
	}
}

func TestBackwardYieldsTheLastFieldFirst(t *testing.T) {
	var r Request
	head := "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1\r\nA: b\r\nx-forwarded-FOR: 2, 3\r\n\r\n"
	if _, err := r.Parse([]byte(head)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for v := range r.Backward("X-Forwarded-For") {
		got = append(got, string(v))
	}
	if want := []string{"2, 3", "1"}; !slices.Equal(got, want) {
		t.Errorf("Backward = %q; want %q", got, want)
	}
}
