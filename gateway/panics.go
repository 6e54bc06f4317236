package gateway

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"sluice/internal/recovery"
)

// panics counts and logs the panics that were recovered. It is a prometheus.Collector. Its methods may be called from any goroutine.
type panics struct {
	recovery.Handler
	*prometheus.CounterVec // room

	log     *zap.Logger
	writing chan struct{} // one for each line that is being written
}

// room is the name of this package, and of the programs that use it, in calls of a recovery.Handler.
const room = "sluice"

// errPanicked is the error of a reload that a panic ended.
var errPanicked = errors.New("the gateway panicked; the log has the stack")

// mostPanicLines bounds the lines that wait for a slow log. Further panics are counted only.
const mostPanicLines = 16

// newPanics returns panics that writes to log. stop must be called before the log is closed.
func newPanics(log *zap.Logger) *panics {
	p := &panics{
		CounterVec: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_recovered_panics_total", Help: "Panics that were recovered, by the part of the program.",
		}, []string{"room"}),
		log:     log,
		writing: make(chan struct{}, mostPanicLines),
	}
	p.Handler = p.handle
	for _, room := range []string{"proxy", "driver", "balancer", "tls", "admin", "tracing", "filewatch", room} {
		p.WithLabelValues(room)
	}
	return p
}

// handle is the Handler. An event loop may be the caller, which must not wait for a slow log.
func (p *panics) handle(room string, cause any, stack []byte) {
	p.WithLabelValues(room).Inc()
	select {
	case p.writing <- struct{}{}:
		go p.write(room, cause, stack)
	default:
	}
}

// write writes the line of a panic. A panic of the log itself is counted only: its line would meet the same fault.
func (p *panics) write(of string, cause any, stack []byte) {
	defer func() { <-p.writing }()
	defer func() {
		if recover() != nil {
			p.WithLabelValues(room).Inc()
		}
	}()
	p.log.Named(of).Error("panic recovered", zap.String("panic", fmt.Sprint(cause)), zap.ByteString("stack", stack))
}

// stop waits for the lines that are being written, and lets none begin after them.
func (p *panics) stop() {
	for range mostPanicLines {
		p.writing <- struct{}{}
	}
}
