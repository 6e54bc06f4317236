package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const diffBase = `
[gateway]
drain = "1s"
[log]
level = "info"
[[listener]]
name = "a"
address = "127.0.0.1:1001"
[[listener]]
name = "b"
address = "127.0.0.1:1002"
[[route]]
pool = "p"
[[route]]
host = "Example.com"
path = "/chat/"
pool = "p"
[[pool]]
name = "p"
backend = [{ address = "127.0.0.1:1" }]
[[pool]]
name = "q"
backend = [{ address = "127.0.0.1:2" }]
`

func TestDiffTellsWhatChanges(t *testing.T) {
	tests := []struct {
		name, from, to string // a replacement in diffBase
		want           Diff
	}{
		{"nothing", "", "", Diff{}},
		{"comments and order of keys", "[[pool]]\nname = \"q\"", "# q\n[[pool]]\n\n name = 'q'", Diff{}},
		{"a host's case and a path's last slash", "host = \"Example.com\"\npath = \"/chat/\"", "host = \"example.com\"\npath = \"/chat\"",
			Diff{Routes: Names{Changed: []string{"* example.com/chat"}}}},
		{"address of a listener", "127.0.0.1:1002", "127.0.0.1:1003", Diff{Listeners: Names{Changed: []string{"b"}}}},
		{"name of a listener", `name = "b"`, `name = "c"`, Diff{Listeners: Names{Added: []string{"c"}, Removed: []string{"b"}}}},
		{"timer of a route", `path = "/chat/"`, "path = \"/chat/\"\nping_interval = \"1s\"", Diff{Routes: Names{Changed: []string{"* example.com/chat"}}}},
		{"path of a route", `path = "/chat/"`, `path = "/talk"`,
			Diff{Routes: Names{Added: []string{"* example.com/talk"}, Removed: []string{"* example.com/chat"}}}},
		{"a condition of a route", `path = "/chat/"`, "path = \"/chat/\"\nmethod = [\"GET\"]",
			Diff{Routes: Names{Added: []string{"* example.com/chat GET"}, Removed: []string{"* example.com/chat"}}}},
		{"name of a route", `path = "/chat/"`, "path = \"/chat/\"\nname = \"chat\"", Diff{Routes: Names{Changed: []string{"* chat"}}}},
		{"a member of a pool", `"127.0.0.1:2"`, `"127.0.0.1:3"`, Diff{Pools: Names{Changed: []string{"q"}}}},
		{"a pool more", "[[pool]]\nname = \"q\"", "[[pool]]\nname = \"r\"\nbackend = [{ address = \"127.0.0.1:4\" }]\n[[pool]]\nname = \"q\"",
			Diff{Pools: Names{Added: []string{"r"}}}},
		{"what a reload makes effective", "drain = \"1s\"\n[log]\nlevel = \"info\"", "drain = \"2s\"\nwatch = true\non_removed = \"drain\"\n[log]\nlevel = \"warn\"",
			Diff{Keys: []string{"gateway.drain", "gateway.watch", "gateway.on_removed", "log.level"}}},
		{"what waits for a restart", "[log]\n", "workers = 3\n[admin]\naddress = \"\"\n[log]\nformat = \"console\"\n",
			Diff{Waiting: []string{"gateway.workers", "admin.address", "log.format"}}},
	}
	for _, test := range tests {
		before, err := Parse("before", []byte(diffBase))
		if err != nil {
			t.Fatal(err)
		}
		after, err := Parse("after", []byte(strings.Replace(diffBase, test.from, test.to, 1)))
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		got := Compare(before, after)
		if d := cmp.Diff(&test.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, d)
		}
		if got.IsEmpty() != cmp.Equal(test.want, Diff{}) {
			t.Errorf("%s: IsEmpty() = %v", test.name, got.IsEmpty())
		}
	}
}
