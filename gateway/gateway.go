package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-multierror"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"sluice/handover"
	"sluice/internal/admin"
	"sluice/internal/config"
	"sluice/internal/filewatch"
	"sluice/internal/recovery"
	"sluice/internal/systemd"
	"sluice/internal/tracing"
	"sluice/proxy"
	"sluice/proxy/driver"
	"sluice/proxy/handshake"
)

// Options are what a gateway needs besides its configuration. The zero value is complete but for Stderr.
type Options struct {
	// Path is the file of the configuration, absolute or relative to the working directory. Reload reads it. "": there is none.
	Path string
	// Stderr is the output that [log] names stderr.
	Stderr io.Writer
	// Sockets are listening sockets of systemd; nil: there are none.
	Sockets *systemd.Sockets
	// Notifier notifies systemd of the gateway's state.
	Notifier systemd.Notifier
	// Successor returns the command that starts the program's file as this process was started; nil: upgrades are refused.
	Successor func() *exec.Cmd
	// Handover is the connection to the process that the gateway takes over from; nil: there is none. The caller closes it.
	Handover *handover.Conn
}

// A Gateway is what a configuration describes, with its sockets bound. Its methods may be called from any goroutine; Run or Close must
// be called once.
type Gateway struct {
	options  Options
	logs     *logs
	log      *zap.Logger // logs.main
	panics   *panics
	traces   *tracing.Tracer // nil: handshakes aren't traced
	security *security
	driver   driver.Driver
	proxy    *proxy.Proxy
	admin    *admin.Server // nil: there is none
	reloads  *prometheus.CounterVec
	started  chan struct{} // closed when the gateway accepts, or is closed without

	startFile *config.File // with which it was started: what only a restart changes is as here
	startTime time.Time    // immutable

	before    *predecessor                  // nil: there was none
	older     atomic.Pointer[[]admin.Older] // that still live
	takenOver chan struct{}                 // closed when all of the process before is here, or there was none

	upgrading  sync.Mutex
	successor  *successor      // nil: this process serves; guarded by upgrading
	handedOver chan struct{}   // closed when a successor serves
	stopping   context.Context // ends when a stop begins
	setStopped context.CancelFunc

	reloading  sync.Mutex
	lastReload atomic.Pointer[admin.LastReload] // nil: there was none

	file  atomic.Pointer[config.File] // in use; changed by the holder of reloading
	watch configWatch                 // guarded by reloading
}

// New binds all sockets of a configuration and accepts nothing. On an error nothing is left open.
func New(file *config.File, options Options) (*Gateway, error) {
	logs, err := openLogs(file.Log, options.Stderr)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		options: options,
		logs:    logs,
		log:     logs.main,
		panics:  newPanics(logs.main),
		reloads: newReloads(),
		started: make(chan struct{}),

		takenOver:  make(chan struct{}),
		handedOver: make(chan struct{}),

		startFile: file,
		startTime: time.Now(),
	}
	g.file.Store(file)
	g.stopping, g.setStopped = context.WithCancel(context.Background())
	files := filewatch.NewWatcher(g.log.Named("filewatch"), g.panics.Handler)
	g.watch = configWatch{
		interval: configInterval,
		changed:  func() { _, _ = g.Reload(context.Background()) }, // its error has been logged
		files:    files,
		log:      g.log,
		panics:   g.panics.Handler,
	}
	if options.Path != "" {
		g.watch.follow(file.Origin)
	}
	if err := g.bind(files); err != nil {
		return nil, multierror.Append(err, g.Close()).ErrorOrNil()
	}
	return g, nil
}

// bind makes everything but the logs. Certificates are watched with files. On an error Close ends what was made.
func (g *Gateway) bind(files *filewatch.Watcher) error {
	file, registry := g.file.Load(), newRegistry()
	tracer, err := g.openTraces()
	if err != nil {
		return err
	}
	if err := g.meetBefore(); err != nil {
		return err
	}
	if g.driver, err = g.newDriver(); err != nil {
		return err
	}
	if g.security, err = openSecurity(file, files, g.log, g.panics.Handler); err != nil {
		return err
	}
	registry.MustRegister(g.security, g.reloads, g.panics, g.logs.out.lost, g.newRecordLayer())
	if g.proxy, err = proxy.New(g.proxyConfig(tracer, registry)); err != nil {
		return err
	}
	if file.Admin.Address == "" {
		return nil
	}
	return g.listenAdmin(registry)
}

// openTraces returns the tracer that [tracing] describes, or nil.
func (g *Gateway) openTraces() (handshake.Tracer, error) {
	if g.file.Load().Tracing.Endpoint == "" {
		return nil, nil
	}
	traces, err := tracing.New(&g.file.Load().Tracing, tracing.Options{Version: ReadBuild().Version, Log: g.log, Panics: g.panics.Handler})
	if err != nil {
		return nil, err
	}
	g.traces = traces
	return traces, nil
}

// proxyConfig returns what the proxy of the configuration needs.
func (g *Gateway) proxyConfig(tracer handshake.Tracer, registry *prometheus.Registry) proxy.Config {
	c := proxy.Config{
		Sections:  g.sectionsOf(g.file.Load(), g.security.inUse.Load()),
		Challenge: g.security.challenge,

		Driver:      g.driver,
		Log:         g.log,
		Access:      g.logs.access,
		AccessLines: g.file.Load().Log.Lines(),
		Tracer:      tracer,
		Metrics:     registry,
		Panics:      g.panics.Handler,
	}
	switch {
	case g.before != nil:
		c.Inherited = g.before.take
	case g.options.Sockets != nil:
		c.Inherited = g.options.Sockets.Take
	}
	return c
}

// listenAdmin binds the admin listener.
func (g *Gateway) listenAdmin(registry *prometheus.Registry) error {
	options := admin.Options{
		Config:        g.file.Load().Admin,
		Gatherer:      registry,
		IsReady:       func() bool { return !g.proxy.IsDraining() },
		Proxy:         g.proxy,
		Process:       g.process,
		Level:         g.logs.level,
		Reload:        g.Reload,
		Configuration: func() *admin.Configuration { return config.Show(g.startFile, g.file.Load()) },
		Upgrade:       g.Upgrade,
		Log:           g.log,
		Panics:        g.panics.Handler,
	}
	if g.before != nil {
		options.Inherited = g.before.takeAdmin
	}
	server, err := admin.Listen(options)
	if errors.Is(err, syscall.EADDRINUSE) && g.options.Path == "" {
		// The address is a default, and without a file there is no place to change it.
		g.log.Warn("admin address is taken, the kernel chooses a port", zap.String("address", options.Config.Address))
		options.Config.Address = "127.0.0.1:0"
		server, err = admin.Listen(options)
	}
	if err != nil {
		return err
	}
	g.admin = server
	return nil
}

// process returns what GET /api/v1/status says of the process.
func (g *Gateway) process() admin.Process {
	return admin.Process{Build: ReadBuild().String(), Start: g.startTime.UTC(), LastReload: g.lastReload.Load(), Older: g.olderProcesses()}
}

// olderProcesses returns those that have handed over, one to the other and the last to this one, and still live.
func (g *Gateway) olderProcesses() []admin.Older {
	if older := g.older.Load(); older != nil {
		return *older
	}
	return nil
}

// Addr returns the address that a listener is bound to, or nil if there is no such listener.
func (g *Gateway) Addr(listener string) net.Addr { return g.proxy.Addr(listener) }

// AdminAddr returns the address of the admin listener, or nil if there is none.
func (g *Gateway) AdminAddr() net.Addr {
	if g.admin == nil {
		return nil
	}
	return g.admin.Addr()
}

// Panics returns the handler that counts and logs recovered panics, for goroutines that a program runs beside the gateway.
func (g *Gateway) Panics() recovery.Handler { return g.panics.Handler }

// ReopenLog continues the log in a new file at the path of [log] output, from which the old file was moved away. If the log is no
// file, it does nothing.
func (g *Gateway) ReopenLog() { g.logs.reopen() }

// Run relays sessions until ctx ends, drains as the configuration says, and returns when nothing of the gateway is left. With
// Options.Handover it returns an error, and has served nobody, if the process before doesn't hand over; after Upgrade it returns when what
// could not move is gone.
func (g *Gateway) Run(ctx context.Context) error {
	g.log.Info("starting", zap.Stringer("build", ReadBuild()))
	g.logWarnings(g.startFile)
	if g.before != nil {
		if err := g.beginTakeOver(); err != nil {
			g.log.Error("the process before does not hand over", zap.Error(err))
			return multierror.Append(err, g.Close()).ErrorOrNil()
		}
	}
	if g.admin != nil {
		go g.admin.Serve() // until Shutdown below
		g.log.Info("admin listening", zap.Stringer("address", g.admin.Addr()))
	}
	g.start()
	living, stopLiving := context.WithCancel(context.Background())
	var beside sync.WaitGroup
	beside.Go(func() { g.feedWatchdog(living) })
	beside.Go(func() { g.manageMemory(living) })
	if g.before != nil {
		beside.Go(g.takeOver)
	} else {
		close(g.takenOver)
		g.notified(g.options.Notifier.Ready("serving"))
	}
	select {
	case <-ctx.Done():
	case <-g.handedOver:
	}
	g.end(ctx, stopLiving)
	beside.Wait()
	var problems *multierror.Error
	if g.admin != nil {
		// After the drain, so that readiness and metrics answer while it lasts.
		problems = multierror.Append(problems, g.endAdmin(time.Second))
	}
	return multierror.Append(problems, g.closeOutputs()).ErrorOrNil()
}

// end ends what relays sessions: by a stop, or, if there is a successor, when what could not move there is gone. stopLiving ends what runs
// beside.
func (g *Gateway) end(ctx context.Context, stopLiving func()) {
	defer stopLiving()
	g.setStopped()
	<-g.takenOver // the process before, which bounds each step, hands no more over
	if g.before != nil {
		defer g.before.conn.Close() // that one may still live
	}
	g.upgrading.Lock()
	defer g.upgrading.Unlock()
	if g.successor == nil {
		g.log.Info("stopping")
		if g.before != nil {
			g.before.stop()
		}
		g.stop()
		return
	}
	stopLiving() // the watchdog is the successor's
	if ctx.Err() != nil {
		g.successor.stop() // it was not in charge when this one was asked to
	}
	g.retire(ctx)
}

// endAdmin ends the admin listener, and gives the requests under way that long.
func (g *Gateway) endAdmin(patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return g.admin.Shutdown(ctx)
}

// start accepts connections, and begins everything that runs beside the sessions.
func (g *Gateway) start() {
	g.proxy.Start()
	g.reloading.Lock()
	defer g.reloading.Unlock()
	g.security.start()
	g.watch.set(g.file.Load().Gateway.Watch)
	if g.before == nil && g.options.Sockets != nil {
		if rest := g.options.Sockets.Rest(); len(rest) > 0 {
			g.log.Warn("sockets of systemd that no listener takes are closed", zap.Strings("sockets", rest))
		}
	}
	close(g.started)
}

// stop drains, and ends what start began.
func (g *Gateway) stop() {
	g.reloading.Lock()
	delay, drain := g.file.Load().Gateway.DrainDelay.Std(), g.file.Load().Gateway.Drain.Std()
	g.reloading.Unlock()
	g.notified(g.options.Notifier.Stopping(delay + drain + g.proxy.EndTimeout() + stopSlack))
	g.proxy.Shutdown(context.Background(), delay, drain)
	// From here on reloads are refused.
	g.reloading.Lock()
	g.watch.set(false)
	g.reloading.Unlock()
	g.watch.wait()
	g.security.close()
}

// stopSlack is the time for what ends after the drain: the admin listener, traces.
const stopSlack = 10 * time.Second

// Close closes a gateway for which Run was not called.
func (g *Gateway) Close() error {
	var problems *multierror.Error
	if g.admin != nil {
		problems = multierror.Append(problems, g.admin.Close())
	}
	switch {
	case g.proxy != nil:
		g.proxy.Close() // with the driver
	case g.driver != nil:
		problems = multierror.Append(problems, g.driver.Close(context.Background()))
	}
	if g.security != nil {
		g.security.close()
	}
	if g.before != nil {
		g.before.closeRest(false)
	}
	close(g.started) // a reload that waits is refused
	close(g.takenOver)
	return multierror.Append(problems, g.closeOutputs()).ErrorOrNil()
}

// closeOutputs sends the last traces and closes the log.
func (g *Gateway) closeOutputs() (err error) {
	if g.traces != nil {
		patience, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err = g.traces.Close(patience)
	}
	g.logs.out.close()
	return err
}
