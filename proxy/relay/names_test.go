package relay

import "testing"

func TestCodesThatMayBeSentAreThoseOfTheRegistry(t *testing.T) {
	for code := range 70_000 {
		want := code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006 || code >= 3000 && code < 5000
		if got := IsCloseCode(code); got != want {
			t.Errorf("IsCloseCode(%d) = %t; want %t", code, got, want)
		}
	}
}

func TestInitiatorsAndRulesHaveNames(t *testing.T) {
	if ByClient.String() != "client" || ByBackend.String() != "backend" || Gateway.String() != "gateway" {
		t.Errorf("initiators are %s, %s, %s", ByClient, ByBackend, Gateway)
	}
	names := map[string]bool{}
	for r := Rule(1); r < NumRules; r++ {
		if names[r.String()] || r.String() == "" {
			t.Errorf("rule %d is named %q", r, r)
		}
		names[r.String()] = true
	}
}

func TestEveryReasonForCloseBothFitsIntoAClose(t *testing.T) {
	for r := Reason(1); r < numReasons; r++ {
		if r.String() == "" || len(r.Text()) > maxControlPayload-2 {
			t.Errorf("reason %d is named %q and tells %q", r, r, r.Text())
		}
	}
}

// The labels that docs/monitoring.md promises; a dashboard or an alert of somebody may be written against each.
func TestReasonsHaveTheirLabels(t *testing.T) {
	labels := map[Reason]string{
		ReasonClose: "closed", ReasonFault: "protocol_error", ReasonLost: "lost", ReasonEOF: "eof", ReasonReset: "reset",
		ReasonPingRefused: "ping_refused", ReasonPongTimeout: "ping_timeout", ReasonWriteTimeout: "write_timeout",
		ReasonFrameTimeout: "frame_timeout", ReasonIdle: "idle", ReasonDrain: "drain", ReasonBackendDrain: "backend_drain",
		ReasonRebalance: "rebalance", ReasonRemoved: "removed", ReasonOperator: "operator", ReasonInternal: "internal_error",
	}
	for r := Reason(1); r < numReasons; r++ {
		if labels[r] == "" || r.Label() != labels[r] {
			t.Errorf("reason %q has the label %q; want %q", r, r.Label(), labels[r])
		}
	}
}
