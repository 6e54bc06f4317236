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

	log *zap.Logger
}

// room is the name of this package, and of the programs that use it, in calls of a recovery.Handler.
const room = "sluice"

// errPanicked is the error of a reload that a panic ended.
var errPanicked = errors.New("the gateway panicked; the log has the stack")

// newPanics returns panics that writes to log.
func newPanics(log *zap.Logger) *panics {
	p := &panics{
		CounterVec: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_recovered_panics_total", Help: "Panics that were recovered, by the part of the program.",
		}, []string{"room"}),
		log: log,
	}
	p.Handler = p.handle
	for _, room := range []string{"proxy", "driver", "balancer", "tls", "admin", "tracing", "filewatch", room} {
		p.WithLabelValues(room)
	}
	return p
}

// handle is the Handler. A panic of the log itself is counted only: its line would meet the same fault.
func (p *panics) handle(of string, cause any, stack []byte) {
	p.WithLabelValues(of).Inc()
	defer func() {
		if recover() != nil {
			p.WithLabelValues(room).Inc()
		}
	}()
	p.log.Named(of).Error("panic recovered", zap.String("panic", fmt.Sprint(cause)), zap.ByteString("stack", stack))
}
