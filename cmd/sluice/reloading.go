package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sluice/internal/config"
	"sluice/internal/systemd"
	"sluice/proxy"
)

// surroundings are what a gateway finds where it runs. The zero value: nothing.
type surroundings struct {
	path     string // of its configuration, absolute or as it was given; "": it has no file
	sockets  *systemd.Sockets
	notifier systemd.Notifier
}

// What became of a reload, as sluice_config_reloads_total tells it.
const (
	reloadApplied = "applied"
	reloadRefused = "refused"
)

// errNoFile refuses the reload of a configuration that is in no file.
var errNoFile = errors.New("there is nothing to reload: the gateway was started without a configuration file")

// newReloads returns the counter of reloads.
func newReloads() *prometheus.CounterVec {
	reloads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_config_reloads_total", Help: "Reloads of the configuration by what became of them.",
	}, []string{"result"})
	for _, result := range []string{reloadApplied, reloadRefused} {
		reloads.WithLabelValues(result)
	}
	return reloads
}

// reload reads the configuration anew and puts it into use. Its error has all that is wrong with it; then nothing has changed. Any
// goroutine may call it; reloads come one behind the other.
func (g *gateway) reload(context.Context) error {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	if !g.proxy.IsDraining() {
		g.told(g.in.notifier.Reloading())
		defer func() { g.told(g.in.notifier.Ready("serving")) }()
	}
	err := errPanicked
	g.panics.Guard(room, func() { err = g.replace() })
	if err != nil {
		g.reloads.WithLabelValues(reloadRefused).Inc()
		g.log.Error("reload refused, the configuration in use stays", zap.Error(err))
		return err
	}
	g.reloads.WithLabelValues(reloadApplied).Inc()
	return nil
}

// replace is reload without telling anybody but the log. The caller holds reloading.
func (g *gateway) replace() error {
	if g.in.path == "" {
		return errNoFile
	}
	g.watch.read()
	file, err := config.Load(g.in.path)
	if err != nil {
		return err
	}
	secured, err := g.security.prepare(file)
	if err != nil {
		return err
	}
	isInUse := false
	defer func() {
		if !isInUse { // there is an error, or it panicked
			g.security.abandon(secured)
		}
	}()
	sections := sectionsOf(file)
	sections.TLS, sections.BackendTLS = secured.forProxy()
	if err := g.proxy.Reload(sections); err != nil {
		return err
	}
	isInUse = true
	g.security.adopt(secured)
	level, err := zapcore.ParseLevel(file.Log.Level)
	if err != nil {
		panic("BUG: a level that Check lets pass: " + err.Error())
	}
	g.logs.level.SetLevel(level)
	diff := config.Compare(g.file, file)
	g.file = file
	g.tellDiff(diff)
	g.watch.set(file.Gateway.Watch)
	return nil
}

// sectionsOf returns what a proxy takes of a configuration, without TLS.
func sectionsOf(file *config.File) proxy.Sections {
	return proxy.Sections{
		Listeners:     file.Listeners(),
		Routes:        file.Route,
		Pools:         file.Pools(),
		MaxSessions:   maxSessions(file.Gateway.MaxSessions),
		DrainsRemoved: file.Gateway.OnRemoved == config.OnRemovedDrain,
		Drain:         file.Gateway.Drain.Std(),
	}
}

// tellDiff logs what a reload has changed.
func (g *gateway) tellDiff(d *config.Diff) {
	var fields []zap.Field
	add := func(key string, names []string) {
		if len(names) > 0 {
			fields = append(fields, zap.Strings(key, names))
		}
	}
	for _, kind := range []struct {
		name string
		of   *config.Names
	}{{"listeners", &d.Listeners}, {"routes", &d.Routes}, {"pools", &d.Pools}} {
		add(kind.name+"_added", kind.of.Added)
		add(kind.name+"_changed", kind.of.Changed)
		add(kind.name+"_removed", kind.of.Removed)
	}
	add("keys", d.Keys)
	g.log.Info("configuration reloaded", fields...)
	if len(d.Waiting) > 0 {
		g.log.Warn("changed keys wait for a restart", zap.Strings("keys", d.Waiting))
	}
}

// told logs that systemd could not be told.
func (g *gateway) told(err error) {
	if err != nil {
		g.log.Warn("systemd isn't told", zap.Error(err))
	}
}

// reloadOnSignal reloads with each SIGHUP, until stop is called. Without a file a hang-up ends the process, as any: who tries it in a
// terminal closes that.
func (g *gateway) reloadOnSignal() (stop func()) {
	if g.in.path == "" {
		return func() {}
	}
	signals := make(chan os.Signal, 1) // one that waits says as much as several: the file is read behind it
	signal.Notify(signals, syscall.SIGHUP)
	ended := make(chan struct{})
	go g.watchReload(signals, ended)
	return func() {
		signal.Stop(signals)
		close(signals)
		<-ended
	}
}

// watchReload runs until signals is closed.
func (g *gateway) watchReload(signals <-chan os.Signal, ended chan<- struct{}) {
	defer close(ended)
	for range signals {
		g.panics.Guard(room, func() { _ = g.reload(context.Background()) }) // its error has been logged
	}
}

// feedWatchdog tells systemd that the gateway lives, as often as it wants to know, until ctx ends. A loop that stands still isn't
// alive.
func (g *gateway) feedWatchdog(ctx context.Context) {
	interval := g.in.notifier.WatchdogInterval()
	if interval == 0 {
		return
	}
	ticker := time.NewTicker(interval / 3) // sd_watchdog_enabled(3) advises less than half
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			g.panics.Guard(room, func() {
				g.driver.Turns() // waits for a turn of each loop
				g.told(g.in.notifier.Alive())
			})
		}
	}
}

// fromSystemd returns what a gateway with that configuration finds.
func fromSystemd(path string) (surroundings, error) {
	sockets, err := systemd.NewSockets()
	if err != nil {
		return surroundings{}, fmt.Errorf("socket activation: %w", err)
	}
	return surroundings{path: path, sockets: sockets, notifier: systemd.NewNotifier()}, nil
}
