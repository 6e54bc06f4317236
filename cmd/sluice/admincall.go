package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"sluice/internal/admin"
	"sluice/internal/netconn"
	"sluice/internal/units"
)

// An adminCall is a call to the admin API of a running gateway.
type adminCall struct {
	call
	flags     *flag.FlagSet
	address   string
	tokenFile string
	isJSON    bool
	patience  time.Duration // with each answer
}

// newAdminCall returns a call with the flags that all of them have. The command adds its own and calls parse.
func (c call) newAdminCall(name string) *adminCall {
	// A reload, or a close of all sessions, may take this long.
	q := &adminCall{call: c, flags: flag.NewFlagSet(name, flag.ContinueOnError), patience: time.Minute}
	q.flags.StringVar(&q.address, "admin", "127.0.0.1:9901", "the `ADDR` of the gateway's admin listener")
	q.flags.StringVar(&q.tokenFile, "token-file", "", "the `FILE` with the token of the admin listener")
	q.flags.BoolVar(&q.isJSON, "json", false, "print the answer of the API, as JSON")
	return q
}

// parse reads the flags, and at most that many other arguments, before, between or after the flags.
func (q *adminCall) parse(most int) (arguments []string, err error) {
	rest := q.args
	for {
		if err := (call{rest, q.stdout, q.stderr}).parseFlags(q.flags); err != nil {
			return nil, err
		}
		if q.flags.NArg() == 0 {
			return arguments, nil
		}
		if len(arguments) == most {
			return nil, unexpected(q.flags.Arg(0))
		}
		arguments, rest = append(arguments, q.flags.Arg(0)), q.flags.Args()[1:]
	}
}

// mostAnswerBytes bounds an answer. A page of sessions has half a megabyte.
const mostAnswerBytes = 64 << 20

// send sends a request to the gateway and reads its answer into value. If value is nil, it discards the answer.
func (q *adminCall) send(method, path string, query url.Values, value any) error {
	body, err := q.fetch(method, path, query)
	if err != nil || value == nil {
		return err
	}
	if err := json.Unmarshal(body, value); err != nil {
		return fmt.Errorf("the answer of %s is not that of a gateway", q.address)
	}
	return nil
}

// fetch sends a request to the gateway and returns its answer.
func (q *adminCall) fetch(method, path string, query url.Values) ([]byte, error) {
	address, err := q.hostPort()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), q.patience)
	defer cancel()
	target := "http://" + address + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, usageError{fmt.Sprintf("-admin %s is not an address: %v", q.address, err)}
	}
	if q.tokenFile != "" {
		token, err := admin.ReadToken(q.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("token file %s: %w", q.tokenFile, err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	// Not through a proxy that the environment names: the token is for the gateway alone.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("the gateway at %s does not answer within %s", address, units.Duration(q.patience))
	}
	if err != nil {
		return nil, fmt.Errorf("no gateway answers at %s: %s", address, netconn.Explain(err))
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, mostAnswerBytes))
	if err != nil {
		return nil, fmt.Errorf("the answer of %s breaks off: %s", address, netconn.Explain(err))
	}
	if answer.StatusCode != http.StatusOK {
		return nil, refusedBy(answer.StatusCode, body)
	}
	return body, nil
}

// hostPort returns the address that -admin names, which may be written as the URL of the dashboard.
func (q *adminCall) hostPort() (string, error) {
	address := strings.TrimSuffix(strings.TrimPrefix(q.address, "http://"), "/")
	if _, _, err := net.SplitHostPort(address); err != nil || strings.Contains(address, "/") {
		return "", usageError{fmt.Sprintf("-admin %s is not an address: want HOST:PORT", q.address)}
	}
	return address, nil
}

// A refusal is an answer other than 200.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string {
	if r.status == http.StatusUnauthorized {
		return r.text + ": name its file with -token-file"
	}
	return r.text
}

func refusedBy(status int, body []byte) error {
	var answer admin.Error
	if err := json.Unmarshal(body, &answer); err != nil || answer.Error == "" {
		answer.Error = fmt.Sprintf("status %d", status)
	}
	if status == http.StatusBadRequest { // an argument is wrong
		return usageError{answer.Error}
	}
	return &refusal{status, answer.Error}
}

// printJSON prints an answer for programs.
func (q *adminCall) printJSON(value any) error {
	encoder := json.NewEncoder(q.stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// A table prints rows in columns. It prints nothing before flush.
type table struct {
	out     io.Writer
	text    bytes.Buffer
	columns *tabwriter.Writer
}

func (q *adminCall) newTable(header ...string) *table {
	t := &table{out: q.stdout}
	t.columns = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	t.row(header...)
	return t
}

func (t *table) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = printable(cell)
	}
	fmt.Fprintln(t.columns, strings.Join(cells, "\t"))
}

func (t *table) flush() error {
	if err := t.columns.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(t.text.String()) {
		if _, err := fmt.Fprintln(t.out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// printable returns a text without what a terminal obeys: a peer may have chosen it, and the terminal must only show it.
func printable(text string) string {
	if text == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if units.IsUnsafe(r) || r == 0xfffd {
			return '?'
		}
		return r
	}, text)
}
