package gateway

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sluice/internal/admin"
	"sluice/internal/config"
	"sluice/proxy"
)

// errNoFile refuses the reload of a configuration that is in no file.
var errNoFile = errors.New("there is nothing to reload: the gateway was started without a configuration file")

// Reload reads the configuration anew and applies it. waiting are the keys in which it differs from the running gateway and that only a
// restart makes effective. Its error has all that is wrong with it; then nothing has changed. It waits until the gateway has started,
// unless ctx ends earlier, and for other reloads.
func (g *Gateway) Reload(ctx context.Context) (waiting []string, err error) {
	select {
	case <-g.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	g.reloading.Lock()
	defer g.reloading.Unlock()
	if isDone(g.handedOver) {
		return nil, errHandedOver
	}
	if !g.proxy.IsDraining() {
		g.notified(g.options.Notifier.Reloading())
		defer func() { g.notified(g.options.Notifier.Ready("serving")) }()
	}
	err = errPanicked
	g.panics.Guard(room, func() { waiting, err = g.replace() })
	g.noteReload(err)
	if err != nil {
		g.log.Error("reload refused, the configuration in use stays", zap.Error(err))
		return nil, err
	}
	return waiting, nil
}

// noteReload counts a reload and keeps its result for the status.
func (g *Gateway) noteReload(err error) {
	last := &admin.LastReload{At: time.Now().UTC(), Result: reloadApplied}
	if err != nil {
		last.Result, last.Error = reloadRefused, err.Error()
	}
	g.reloads.WithLabelValues(last.Result).Inc()
	g.lastReload.Store(last)
}

// replace is Reload without the result being counted and reported. The caller holds reloading.
func (g *Gateway) replace() (waiting []string, err error) {
	if g.options.Path == "" {
		return nil, errNoFile
	}
	file, origin, err := config.Read(g.options.Path)
	g.watch.follow(origin)
	if err != nil {
		return nil, err
	}
	secured, err := g.security.prepare(file)
	if err != nil {
		return nil, err
	}
	isInUse := false
	defer func() {
		if !isInUse { // there is an error, or it panicked
			g.security.abandon(secured)
		}
	}()
	if err := g.proxy.Reload(g.sectionsOf(file, secured)); err != nil {
		return nil, err
	}
	isInUse = true
	g.security.adopt(secured)
	level, err := zapcore.ParseLevel(file.Log.Level)
	if err != nil {
		panic("BUG: a level that Check lets pass: " + err.Error())
	}
	g.logs.level.SetLevel(level)
	diff := config.Compare(g.file.Load(), file)
	waiting = config.Compare(g.startFile, file).Waiting
	g.file.Store(file)
	g.logDiff(diff, waiting)
	g.logWarnings(file)
	g.watch.set(file.Gateway.Watch)
	return waiting, nil
}

// sectionsOf returns the part of a configuration that is the proxy's, with its TLS.
func (g *Gateway) sectionsOf(file *config.File, secured *generation) proxy.Sections {
	n := needsOf(file)
	connections := maxConnections(n)
	c := proxy.Sections{
		Listeners:     file.Listeners(),
		Routes:        file.Route,
		Pools:         file.Pools(),
		MaxSessions:   n.maxSessions(file.Gateway.MaxSessions, connections),
		DrainsRemoved: file.Gateway.OnRemoved == config.OnRemovedDrain,
		Drain:         file.Gateway.Drain.Std(),

		MaxConnections: connections,
	}
	secured.secure(&c)
	if configured := file.Gateway.MaxSessions; configured > c.MaxSessions {
		g.log.Warn("a limit is lowered to what the process has descriptors for",
			zap.String("key", "gateway.max_sessions"), zap.Int("configured", configured), zap.Int("limit", c.MaxSessions))
	}
	return c
}

// logWarnings logs what a configuration may have and its operator may not want.
func (g *Gateway) logWarnings(file *config.File) {
	for _, w := range file.Warnings {
		g.log.Warn("configuration may not be what is meant", zap.String("problem", w.Error()))
	}
}

// logDiff logs what a reload has changed, and which keys wait for a restart.
func (g *Gateway) logDiff(d *config.Diff, waiting []string) {
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
	if len(waiting) > 0 {
		g.log.Warn("changed keys wait for a restart", zap.Strings("keys", waiting))
	}
}
