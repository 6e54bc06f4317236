package handshake

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// newTrace is the trace of each handshake that continues no other. It isn't recorded.
type newTrace struct{ testing.TB }

func (n newTrace) Begin(time.Time, TraceParent) Trace { return n }
func (n newTrace) Fields() (parent, state string)     { return "00-new", "" }
func (n newTrace) IsRecorded() bool                   { return false }
func (n newTrace) Step(TraceStep)                     { n.Error("Step of a trace that isn't recorded") }
func (n newTrace) End(TraceEnd)                       { n.Error("End of a trace that isn't recorded") }

func TestABackendGetsTheFieldsOfTheTraceAndNoOthers(t *testing.T) {
	for name, fields := range map[string][]string{
		"none":               nil,
		"a state alone":      {"tracestate: vendor=1"},
		"two parents":        {"traceparent: 00-a", "traceparent: 00-b", "tracestate: vendor=1"},
		"an empty state too": {"tracestate:", "tracestate: vendor=1"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, setting{}, func(c *script) {
				c.gate.tracer = newTrace{t}
				c.client(asking("/chat", fields...))
				c.want("a backend is picked", Dial)
				c.step = c.core.Dialing()
				head := strings.ToLower(string(bytes.Join(c.core.Out(), nil)))
				if strings.Count(head, "traceparent: 00-new\r\n") != 1 || strings.Count(head, "traceparent") != 1 || strings.Contains(head, "tracestate") {
					t.Errorf("the backend gets %q; want traceparent 00-new and no tracestate", head)
				}
				c.step = c.core.ClientLost()
				c.wantOver("client_lost")
			})
		})
	}
}
