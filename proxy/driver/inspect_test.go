package driver

import (
	"context"
	"testing"
)

func TestStatsOfManySessionsAreEachTheirOwn(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		d := openTested(t, k)
		var handles []*Handle
		var last *exchange
		const count = statsChunk + 3
		for i := range count {
			x := join(t, d, k, setup{})
			for range i % 3 {
				x.client.write(x.client.text("hello"))
				x.backend.want("data", x.client.text("hello"))
			}
			handles = append(handles, x.handle)
			last = x
		}
		last.client.reset()
		last.backend.close()
		last.wantResult(t)
		stats, isLive := StatsOf(handles)
		for i := range count {
			want := uint64(i % 3)
			if i == count-1 {
				if isLive[i] {
					t.Error("the session that is over lives")
				}
				continue
			}
			if got := stats[i].Counts[0].Messages; !isLive[i] || got != want {
				t.Errorf("session %d: %d messages, live %v; want %d, true", i, got, isLive[i], want)
			}
		}
		if err := d.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if _, isLive := StatsOf(handles); isLive[0] {
			t.Error("a session lives after Close")
		}
	})
}
