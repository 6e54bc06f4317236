package balancer

import "sync/atomic"

// Traffic is what sessions have moved in one direction.
type Traffic struct {
	Frames   uint64 // data frames
	Messages uint64
	Bytes    uint64 // payload of data frames
}

// Add adds o to t.
func (t *Traffic) Add(o Traffic) {
	t.Frames += o.Frames
	t.Messages += o.Messages
	t.Bytes += o.Bytes
}

// A trafficCount sums up traffic. Its methods are safe for concurrent use.
type trafficCount struct {
	frames, messages, bytes atomic.Uint64
}

func (c *trafficCount) add(t Traffic) {
	c.frames.Add(t.Frames)
	c.messages.Add(t.Messages)
	c.bytes.Add(t.Bytes)
}

func (c *trafficCount) sum() Traffic {
	return Traffic{Frames: c.frames.Load(), Messages: c.messages.Load(), Bytes: c.bytes.Load()}
}
