package driver

import (
	"testing"
	"time"

	"sluice/proxy/relay"
)

func TestADelayedSessionMovesWithAllThatItHasRead(t *testing.T) {
	eachMovable(t, func(t *testing.T, k *kind) {
		a, b := twoDrivers(t, nil)
		x := join(t, a, k, setup{config: relay.Config{MessageRate: relay.Rate{PerSecond: 1, Burst: 1}}})
		x.client.write(numbered(x.client, 0, 5))
		x.backend.want("the first one", numbered(x.client, 0, 1))
		eventually(t, "the others wait", func() bool { return a.QueuedBytes() > 0 })
		st := x.move(t, b)
		x.backend.want("the others, at once", numbered(x.client, 1, 4))
		if at := time.Duration(st.Relay.Allowance.Messages); at < time.Duration(b.loops().clock.now())+3*time.Second {
			t.Errorf("the rate is used until %v; want 3 s from now and more", at)
		}
		x.client.close()
		x.backend.close()
		x.wantResult(t)
	})
}

func TestWhatAnHTTP2ClientSentBeforeItResetsItsStreamArrives(t *testing.T) {
	for _, k := range kinds {
		if k.name != "loop over HTTP/2 of clients" {
			continue
		}
		x := begin(t, k, setup{config: relay.Config{MessageRate: relay.Rate{PerSecond: 1, Burst: 1}}})
		x.client.write(numbered(x.client, 0, 20))
		x.backend.want("the first one", numbered(x.client, 0, 1))
		eventually(t, "the others wait", func() bool { return x.driver.QueuedBytes() > 0 })
		x.client.reset()
		x.backend.want("the others", numbered(x.client, 1, 19))
		x.backend.wantClose("that the client is lost", 1001, "client lost")
		x.backend.write(x.backend.closing(1001, ""))
		x.backend.close()
		x.wantVerdict(t, relay.ByClient, 1001, relay.ReasonReset)
		return
	}
	t.Fatal("there is no such kind")
}
