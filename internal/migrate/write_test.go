package migrate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"sluice/internal/units"
)

func TestADraftIsWrittenWithThePlacesOfItsKeys(t *testing.T) {
	at := func(line int) Place { return Place{"/etc/nginx/nginx.conf", line} }
	route := &Section{From: at(7), Notes: []string{"a remark"}}
	route.Set("path", "/old", at(7))
	route.Set("pool", "chat", at(8))
	route.SetNote("path", "/chat", at(9), "a prefix")
	route.Set(Dotted("request_header", "X-Team"), "chat", at(10))
	route.Keys = append(route.Keys, Key{Name: "allow", Value: []string{"::1"}, From: at(13), Also: []Place{at(14), {"/etc/nginx/x", 1}}, Note: "both"})
	pool := &Section{From: at(1)}
	pool.Set("name", "chat", at(1))
	pool.Set("backend", []any{
		Inline{{Name: "address", Value: "10.0.0.1:9000", From: at(2)}, {Name: "weight", Value: 3}},
		Inline{{Name: "address", Value: "10.0.0.2:9000", From: at(3)}},
	}, at(1))
	draft := &Draft{Origin: "nginx: /etc/nginx/nginx.conf", Directory: "/etc/nginx", Routes: []*Section{route}, Pools: []*Section{pool}}
	draft.Skip(nil, at(4), "gzip on;", "bodies pass as they are")
	draft.Skip(route, at(11), "root\n /var/www;", "Sluice serves no files")
	draft.Skip(nil, at(5), "gzip_vary on;", "bodies pass as they are")
	draft.Skip(&Section{}, at(12), "internal;", "its section isn't written")

	var got strings.Builder
	if err := draft.WriteTOML(&got); err != nil {
		t.Fatal(err)
	}
	want := `# Imported from nginx: /etc/nginx/nginx.conf
# A comment behind a key is the line that it comes from. ` + "`sluice check`" + ` checks the whole.

# Not carried over:
# - bodies pass as they are
#     nginx.conf:4: gzip on;
#     nginx.conf:5: gzip_vary on;
# - its section isn't written
#     nginx.conf:12: internal;

# a remark
[[route]]                       # nginx.conf:7
path = "/chat"                  # nginx.conf:9: a prefix
pool = "chat"                   # nginx.conf:8
request_header.X-Team = "chat"  # nginx.conf:10
allow = ["::1"]                 # nginx.conf:13, 14, x:1: both
# Not carried over:
# - Sluice serves no files
#     nginx.conf:11: root /var/www;

[[pool]]                                      # nginx.conf:1
name = "chat"                                 # nginx.conf:1
backend = [                                   # nginx.conf:1
  { address = "10.0.0.1:9000", weight = 3 },  # nginx.conf:2
  { address = "10.0.0.2:9000" },              # nginx.conf:3
]
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("WriteTOML (-want +got):\n%s", diff)
	}

	got.Reset()
	if err := draft.WriteSkipped(&got); err != nil {
		t.Fatal(err)
	}
	want = "/etc/nginx/nginx.conf:4: gzip on;: bodies pass as they are\n/etc/nginx/nginx.conf:11: root /var/www;: Sluice serves no files\n/etc/nginx/nginx.conf:5: gzip_vary on;: bodies pass as they are\n/etc/nginx/nginx.conf:12: internal;: its section isn't written\n"
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("WriteSkipped (-want +got):\n%s", diff)
	}
	if route.Get("pool") != "chat" || route.Get("host") != nil {
		t.Errorf("Get = %v, %v; want chat, nil", route.Get("pool"), route.Get("host"))
	}
}

func TestEachValueIsReadBackAsItWas(t *testing.T) {
	for _, test := range []struct {
		value any
		text  string
		want  any
	}{
		{true, `true`, true},
		{-3, `-3`, int64(-3)},
		{1.25, `1.25`, 1.25},
		{2.0, `2.0`, 2.0},
		{`^/a\.b$`, `'^/a\.b$'`, `^/a\.b$`},
		{`it's \ "so"`, `"it's \\ \"so\""`, `it's \ "so"`},
		{"a\x00\x7f\n\tü", `"a\u0000\u007F\n\tü"`, "a\x00\x7f\n\tü"},
		{"\xff", "\"\uFFFD\"", "\uFFFD"},
		{"/${1}", `"/$${1}"`, "/$${1}"},
		{Template("${HOST}:1"), `"${HOST}:1"`, "${HOST}:1"},
		{[]string{"a", "b"}, `["a", "b"]`, []any{"a", "b"}},
		{[]string{}, `[]`, []any{}},
		{[]any{1, "b"}, `[1, "b"]`, []any{int64(1), "b"}},
		{map[string]any{"b c": 2, "a": 1}, `{ a = 1, "b c" = 2 }`, map[string]any{"a": int64(1), "b c": int64(2)}},
		{Inline{}, `{}`, map[string]any{}},
		{Inline{{Name: "z", Value: 1}, {Name: "a", Value: "x"}}, `{ z = 1, a = "x" }`, map[string]any{"z": int64(1), "a": "x"}},
	} {
		section := &Section{}
		section.Set("key", test.value, Place{})
		var text strings.Builder
		if err := (&Draft{Routes: []*Section{section}}).WriteTOML(&text); err != nil {
			t.Errorf("%#v: %v", test.value, err)
		}
		if want := "\nkey = " + test.text + "\n"; !strings.Contains(text.String(), want) {
			t.Errorf("%#v is written in\n%s\nwant %s", test.value, text.String(), want)
		}
		var read struct {
			Route []map[string]any `toml:"route"`
		}
		if err := toml.Unmarshal([]byte(text.String()), &read); err != nil {
			t.Fatalf("%s: %v", text.String(), err)
		}
		if diff := cmp.Diff(test.want, read.Route[0]["key"]); diff != "" {
			t.Errorf("%#v is read back as (-want +got):\n%s", test.value, diff)
		}
	}
	section := &Section{}
	section.Set("key", struct{}{}, Place{})
	if err := (&Draft{Pools: []*Section{section}}).WriteTOML(&strings.Builder{}); err == nil || !strings.Contains(err.Error(), "key key") {
		t.Errorf("a value of another type: %v, want an error that names the key", err)
	}
}

// What a terminal may obey instead of showing it stays out of what an import prints, whatever the imported file has.
func TestAnImportPrintsNothingThatATerminalObeys(t *testing.T) {
	const evil = "a\x1b[2J\u009b31m\u202eb"
	from := Place{File: "nginx.conf", Line: 1}
	d := &Draft{}
	route := &Section{From: from}
	route.SetNote("path", `/\d`+evil, from, evil)
	d.Routes = append(d.Routes, route)
	d.Skip(route, from, evil, evil)
	d.SkipRefusal(from, evil, evil)
	var toml, skipped strings.Builder
	if err := d.WriteTOML(&toml); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteSkipped(&skipped); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{toml.String(), skipped.String()} {
		if i := strings.IndexFunc(text, func(c rune) bool { return c != '\n' && units.IsUnsafe(c) }); i >= 0 || !strings.Contains(text, "31m") {
			t.Errorf("at %d: %q", i, text)
		}
	}
}
