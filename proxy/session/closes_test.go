package session

import (
	"testing"

	"sluice/proxy/relay"
)

// A client may send any of 2,000 codes.
func TestRareCodesAreCountedTogether(t *testing.T) {
	r := NewRegistry(Config{})
	count := func(v relay.Verdict) { r.closes.counts[r.closes.kindOf(v)]++ }
	for code := uint16(3000); code < 5000; code++ {
		count(relay.Verdict{Initiator: relay.ByClient, Code: code, Reason: relay.ReasonClose})
	}
	for range 3 {
		count(relay.Verdict{Initiator: relay.ByClient, Code: 3001, Reason: relay.ReasonClose})
		count(relay.Verdict{Initiator: relay.ByClient, Code: 4999, Reason: relay.ReasonClose})
		count(relay.Verdict{Initiator: relay.ByClient, Code: 1001, Reason: relay.ReasonClose})
		count(relay.Verdict{Initiator: relay.ByClient, Code: 1001, Reason: relay.ReasonLost})
		count(relay.Verdict{Initiator: relay.ByBackend, Code: 4999, Reason: relay.ReasonClose})
		count(relay.Verdict{Initiator: relay.ByClient, Reason: relay.ReasonClose})
	}
	got := map[CloseCount]uint64{}
	for _, c := range r.CloseCounts() {
		n := c.Count
		c.Count, c.Label = 0, ""
		got[c] = n
	}
	client, backend := viewInitiator(relay.ByClient), viewInitiator(relay.ByBackend)
	for want, n := range map[CloseCount]uint64{
		{InitiatorView: client, Reason: "close", Code: 3000}:     1,
		{InitiatorView: client, Reason: "close", Code: 3001}:     4,
		{InitiatorView: client, Reason: "close", Code: RareCode}: 2000 - maxOwnCodes + 3,
		{InitiatorView: backend, Reason: "close", Code: 4999}:    3,
		{InitiatorView: client, Reason: "close", Code: 1001}:     3,
		{InitiatorView: client, Reason: "lost", Code: 1001}:      3,
		{InitiatorView: client, Reason: "close", Code: 1005}:     3,
	} {
		if got[want] != n {
			t.Errorf("%+v: %d; want %d", want, got[want], n)
		}
	}
	if want := maxOwnCodes + 5; len(got) != want {
		t.Errorf("%d series; want %d", len(got), want)
	}
}
