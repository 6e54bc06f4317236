//go:build !race

package route

import "testing"

// With the race detector sync.Pool drops things at random, and package regexp allocates anew.

func TestFindingAmongRoutesOfAllKindsDoesNotAllocate(t *testing.T) {
	table, all := tableOf(append(manyRoutes(100), Config{Priority: -1, PathRegexp: "^/files/[a-z]+", Query: map[string]string{"my room": "a b"}, Header: map[string]string{"Upgrade": "~(?i)websocket"}}))
	for target, want := range map[string]*Route{"/api/v1/last/x?room=7": all[99], "/files/x?my+room=a%20b": all[100]} {
		req := parsed(t, "GET", target, lastRequest...)
		if got := table.Find("public", req, req.Path()); got != want {
			t.Fatalf("%s goes to %v", target, name(got))
		}
		if n := testing.AllocsPerRun(100, func() { table.Find("public", req, req.Path()) }); n != 0 {
			t.Errorf("%s: %v allocations", target, n)
		}
	}
}
