package load

import (
	"errors"
	"runtime"
	"sync"

	"sluice/internal/epoll"
)

// newDriver returns a driver with loops for ws:// and with goroutines for wss:// and HTTP/2.
func newDriver(r *run) (driver, error) {
	if r.target.tls != nil || r.o.Streams > 0 {
		return newStreams(r), nil
	}
	count := r.o.Loops
	if count == 0 {
		count = runtime.GOMAXPROCS(0)
	}
	d := loops{run: r}
	for i := range min(count, r.o.Connections) {
		poller, err := epoll.New()
		if err != nil {
			for _, l := range d.loops {
				l.poller.Close()
			}
			return nil, err
		}
		rec := newRecorder()
		r.recorders = append(r.recorders, rec)
		d.loops = append(d.loops, &loop{run: r, recorder: rec, poller: poller, buf: make([]byte, readBytes), first: i})
	}
	for _, l := range d.loops {
		l.stride = len(d.loops)
		d.running.Go(func() {
			defer l.poller.Close()
			l.err = l.serve()
		})
	}
	return &d, nil
}

// loops is the driver of epoll loops.
type loops struct {
	run     *run
	loops   []*loop
	count   int // sessions that are to be opened
	running sync.WaitGroup
}

func (d *loops) open(count int) {
	d.count += count
	for _, l := range d.loops {
		// Session i belongs to loop i%stride.
		l.wanted.Store(int64((d.count - l.first + l.stride - 1) / l.stride))
		l.poller.Wake()
	}
}

func (d *loops) enter() {
	for _, l := range d.loops {
		l.poller.Wake()
	}
}

func (d *loops) wait() error {
	d.running.Wait()
	var errs []error
	for _, l := range d.loops {
		errs = append(errs, l.err)
	}
	return errors.Join(errs...)
}
