//go:build unix

package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

const (
	fromClient  = "client"
	fromBackend = "backend"
)

// A faultyFrame breaks a rule of RFC 6455. Client's frames have a masking key of zeros, so that their
// payload stands here as it is.
type faultyFrame struct {
	rule   string // as the metric names it
	from   string
	before string // frames that are right, and pass
	frame  string
	code   ws.StatusCode // that the offender is told
}

// The routes of the test limit frames to 1000 bytes and messages to 1500.
var faultyFrames = []faultyFrame{
	{"unmasked", fromClient, "", "\x81\x05Hello", 1002},
	{"unmasked", fromClient, "", "\x88\x02\x03\xe8", 1002},
	{"masked", fromBackend, "", "\x81\x85\x00\x00\x00\x00Hello", 1002},
	{"masked", fromBackend, "", "\x89\x80\x00\x00\x00\x00", 1002},
	{"reserved_bit", fromClient, "", "\xc1\x81\x00\x00\x00\x00x", 1002},
	{"reserved_bit", fromClient, "", "\xa1\x81\x00\x00\x00\x00x", 1002},
	{"reserved_bit", fromClient, "", "\x91\x81\x00\x00\x00\x00x", 1002},
	{"reserved_bit", fromBackend, "", "\xc1\x01x", 1002},
	{"reserved_bit", fromBackend, "", "\xc9\x00", 1002},
	{"reserved_opcode", fromClient, "", "\x83\x81\x00\x00\x00\x00x", 1002},
	{"reserved_opcode", fromClient, "", "\x8b\x80\x00\x00\x00\x00", 1002},
	{"reserved_opcode", fromBackend, "", "\x87\x01x", 1002},
	{"reserved_opcode", fromBackend, "", "\x8f\x00", 1002},
	{"control_fragmented", fromClient, "", "\x09\x80\x00\x00\x00\x00", 1002},
	{"control_fragmented", fromBackend, "", "\x08\x02\x03\xe8", 1002},
	{"control_too_long", fromClient, "", "\x89\xfe\x00\x7e\x00\x00\x00\x00" + strings.Repeat("x", 126), 1002},
	{"control_too_long", fromBackend, "", "\x88\x7e\x00\x7e\x03\xe8" + strings.Repeat("x", 124), 1002},
	{"continuation", fromClient, "", "\x80\x81\x00\x00\x00\x00x", 1002},
	{"continuation", fromBackend, "", "\x00\x01x", 1002},
	{"message_interrupted", fromClient, "\x01\x82\x00\x00\x00\x00in", "\x81\x81\x00\x00\x00\x00x", 1002},
	{"message_interrupted", fromBackend, "\x02\x02in", "\x82\x01x", 1002},
	{"length_top_bit", fromClient, "", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 1002},
	{"length_top_bit", fromBackend, "", "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 1002},
	{"length_not_minimal", fromClient, "", "\x82\xfe\x00\x7d\x00\x00\x00\x00" + strings.Repeat("x", 125), 1002},
	{"length_not_minimal", fromBackend, "", "\x82\x7e\x00\x01x", 1002},
	{"length_not_minimal", fromBackend, "", "\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", 1002},
	{"close_payload", fromClient, "", "\x88\x81\x00\x00\x00\x00\x03", 1002},
	{"close_payload", fromBackend, "", "\x88\x01\x03", 1002},
	{"close_code", fromClient, "", "\x88\x82\x00\x00\x00\x00\x03\xe7", 1002}, // 999
	{"close_code", fromClient, "", "\x88\x82\x00\x00\x00\x00\x03\xed", 1002}, // 1005
	{"close_code", fromClient, "", "\x88\x82\x00\x00\x00\x00\x03\xee", 1002}, // 1006
	{"close_code", fromClient, "", "\x88\x82\x00\x00\x00\x00\x13\x88", 1002}, // 5000
	{"close_code", fromBackend, "", "\x88\x02\x03\xec", 1002},                // 1004
	{"close_code", fromBackend, "", "\x88\x02\x03\xf7", 1002},                // 1015
	{"close_code", fromBackend, "", "\x88\x02\x0b\xb7", 1002},                // 2999
	{"close_reason", fromClient, "", "\x88\x83\x00\x00\x00\x00\x03\xe8\xff", 1007},
	{"close_reason", fromBackend, "", "\x88\x05\x03\xe8\xed\xa0\x80", 1007}, // a surrogate
	{"frame_too_big", fromClient, "", "\x82\xfe\x03\xe9\x00\x00\x00\x00", 1009},
	{"frame_too_big", fromClient, "", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 1009},
	{"frame_too_big", fromBackend, "", "\x82\x7e\x03\xe9", 1009},
	{"message_too_big", fromClient, "\x02\xfe\x03\xe8\x00\x00\x00\x00" + strings.Repeat("x", 1000), "\x80\xfe\x01\xf5\x00\x00\x00\x00", 1009},
	{"message_too_big", fromBackend, "\x02\x7e\x03\xe8" + strings.Repeat("x", 1000), "\x80\x7e\x01\xf5", 1009},
}

func TestAFaultOfTheProtocolIsToldToBothSidesAndNoOtherSessionNotices(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, on func(string) string) {
		crowded, backend := listenRaw(t), listenRaw(t)
		g := runGateway(t, on(basics+crowdRoute(crowded)+fmt.Sprintf(`
[[route]]
path = "/chat"
pool = "chat"
max_frame = 1000
max_message = 1500
[[pool]]
name = "chat"
backend = [{ address = %q }]
`, backend.Addr())))
		others := openCrowd(t, g, crowded)
		others.wantLive(t)
		for i, fault := range faultyFrames {
			t.Run(fmt.Sprintf("%d %s of a %s", i, fault.rule, fault.from), func(t *testing.T) {
				c, b := open(t, g, backend, "/chat")
				offender, other, otherIsTold := c, b, ws.StatusCode(1001)
				if fault.from == fromBackend {
					offender, other, otherIsTold = b, c, 1012
				}
				name := fmt.Sprintf("sluice_protocol_errors_total{rule=%q,side=%q}", fault.rule, fault.from)
				before := g.count(t, name)

				offender.send(t, offender.frame(ws.OpText, "right")+fault.before+fault.frame+"what is behind it")
				other.wantFrame(t, ws.OpText, "right")
				if fault.before != "" {
					other.nextFrame(t)
				}
				other.wantClose(t, otherIsTold)
				// What the other side still says arrives, up to its close.
				other.send(t, other.frame(ws.OpText, "answer")+other.closeFrame(otherIsTold, ""))
				offender.wantFrame(t, ws.OpText, "answer")
				offender.wantClose(t, fault.code)
				c.wantEnd(t)
				_ = c.Close()
				b.wantGone(t)
				if got := g.count(t, name); got != before+1 {
					t.Errorf("%s is %d after %d, want one more", name, got, before)
				}
				others.wantLive(t)
			})
		}
	})
}
