package driver

import (
	"bytes"
	"flag"
	"io"
	"testing"
	"time"

	"sluice/proxy/relay"
)

var deliveryStall = flag.Duration("delivery.stall", 1500*time.Millisecond, "how long the receivers of TestWhatCameBeforeAnEndArrives stand still")

type deliveryCase struct {
	name  string
	count int // of messages; few enough for the gateway to take them all, where it ends the session itself
	end   func(x *exchange, from, to *peer)
	last  func(from, to *peer) []byte // what arrives last; nil: a close of the gateway's
	code  [2]uint16                   // of that close, by receiver
}

// deliveryCases are the ways in which a session ends while a peer that is sent much stands still.
var deliveryCases = [...]deliveryCase{
	{"the sender closes", 400, func(x *exchange, from, to *peer) {
		from.write(from.closing(4001, ""))
	}, sendersClose, [2]uint16{}},
	{"the sender closes and ends its stream", 400, func(x *exchange, from, to *peer) {
		from.write(from.closing(4001, ""))
		from.shut()
	}, sendersClose, [2]uint16{}},
	{"both close", 400, func(x *exchange, from, to *peer) {
		to.write(to.closing(4002, ""))
		from.write(from.closing(4001, ""))
	}, sendersClose, [2]uint16{}},
	{"the sender ends its stream", 400, func(x *exchange, from, to *peer) { from.shut() }, nil, [2]uint16{1011, 1001}},
	{"the sender ends its stream inside a frame", 400, func(x *exchange, from, to *peer) {
		from.write(partOfAFrame(from, to))
		from.shut()
	}, partOfAFrame, [2]uint16{}},
	{"the sender breaks a rule", 400, func(x *exchange, from, to *peer) { from.write([]byte{0xff}) }, nil, [2]uint16{1011, 1001}},
	{"the receiver breaks a rule", 400, func(x *exchange, from, to *peer) { to.write([]byte{0xff}) }, nil, [2]uint16{1002, 1002}},
	{"the gateway closes", 25, func(x *exchange, from, to *peer) {
		eventually(from, "the gateway takes all", func() bool {
			st, _ := x.handle.Stats()
			return st.Counts[from.side].Frames == 25
		})
		x.handle.CloseBoth(1012, relay.ReasonDrain)
	}, nil, [2]uint16{1012, 1012}},
}

func sendersClose(from, _ *peer) []byte { return from.closing(4001, "") }
func partOfAFrame(from, _ *peer) []byte { return from.text("a part of a frame")[:10] }

// A delivery is a session in which a side has sent much to one that stands still.
type delivery struct {
	*exchange
	from, to *peer
	all      []byte
	done     chan struct{}
}

func (c *deliveryCase) begin(t *testing.T, k *kind, side relay.Side) *delivery {
	s := setup{config: relay.Config{CloseTimeout: 100 * time.Millisecond, WriteTimeout: time.Hour}}
	s.isSmall[side.Other()] = c.count < 400
	d := &delivery{exchange: begin(t, k, s), done: make(chan struct{})}
	d.from, d.to = d.peers(side)
	d.all = bytes.Repeat(d.from.frame(isFin|opBinary, bytes.Repeat([]byte("m"), 4000)), c.count)
	go func() {
		defer close(d.done)
		if _, err := d.from.conn.Write(d.all); err != nil {
			t.Errorf("%s: %s writes: %v", c.name, side, err)
		}
		c.end(d.exchange, d.from, d.to)
		_, _ = io.Copy(io.Discard, d.from.conn)
	}()
	return d
}

func (c *deliveryCase) check(t *testing.T, d *delivery) {
	d.to.want(c.name+": all that was sent", d.all)
	if c.last != nil {
		d.to.want(c.name+": the end", c.last(d.from, d.to))
	} else {
		d.to.wantClose(c.name+": the end", c.code[d.to.side], "*")
	}
	d.to.wantEnd(c.name + ": after the end")
	d.to.close()
}

func (d *delivery) end(t *testing.T) {
	d.wantResult(t)
	d.from.close()
	<-d.done
}

// Faults B16. The receiver stands still for longer than close_timeout and lingering; what was sent before the end arrives, and the
// stream ends without a reset.
func TestWhatCameBeforeAnEndArrives(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		var all [len(deliveryCases)][2]*delivery
		for i := range deliveryCases {
			for side := range all[i] {
				all[i][side] = deliveryCases[i].begin(t, k, relay.Side(side))
			}
		}
		time.Sleep(*deliveryStall)
		for i := range deliveryCases {
			for _, d := range all[i] {
				deliveryCases[i].check(t, d)
			}
		}
		for i := range deliveryCases {
			for _, d := range all[i] {
				d.end(t)
			}
		}
	})
}
