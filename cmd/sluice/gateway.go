package main

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-multierror"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"sluice/internal/admin"
	"sluice/internal/config"
	"sluice/internal/filewatch"
	"sluice/internal/tracing"
	"sluice/proxy"
	"sluice/proxy/driver"
)

// A gateway is what a configuration describes, with its sockets bound. Owned by the goroutine that
// calls serve, but for reload.
type gateway struct {
	in       surroundings
	logs     *logs
	log      *zap.Logger // logs.main
	panics   *panics
	traces   *tracing.Tracer // nil: handshakes aren't traced
	security *security
	driver   driver.Driver
	proxy    *proxy.Proxy
	admin    *admin.Server // nil: there is none
	reloads  *prometheus.CounterVec

	reloading sync.Mutex

	file  *config.File // guarded by reloading once serve was called
	watch configWatch  // guarded by reloading
}

// newGateway binds all sockets of a configuration; nothing is accepted before serve. Logs go to w.
// On an error nothing is left open.
func newGateway(file *config.File, in surroundings, w io.Writer) (*gateway, error) {
	logs, err := openLogs(file.Log, w)
	if err != nil {
		return nil, err
	}
	g := &gateway{file: file, in: in, logs: logs, log: logs.main, panics: newPanics(logs.main), reloads: newReloads()}
	files := filewatch.NewWatcher(g.log.Named("filewatch"), g.panics.Handler)
	g.watch = configWatch{
		path:     in.path,
		interval: configInterval,
		changed:  func() { _ = g.reload(context.Background()) },
		files:    files,
		log:      g.log,
		panics:   g.panics.Handler,
	}
	g.watch.read()
	if err := g.bind(files); err != nil {
		return nil, multierror.Append(err, g.stopTelling()).ErrorOrNil()
	}
	return g, nil
}

// bind makes everything but the logs. Certificates are watched with files. On an error nothing but them and the traces is left open.
func (g *gateway) bind(files *filewatch.Watcher) error {
	file, registry := g.file, newRegistry()
	tracer, err := g.openTraces()
	if err != nil {
		return err
	}
	setGC()
	if g.driver, err = driver.New(file.Gateway.Driver, setProcs(file.Gateway.Workers), g.panics.Handler); err != nil {
		return err
	}
	if g.security, err = openSecurity(file, files, g.log, g.panics.Handler); err != nil {
		return multierror.Append(err, g.driver.Close(context.Background())).ErrorOrNil()
	}
	registry.MustRegister(g.security, g.reloads, g.panics)
	sections := sectionsOf(file)
	options := proxy.Config{
		Listeners:   sections.Listeners,
		Routes:      sections.Routes,
		Pools:       sections.Pools,
		MaxSessions: sections.MaxSessions,
		Challenge:   g.security.challenge,
		Driver:      g.driver,
		Log:         g.log,
		Access:      g.logs.access,
		AccessLines: file.Log.Lines(),
		Tracer:      tracer,
		Metrics:     registry,
		Panics:      g.panics.Handler,
	}
	options.TLS, options.BackendTLS = g.security.inUse.Load().forProxy()
	if g.in.sockets != nil {
		options.Inherited = g.in.sockets.Take
	}
	if g.proxy, err = proxy.New(options); err != nil {
		g.security.close()
		return multierror.Append(err, g.driver.Close(context.Background())).ErrorOrNil()
	}
	if file.Admin.Address == "" {
		return nil
	}
	adminOptions := admin.Options{
		Config:   file.Admin,
		Gatherer: registry,
		IsReady:  func() bool { return !g.proxy.IsDraining() },
		Proxy:    g.proxy,
		Level:    g.logs.level,
		Reload:   g.reload,
		Log:      g.log,
		Panics:   g.panics.Handler,
	}
	g.admin, err = admin.Listen(adminOptions)
	if errors.Is(err, syscall.EADDRINUSE) && g.in.path == "" {
		// Nobody asked for this address, and without a file nobody can ask for another.
		g.log.Warn("admin address is taken, the kernel chooses a port", zap.String("address", file.Admin.Address))
		adminOptions.Config.Address = "127.0.0.1:0"
		g.admin, err = admin.Listen(adminOptions)
	}
	if err != nil {
		g.proxy.Close()
		g.security.close()
		return err
	}
	return nil
}

// openTraces returns the tracer that [tracing] describes; nil: none.
func (g *gateway) openTraces() (proxy.Tracer, error) {
	if g.file.Tracing.Endpoint == "" {
		return nil, nil
	}
	var err error
	g.traces, err = tracing.New(&g.file.Tracing, tracing.Options{Version: readBuild().version, Log: g.log, Panics: g.panics.Handler})
	return g.traces, err
}

// stopTelling sends the last traces and closes the log.
func (g *gateway) stopTelling() (err error) {
	if g.traces != nil {
		patience, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err = g.traces.Close(patience)
	}
	g.panics.stop()
	g.logs.out.close()
	return err
}

// serve relays sessions until ctx ends, drains as the configuration says, and returns when nothing
// of the gateway is left.
func (g *gateway) serve(ctx context.Context) error {
	stopReopening := g.logs.reopenOnSignal(g.panics.Handler)
	defer stopReopening()
	g.log.Info("starting", zap.Stringer("build", readBuild()))
	if g.admin != nil {
		go g.admin.Serve() // ends with Shutdown below
		g.log.Info("admin listening", zap.Stringer("address", g.admin.Addr()))
	}
	g.proxy.Start()
	g.start()
	stopReloading := g.reloadOnSignal()
	defer stopReloading() // behind the drain, which a hang-up must not cut short
	living, stopLiving := context.WithCancel(context.Background())
	var watchdog sync.WaitGroup
	watchdog.Go(func() { g.feedWatchdog(living) })
	g.told(g.in.notifier.Ready("serving"))
	<-ctx.Done()
	g.log.Info("stopping")
	g.stop()
	stopLiving()
	watchdog.Wait()
	var problems *multierror.Error
	if g.admin != nil {
		// Behind the drain, so that readiness and metrics answer while it lasts.
		patience, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		problems = multierror.Append(problems, g.admin.Shutdown(patience))
	}
	return multierror.Append(problems, g.stopTelling()).ErrorOrNil()
}

// start begins what goes on beside the relaying.
func (g *gateway) start() {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	g.security.start()
	g.watch.set(g.file.Gateway.Watch)
	if g.in.sockets != nil {
		if rest := g.in.sockets.Rest(); len(rest) > 0 {
			g.log.Warn("sockets of systemd that no listener takes are closed", zap.Strings("sockets", rest))
		}
	}
}

// stop drains, and ends what start began.
func (g *gateway) stop() {
	g.reloading.Lock()
	delay, drain := g.file.Gateway.DrainDelay.Std(), g.file.Gateway.Drain.Std()
	g.reloading.Unlock()
	g.told(g.in.notifier.Stopping(delay + drain + g.proxy.CloseTimeout() + stopSlack))
	g.proxy.Shutdown(context.Background(), delay, drain)
	// From here on reloads are refused.
	g.reloading.Lock()
	g.watch.set(false)
	g.reloading.Unlock()
	g.watch.wait()
	g.security.close()
}

// stopSlack is for what comes behind the drain: the admin listener, traces.
const stopSlack = 10 * time.Second

// setProcs returns how many event loops there are, and lets the program use one CPU more than that,
// so that saturated loops don't starve what else runs; unless the environment has decided.
func setProcs(workers int) int {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0) // the CPUs that the process may use
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(workers + 1)
	}
	return workers
}

// setGC makes the heap of sessions, which live for hours, tight: a quarter less memory an idle session was measured for a few more
// collections while handshakes storm; unless the environment has decided.
func setGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// maxSessions returns the limit of live sessions: the configured one, or as many as descriptors
// suffice for. The runtime has raised the soft limit to the hard one.
func maxSessions(configured int) int {
	if configured > 0 {
		return configured
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return defaultMaxSessions
	}
	const most = 1 << 22 // sessions: above that memory is the limit
	descriptors := int(min(limit.Cur, 2*most))
	// A session has two descriptors. A quarter of a small limit, 1,024 of a large one, is for
	// handshakes, probes, the admin listener and files.
	return max((descriptors-min(descriptors/4, 1024))/2, 1)
}

// defaultMaxSessions is for a system that tells no limit of descriptors.
const defaultMaxSessions = 10_000

// newRegistry returns where all metrics are collected, with those of the process in it.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	b := readBuild()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "sluice_build_info",
		Help:        "Which build this is: always 1.",
		ConstLabels: prometheus.Labels{"version": b.version, "revision": b.revision, "go": b.goVersion},
	})
	info.Set(1)
	registry.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}
