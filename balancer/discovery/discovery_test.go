package discovery

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"sluice/balancer/discovery/dnstest"
	"sluice/internal/units"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lookup looks up a name once at a server.
func lookup(t *testing.T, server *dnstest.Server, records string, n Name) ([]Backend, error) {
	t.Helper()
	c := &Config{DNS: records, Server: server.Addr(), Timeout: units.Duration(10 * time.Second)}
	return newDNS(c, n).lookup(t.Context())
}

func TestEachAddressOfANameIsABackend(t *testing.T) {
	server := dnstest.New(t)
	server.Set("echo.test", "127.0.0.2", "127.0.0.1", "::1", "127.0.0.2")
	for _, test := range []struct {
		name Name
		want []Backend
	}{
		{Name{Host: "echo.test", Port: "9000"}, []Backend{{Address: "127.0.0.1:9000"}, {Address: "127.0.0.2:9000"}, {Address: "[::1]:9000"}}},
		{Name{Host: "echo.test.", Port: "443", TLS: true}, []Backend{
			{Address: "wss://127.0.0.1:443", ServerName: "echo.test"},
			{Address: "wss://127.0.0.2:443", ServerName: "echo.test"},
			{Address: "wss://[::1]:443", ServerName: "echo.test"},
		}},
	} {
		if got, err := lookup(t, server, RecordsA, test.name); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("lookup(%+v) = %+v, %v; want %+v", test.name, got, err, test.want)
		}
	}
	if got, err := lookup(t, server, RecordsA, Name{Host: "missing.test", Port: "9000"}); err == nil {
		t.Errorf("lookup of a name that is missing = %+v; want an error", got)
	}
}

func TestSRVRecordsAreBackendsWithWeightsAndBackups(t *testing.T) {
	server := dnstest.New(t)
	server.Set("a.test", "127.0.0.1")
	server.Set("b.test", "127.0.0.2")
	server.Set("c.test", "127.0.0.3")
	target := dnsmessage.MustNewName
	missing := dnsmessage.SRVResource{Priority: 10, Weight: 5, Port: 9002, Target: target("missing.test.")}
	withoutPort := dnsmessage.SRVResource{Priority: 10, Weight: 5, Port: 0, Target: target("a.test.")}
	server.SetRecords("_ws._tcp.test",
		dnsmessage.SRVResource{Priority: 20, Weight: 7, Port: 9003, Target: target("c.test.")},
		dnsmessage.SRVResource{Priority: 10, Weight: 0, Port: 9001, Target: target("a.test.")},
		dnsmessage.SRVResource{Priority: 10, Weight: 5, Port: 9002, Target: target("b.test.")},
		missing, withoutPort,
	)
	want := []Backend{
		{Address: "wss://127.0.0.1:9001", ServerName: "a.test", Weight: 1},
		{Address: "wss://127.0.0.2:9002", ServerName: "b.test", Weight: 5},
		{Address: "wss://127.0.0.3:9003", ServerName: "c.test", Weight: 7, Backup: true},
	}
	name := Name{Host: "_ws._tcp.test", TLS: true}
	if got, err := lookup(t, server, RecordsSRV, name); err != nil || !slices.Equal(got, want) {
		t.Errorf("lookup = %+v, %v; want %+v", got, err, want)
	}
	server.SetRecords("_ws._tcp.test", missing, withoutPort)
	if got, err := lookup(t, server, RecordsSRV, name); err == nil {
		t.Errorf("lookup of records that lead nowhere = %+v; want an error", got)
	}
}

func TestLookupThatIsCanceledLeavesNoQuestionBehind(t *testing.T) {
	server := dnstest.New(t)
	server.SetMode(dnstest.Silent)
	c := &Config{DNS: RecordsA, Server: server.Addr(), Timeout: units.Duration(time.Minute)}
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := newDNS(c, Name{Host: "echo.test", Port: "9000"}).lookup(ctx)
		ended <- err
	}()
	for server.Questions() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("a lookup that was canceled is no error")
	}
	goleak.VerifyNone(t, before)
}

// A script is a lookup that answers as it is told and notes when it was asked.
type script struct {
	start time.Time
	fails int // how many more times
	asked []time.Duration
}

func (s *script) lookup(context.Context) ([]Backend, error) {
	s.asked = append(s.asked, time.Since(s.start))
	if s.fails > 0 {
		s.fails--
		return nil, errors.New("no answer")
	}
	return []Backend{{Address: "127.0.0.1:9000"}}, nil
}

func TestPollerLooksUpAtTheIntervalAndSoonerAfterAFailureOrARefresh(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		name    string
		fails   int
		refresh []time.Duration // when it is called
		until   time.Duration
		want    []time.Duration
	}{
		{"nothing special", 0, nil, 65 * s, []time.Duration{0, 30 * s, 60 * s}},
		{"failures", 6, nil, 95 * s, []time.Duration{0, s, 3 * s, 7 * s, 15 * s, 31 * s, 61 * s, 91 * s}},
		{"a refresh", 0, []time.Duration{10 * s}, 45 * s, []time.Duration{0, 10 * s, 40 * s}},
		{"many refreshes", 0, []time.Duration{s / 4, s / 4, s / 2}, 15 * s, []time.Duration{0, s}},
		{"a refresh that is later than the next lookup", 0, []time.Duration{29*s + s/2, 30*s + s/2}, 35 * s, []time.Duration{0, 29*s + s/2, 30*s + s/2}},
	} {
		synctest.Test(t, func(t *testing.T) {
			script := &script{start: time.Now(), fails: test.fails}
			p := newPoller(script.lookup, 30*s)
			ctx, cancel := context.WithCancel(t.Context())
			reports := 0
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				p.Watch(ctx, func([]Backend, error) { reports++ })
			}()
			for _, at := range test.refresh {
				time.Sleep(at - time.Since(script.start))
				synctest.Wait()
				p.Refresh()
			}
			time.Sleep(test.until - time.Since(script.start))
			cancel()
			<-ended
			if !slices.Equal(script.asked, test.want) || reports != len(test.want) {
				t.Errorf("%s: looked up at %v, reported %d times; want %v", test.name, script.asked, reports, test.want)
			}
		})
	}
}

func TestCheckReportsEveryProblem(t *testing.T) {
	for _, test := range []struct {
		name   string
		config Config
		key    string // empty: none is reported
	}{
		{"off", Config{}, ""},
		{"sound", Config{DNS: RecordsSRV, Interval: 1, Timeout: 1, Server: "127.0.0.1:53"}, ""},
		{"unknown records", Config{DNS: "mx"}, "dns"},
		{"no interval", Config{DNS: RecordsA, Timeout: 1}, "interval"},
		{"no timeout", Config{DNS: RecordsA, Interval: 1}, "timeout"},
		{"a server by name", Config{DNS: RecordsA, Interval: 1, Timeout: 1, Server: "localhost:53"}, "server"},
	} {
		var keys []string
		test.config.Check(func(key, _ string, _ any, _ string) { keys = append(keys, key) })
		if test.key == "" && len(keys) > 0 || test.key != "" && !slices.Equal(keys, []string{test.key}) {
			t.Errorf("%s: reported %q; want %q", test.name, keys, test.key)
		}
	}
}
