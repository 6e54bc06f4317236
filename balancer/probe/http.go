package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"

	"sluice/internal/recovery"
)

// maxInterim bounds the 1xx answers before the final one.
const maxInterim = 8

// checkHTTP requests the path and wants one of the statuses.
func (c *Config) checkHTTP(conn net.Conn, r *bufio.Reader, host string) error {
	answer, err := c.request(conn, r, host, "Connection: close\r\n")
	if err != nil {
		return err
	}
	return c.checkStatus(answer.StatusCode)
}

func (c *Config) checkStatus(status int) error {
	isHealthy := slices.Contains(c.Status, status)
	if len(c.Status) == 0 {
		isHealthy = status >= 200 && status <= 299
	}
	if !isHealthy {
		return fmt.Errorf("answer %d", status)
	}
	return nil
}

// checkStream is checkHTTP or checkWebSocket over HTTP/2.
func (c *Config) checkStream(conn net.Conn, r *bufio.Reader, scheme, host string) error {
	isWebSocket := c.Kind == WebSocket
	s, err := openStream(conn, r, scheme, host, c.Path, isWebSocket)
	if err != nil {
		return err
	}
	status, err := s.answer()
	switch {
	case err != nil:
		return err
	case !isWebSocket:
		s.end()
		return c.checkStatus(status)
	case status < 200 || status > 299:
		s.end()
		return fmt.Errorf("answer %d", status)
	}
	err = pingSession(conn, s)
	s.end()
	return err
}

// writeRequest sends a request with the header lines of fields.
func writeRequest(conn net.Conn, path, host, fields string) error {
	_, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: sluice-probe\r\n"+fields+"\r\n")
	if err != nil {
		return fmt.Errorf("send the request: %w", err)
	}
	return nil
}

// request sends a request with the header lines of fields, and returns the final answer, after
// interim ones (RFC 9110 section 15.2).
func (c *Config) request(conn net.Conn, r *bufio.Reader, host, fields string) (*http.Response, error) {
	if err := writeRequest(conn, c.Path, host, fields); err != nil {
		return nil, err
	}
	for range maxInterim {
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		recovery.Provoke("probe", []byte(answer.Status))
		if answer.StatusCode >= 200 || answer.StatusCode == http.StatusSwitchingProtocols {
			return answer, nil
		}
	}
	return nil, errors.New("nothing but interim answers")
}
