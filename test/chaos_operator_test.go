//go:build unix

package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A chaosOperator uses the gateway as operators do: it changes the configuration, closes sessions, drains backends, and reads the admin
// API. Owned by its goroutine.
type chaosOperator struct {
	chaos *chaos
	dice
	http http.Client
}

// run acts until the traffic stops.
func (o *chaosOperator) run(stopped <-chan struct{}) {
	for {
		select {
		case <-stopped:
			return
		case <-o.chaos.gateway.exited:
			return
		case <-time.After(o.within(150 * time.Millisecond)):
			o.act()
		}
	}
}

func (o *chaosOperator) act() {
	switch o.IntN(9) {
	case 0, 1, 2, 3:
		o.reload(o.chaos.site.any(o.dice), o.oneIn(4))
	case 4:
		o.closeSessions()
	case 5:
		o.drain()
	case 6:
		o.look()
	case 7:
		o.renewCertificate()
	default:
		o.ask("PUT", "/api/v1/log/level", fmt.Sprintf(`{"level": %q}`, one(o.dice, "debug", "info", "warn", "error")))
		if o.oneIn(4) {
			_ = o.chaos.gateway.cmd.Process.Signal(syscall.SIGUSR1)
		}
	}
}

// reload has the gateway apply a configuration, and learns its listeners. One that the gateway refuses, sluice check must refuse too:
// then it is not as valid as it should be, and counts as such.
func (o *chaosOperator) reload(config string, bySignal bool) {
	c := o.chaos
	select {
	case <-c.gateway.exited:
		return // the file still has the configuration with which the gateway ended
	default:
	}
	if err := os.WriteFile(c.path+".new", []byte(config), 0o600); err != nil {
		c.report("%v", err)
		return
	}
	if err := os.Rename(c.path+".new", c.path); err != nil {
		c.report("%v", err)
		return
	}
	if bySignal {
		_ = c.gateway.cmd.Process.Signal(syscall.SIGHUP)
		time.Sleep(o.within(20 * time.Millisecond))
	}
	c.reloads.Add(1)
	if status, body := o.ask("POST", "/api/v1/reload", ""); status == http.StatusUnprocessableEntity {
		if exec.Command(sluice, "check", "-config", c.path).Run() == nil {
			c.report("the gateway refuses a configuration that sluice check accepts: %s\n%s", body, config)
		} else if c.t.Logf("not valid: %s", body); c.invalid.Add(1) > 5+c.reloads.Load()/10 {
			c.report("too many of the configurations are not valid")
		}
	}
	o.learnListeners()
}

// A listenerView is what the admin API shows of a listener.
type listenerView struct {
	Name          string
	Address       string
	TLS           bool `json:"tls"`
	ProxyProtocol bool `json:"proxy_protocol"`
	Sessions      int
	Handshakes    int
	Requests      int
	Connections   int
}

func (o *chaosOperator) learnListeners() {
	var answer struct{ Listeners []listenerView }
	if status, body := o.ask("GET", "/api/v1/listeners", ""); status == http.StatusOK && json.Unmarshal([]byte(body), &answer) == nil {
		o.chaos.listeners.Store(&answer.Listeners)
	}
}

// ask returns the answer of the admin API. Status 0 means that there was none.
func (o *chaosOperator) ask(method, path, body string) (status int, answer string) {
	request, err := http.NewRequest(method, "http://"+o.chaos.gateway.admin+path, strings.NewReader(body))
	if err != nil {
		panic(err) // all paths are ours
	}
	response, err := o.http.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

// closeSessions closes one session, some, or all.
func (o *chaosOperator) closeSessions() {
	code := one(o.dice, "", "&code=1000", "&code=1012", "&code=4000")
	if o.oneIn(2) {
		var page struct{ Sessions []struct{ ID string } }
		_, body := o.ask("GET", "/api/v1/sessions?limit=20", "")
		if json.Unmarshal([]byte(body), &page) == nil && len(page.Sessions) > 0 {
			o.ask("DELETE", "/api/v1/sessions/"+one(o.dice, page.Sessions...).ID+strings.Replace(code, "&", "?", 1), "")
		}
		return
	}
	filter := one(o.dice, "all=true", "listener=secure", "route=%2F", "pool=pool", "client=127.0.0.2", "path=%2Fchat", "idle=50ms", "age=100ms",
		"backend="+url.QueryEscape(o.chaos.site.steady))
	o.ask("DELETE", "/api/v1/sessions?"+filter+code, "")
}

// drain drains a backend, or ends its drain.
func (o *chaosOperator) drain() {
	var answer struct {
		Pools []struct {
			Name     string
			Backends []struct{ Address string }
		}
	}
	_, body := o.ask("GET", "/api/v1/pools", "")
	if json.Unmarshal([]byte(body), &answer) != nil || len(answer.Pools) == 0 {
		return
	}
	pool := one(o.dice, answer.Pools...)
	if len(pool.Backends) > 0 {
		at := "/api/v1/pools/" + pool.Name + "/backends/" + url.PathEscape(one(o.dice, pool.Backends...).Address)
		o.ask("POST", at+one(o.dice, "/drain", "/drain?over=200ms", "/drain?over=1s", "/undrain", "/undrain"), "")
	}
}

// look reads one of the views.
func (o *chaosOperator) look() {
	o.ask("GET", one(o.dice, "/metrics", "/readyz", "/api/v1/totals", "/api/v1/routes", "/api/v1/closes", "/api/v1/listeners", "/api/v1/pools",
		"/api/v1/sessions?path=/chat&limit=3", "/api/v1/sessions?client=127.0.0.0/8&idle=10ms", "/api/v1/sessions?cursor=x", "/debug/pprof/goroutine?debug=1"), "")
}

// renewCertificate replaces the files of a certificate, with what they had.
func (o *chaosOperator) renewCertificate() {
	p := one(o.dice, o.chaos.site.certificate[:]...)
	for _, path := range []string{p.key, p.cert} {
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path+".new", text, 0o600)
		}
		if err == nil {
			err = os.Rename(path+".new", path)
		}
		if err != nil {
			o.chaos.report("%v", err)
		}
	}
}
