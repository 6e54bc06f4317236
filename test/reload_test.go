//go:build unix

package test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gobwas/ws"
)

// A changing is a gateway whose configuration a test rewrites.
type changing struct {
	*gateway
	path string
}

// runChanging is runGateway with a file that may change.
func runChanging(t *testing.T, config string) *changing {
	t.Helper()
	c := &changing{path: filepath.Join(t.TempDir(), "sluice.toml")}
	c.rewrite(t, config)
	c.gateway = runSluice(t, strings.Count(config, "[[listener]]"), "run", "-config", c.path)
	return c
}

// rewrite replaces the file whole, as an editor does.
func (c *changing) rewrite(t *testing.T, config string) {
	t.Helper()
	if err := os.WriteFile(c.path+".new", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.path+".new", c.path); err != nil {
		t.Fatal(err)
	}
}

// post asks for a reload and returns the answer.
func (c *changing) post(t *testing.T) (status int, body string) {
	t.Helper()
	response, err := http.Post("http://"+c.admin+"/api/v1/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// change rewrites the file and reloads it.
func (c *changing) change(t *testing.T, config string) {
	t.Helper()
	c.rewrite(t, config)
	if status, body := c.post(t); status != http.StatusOK {
		t.Fatalf("reload: %d %s", status, body)
	}
}

// reloads returns how many reloads had that result.
func (c *changing) reloads(t *testing.T, result string) int {
	return c.count(t, `sluice_config_reloads_total{result="`+result+`"}`)
}

// addressOf returns where a listener is now.
func (c *changing) addressOf(t *testing.T, listener string) string {
	t.Helper()
	for line := range strings.Lines(c.log.String()) {
		if strings.Contains(line, `"message":"listening","listener":"`+listener+`"`) {
			_, rest, _ := strings.Cut(line, `"address":"`)
			address, _, _ := strings.Cut(rest, `"`)
			c.listeners[listener] = address
		}
	}
	return c.listeners[listener]
}

func TestFiftyReloadsUnderTrafficLoseNothing(t *testing.T) {
	t.Parallel()
	eachDriver(t, func(t *testing.T, on func(config string) string) {
		backends := []string{runEcho(t), runEcho(t), runEcho(t)}
		taken := listenRaw(t)
		// The configuration of a round.
		config := func(round int) string {
			text := on(basics) + fmt.Sprintf(`max_handshakes = %d
[[listener]]
name = "moves-%d"
address = "127.0.0.1:0"
[[listener]]
name = "secure"
address = "127.0.0.1:0"
[listener.tls]
self_signed = true
min_version = "1.%d"
[[route]]
pool = "pool"
ping_interval = "%ds"
[[pool]]
name = "pool"
backend = [{ address = %q }, { address = %q, weight = %d }]
`, 4000+round%2, round/3%2, 2+round%2, 20+round%3, backends[round%3], backends[(round+1)%3], 1+round%4)
			return text
		}
		g := runChanging(t, config(0))
		f := newTraffic(t)
		for i := range sessionCount(t, 300) {
			listener := "public"
			if i%10 == 0 {
				listener = "secure"
			}
			f.add(t, g.listeners[listener], "/", listener == "secure", i%20 == 1)
		}

		var before, after process
		const rounds, warm = 50, 9
		refused := 0
		for round := 1; round <= rounds; round++ {
			switch {
			case round%5 == 2: // a text with problems
				g.rewrite(t, config(round)+"[[route]]\npool = \"nowhere\"\ncolour = 1\n")
				status, body := g.post(t)
				if status != http.StatusUnprocessableEntity || !strings.Contains(body, "colour") || !strings.Contains(body, "nowhere") {
					t.Fatalf("reload of a broken file: %d %s; want all of its problems", status, body)
				}
				refused++
			case round%5 == 4: // right by itself, but an address is taken
				g.rewrite(t, strings.Replace(config(round), "\"127.0.0.1:0\"\n[[listener]]\nname = \"secure\"", fmt.Sprintf("%q\n[[listener]]\nname = \"secure\"", taken.Addr()), 1))
				if status, body := g.post(t); status != http.StatusUnprocessableEntity || !strings.Contains(body, "address already in use") {
					t.Fatalf("reload with a taken address: %d %s", status, body)
				}
				refused++
			case round%5 == 0:
				g.rewrite(t, config(round))
				count := g.reloads(t, "applied")
				g.signal(t, syscall.SIGHUP)
				eventually(t, patience, "a reload by SIGHUP", func() bool { return g.reloads(t, "applied") == count+1 })
			default:
				g.change(t, config(round))
			}
			if round == warm {
				before = g.measure(t)
			}
		}
		if got := g.reloads(t, "refused"); got != refused {
			t.Errorf("%d refused reloads counted, want %d", got, refused)
		}
		if got := g.reloads(t, "applied"); got != rounds-refused {
			t.Errorf("%d applied reloads counted, want %d", got, rounds-refused)
		}
		f.wantWhole(t)
		if got := g.count(t, "sluice_sessions_active"); got != len(f.talkers) {
			t.Errorf("%d sessions, want %d", got, len(f.talkers))
		}
		// What is open now is what the last configuration says.
		late := newTraffic(t)
		late.add(t, g.listeners["public"], "/", false, false)
		late.add(t, g.addressOf(t, "secure"), "/", true, false)
		eventually(t, patience, "new sessions talk", func() bool { return late.talkers[0].received.Load() > 0 && late.talkers[1].received.Load() > 0 })
		late.wantWhole(t)
		for _, k := range late.talkers {
			_ = k.conn.Close()
		}
		eventually(t, patience, "goroutines and descriptors as before", func() bool {
			after = g.measure(t)
			return after.goroutines <= before.goroutines && after.descriptors <= before.descriptors
		})
		t.Logf("before %+v, after %+v", before, after)
		if after.residentMiB > before.residentMiB+24 {
			t.Errorf("resident memory %d MiB, before the reloads %d MiB", after.residentMiB, before.residentMiB)
		}
	})
}

// A process is what a gateway takes of the machine.
type process struct{ goroutines, descriptors, residentMiB int }

func (g *gateway) measure(t *testing.T) process {
	t.Helper()
	return process{g.count(t, "go_goroutines"), g.count(t, "process_open_fds"), g.count(t, "process_resident_memory_bytes") >> 20}
}

func TestAChangedFileIsReloadedByItself(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	config := strings.Replace(basics, "[gateway]\n", "[gateway]\nwatch = true\n", 1) + toPool("/", "pool", backend.port())
	g := runChanging(t, config)
	c, b := open(t, g.gateway, backend, "/")
	g.rewrite(t, strings.Replace(config, `path = "/"`, `path = "/new"`, 1))
	eventually(t, patience, "a reload", func() bool { return g.reloads(t, "applied") == 1 })
	open(t, g.gateway, backend, "/new")
	late := dial(t, g.listeners["public"])
	late.send(t, request("/"))
	late.wantRefusal(t, 404)
	g.rewrite(t, "broken")
	eventually(t, patience, "a refused one", func() bool { return g.reloads(t, "refused") == 1 })
	// A pool and a route have gone; their session has not.
	c.send(t, c.frame(ws.OpText, "still here"))
	b.wantFrame(t, ws.OpText, "still here")
	g.rewrite(t, config)
	eventually(t, patience, "the next one", func() bool { return g.reloads(t, "applied") == 2 })
	open(t, g.gateway, backend, "/")
}

func TestListenersOpenCloseAndChangeInPlace(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	more := func(keys string) string {
		return basics + keys + "\n" + toPool("/", "pool", backend.port())
	}
	g := runChanging(t, more(""))
	c, b := open(t, g.gateway, backend, "/")
	waiting := dial(t, g.listeners["public"])
	eventually(t, patience, "its handshake has begun", func() bool {
		response, err := http.Get("http://" + g.admin + "/api/v1/listeners")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return err == nil && strings.Contains(string(text), `"handshakes":1,`)
	})

	g.change(t, more("max_sessions = 1"))
	waiting.send(t, request("/")) // goes on as it began
	w := backend.accept(t)
	w.send(t, switching())
	waiting.wantOpen(t)
	// Both sessions count, though they began before the limit did.
	full := dial(t, g.listeners["public"])
	full.send(t, request("/"))
	full.wantRefusal(t, 503)

	// Who accepts changes with it: a loop, or with PROXY headers a goroutine.
	for range 3 {
		g.change(t, more("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]"))
		proxied := dial(t, g.listeners["public"])
		proxied.send(t, "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n"+request("/"))
		end := backend.accept(t)
		if got := end.request.Header.Get("X-Forwarded-For"); !strings.Contains(got, "192.0.2.1") {
			t.Errorf("X-Forwarded-For is %q", got)
		}
		end.send(t, switching())
		proxied.wantOpen(t)
		g.change(t, more(""))
		open(t, g.gateway, backend, "/")
	}

	g.change(t, strings.Replace(more(""), `name = "public"`, `name = "other"`, 1))
	// A port of the kernel's choice is no place: another name is another listener.
	eventually(t, patience, "the listener is closed", g.refusesConnections)
	for _, pair := range [][2]*wire{{c, b}, {waiting, w}} {
		pair[0].send(t, pair[0].frame(ws.OpText, "still here"))
		pair[1].wantFrame(t, ws.OpText, "still here")
	}
	g.listeners["public"] = g.addressOf(t, "other")
	open(t, g.gateway, backend, "/")
}

func TestARefusedReloadNamesEveryProblemAndChangesNothing(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	config := basics + toPool("/", "pool", backend.port())
	g := runChanging(t, config)
	g.rewrite(t, strings.Replace(config, `level = "debug"`, "level = \"loud\"\ncolour = true", 1)+"[[pool]]\nname = \"pool\"\n")
	status, body := g.post(t)
	for _, want := range []string{"log.level", "log.colour", "pool[1].name", "sluice.toml:"} {
		if status != http.StatusUnprocessableEntity || !strings.Contains(body, want) {
			t.Errorf("reload: %d %s; want 422 and %q", status, body, want)
		}
	}
	eventually(t, patience, "a line of log", func() bool { return strings.Count(g.log.String(), "reload refused") == 1 })
	open(t, g.gateway, backend, "/")
}

func TestARemovedPoolLivesUntilItsLastSession(t *testing.T) {
	t.Parallel()
	gone, stays := listenRaw(t), listenRaw(t)
	g := runChanging(t, basics+toPool("/", "stays", stays.port())+toPool("/gone", "gone", gone.port())+toPool("/unused", "unused", gone.port()))
	c, b := open(t, g.gateway, gone, "/gone")
	g.change(t, basics+toPool("/", "stays", stays.port()))
	eventually(t, patience, "the pool without sessions is closed", func() bool {
		return !strings.Contains(g.metrics(t), `sluice_backend_sessions{backend="`+gone.Addr().String()+`",pool="unused"}`)
	})
	c.send(t, c.frame(ws.OpText, "still here"))
	b.wantFrame(t, ws.OpText, "still here")
	if !strings.Contains(g.metrics(t), `sluice_backend_sessions{backend="`+gone.Addr().String()+`",pool="gone"} 1`) {
		t.Error("the pool isn't told of while it has a session")
	}
	_ = c.Close()
	b.wantGone(t)
	eventually(t, patience, "the pool is closed", func() bool {
		return !strings.Contains(g.metrics(t), `sluice_backend_sessions{backend="`+gone.Addr().String())
	})
}
