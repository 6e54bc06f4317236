package driver

import "slices"

// statsChunk is how many sessions a loop reads between two turns: some ten microseconds, cold caches included.
const statsChunk = 128

// StatsOf returns what many sessions have done so far, in the order of their handles; where isLive is false the session is over.
// It asks each loop for a chunk at a time, so that many sessions stall no loop, and waits for the answers. What was asked of the same
// sessions before (CloseBoth) has been done when it returns.
func StatsOf(handles []*Handle) (stats []Stats, isLive []bool) {
	stats, isLive = make([]Stats, len(handles)), make([]bool, len(handles))
	places := map[controller][]int{}
	for i, h := range handles {
		places[h.controller] = append(places[h.controller], i)
	}
	chunk := make([]*Handle, 0, statsChunk)
	for in, all := range places {
		for some := range slices.Chunk(all, statsChunk) {
			chunk = chunk[:0]
			for _, i := range some {
				chunk = append(chunk, handles[i])
			}
			in.statsOf(chunk, func(k int, st Stats) { stats[some[k]], isLive[some[k]] = st, true })
		}
	}
	return stats, isLive
}

// statsOf implements controller.
func (g *goroutineSession) statsOf(handles []*Handle, report func(int, Stats)) {
	for i, h := range handles {
		if st, isLive := g.stats(h); isLive {
			report(i, st)
		}
	}
}
