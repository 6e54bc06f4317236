package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice"
	"sluice/internal/admin"
	"sluice/internal/units"
)

func TestWhatIsShownIsTheSameConfiguration(t *testing.T) {
	example, err := Parse("config.example.toml", sluice.Example)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(least, "[[pool]]", "hosts = [\"a.example\", \"b.example\"]\nquery = { \"odd \\\"name\" = \"\\u0001\", \"\\u0007\\u007f\" = \"$${X}$$$${\" }\n[[listener]]\nname = \"secure\"\naddress = \"127.0.0.1:8443\"\n[listener.tls]\nself_signed = true\n[[pool]]", 1)
	for _, file := range []*File{example, mustParse(t, least), mustParse(t, "log.mask_query = []\nlog.access = \"both\"\n"+text)} {
		shown := Show(file, file)
		again, err := Parse("shown", shown.TOML)
		if err != nil {
			t.Fatalf("%s\n%v", shown.TOML, err)
		}
		all := cmp.Exporter(func(reflect.Type) bool { return true })
		ignored := cmpopts.IgnoreFields(File{}, "Origin", "Warnings", "masked")
		if diff := cmp.Diff(file, again, all, ignored, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("the configuration that is shown (-is +shown):\n%s", diff)
		}
		if err := validate(compiledSchema(t, ""), shown.TOML); err != nil {
			t.Error(err)
		}
	}
}

func TestWhatIsShownIncludesNoFile(t *testing.T) {
	file, problems := loadFiles(t, map[string]string{"sluice.toml": "include = [\"*/a.toml\"]\n" + least, "conf.d/a.toml": poolText("a")})
	if problems != "" {
		t.Fatal(problems)
	}
	shown := Show(file, file)
	again, err := Parse(file.Origin.Files[0], shown.TOML)
	if err != nil {
		t.Fatal(err)
	}
	if len(shown.Files) != 2 || len(again.Pool) != 2 || len(again.Origin.Files) != 1 {
		t.Errorf("shown as read from %q:\n%s", shown.Files, shown.TOML)
	}
}

func TestEveryKeyIsShownInTheOrderOfTheExample(t *testing.T) {
	file, err := Parse("config.example.toml", sluice.Example)
	if err != nil {
		t.Fatal(err)
	}
	keysOf := func(text []byte) (keys []string) {
		positions := newPositions(text)
		for _, e := range positions.expressions {
			if !e.isHeader {
				keys = append(keys, e.key)
			}
		}
		return keys
	}
	if diff := cmp.Diff(keysOf(sluice.Example), keysOf(Show(file, file).TOML)); diff != "" {
		var more []string // keys without a default, which the example has as comments
		for _, key := range keysOf(Show(file, file).TOML) {
			if !example()[headerOf(key)].isOptional {
				more = append(more, key)
			}
		}
		if diff := cmp.Diff(keysOf(sluice.Example), more); diff != "" {
			t.Errorf("keys (-example +shown):\n%s", diff)
		}
	}
}

func TestWhatIsShownHasNoSecret(t *testing.T) {
	t.Setenv("SLUICE_TEST_SECRET", "hunter2hunter2hunter2")
	t.Setenv("SLUICE_TEST_NUMBER", "31415926")
	file := mustParse(t, "gateway.max_sessions = \"${SLUICE_TEST_NUMBER}\"\nlog.mask_query = [\"${SLUICE_TEST_SECRET}\", \"token\"]\n"+
		strings.Replace(least, "[[pool]]", `header = { X-Api-Key = "hunter2", X-Version = "~^2" }
query = { access_token = "hunter2" }
request_header = { Authorization = "Bearer hunter2", "X.Y" = "hunter2" }
response_header = { Set-Cookie = "hunter2", Strict-Transport-Security = "max-age=1", X-From = "${SLUICE_TEST_SECRET}" }
[[pool]]
policy = "sticky"
sticky.secret = "hunter2hunter2hunter2"`, 1))
	shown := Show(file, file)
	text, err := json.Marshal(shown)
	if err != nil {
		t.Fatal(err)
	}
	for _, output := range []string{string(shown.TOML), string(text)} {
		if strings.Contains(output, "hunter") || strings.Contains(output, "3141") {
			t.Errorf("a secret is shown:\n%s", output)
		}
	}
	for _, want := range []string{`max_sessions = "***"`, `mask_query = ["***", "token"]`, `request_header = { Authorization = "***", "X.Y" = "***" }`,
		`response_header = { Set-Cookie = "***", Strict-Transport-Security = "max-age=1", X-From = "***" }`, `secret = "***"`,
		`header = { X-Api-Key = "***", X-Version = "~^2" }`, `query = { access_token = "***" }`} {
		if !strings.Contains(string(shown.TOML), want) {
			t.Errorf("%s is not in\n%s", want, shown.TOML)
		}
	}
}

func TestUsersOfURLsAreNotShown(t *testing.T) {
	file := mustParse(t, strings.Replace(least, "pool = \"echo\"", "redirect = \"https://user:hunter2@example.com/@{path}\"", 1))
	if text := string(Show(file, file).TOML); strings.Contains(text, "hunter2") || !strings.Contains(text, `redirect = "https://***@example.com/@{path}"`) {
		t.Error(text)
	}
	_, err := Parse("test.toml", []byte("tracing.endpoint = \"ht tp://user:hunter2@example.com\"\n"+least))
	if got := fmt.Sprint(err); strings.Contains(got, "hunter2") || !strings.Contains(got, `got "ht tp://***@example.com"`) {
		t.Error(got)
	}
}

// The names of routes are in logs and metrics.
func TestConditionsThatHaveComeFromSubstitutionsAreInNoName(t *testing.T) {
	t.Setenv("SLUICE_TEST_SECRET", "hunter2")
	file := mustParse(t, strings.Replace(least, "pool = \"echo\"", `header = { X-Origin-Verify = "${SLUICE_TEST_SECRET}", X-Version = "2" }
query = { "a b" = "${SLUICE_TEST_SECRET}" }
pool = "echo"`, 1))
	if name := file.Route[0].Title(); name != `/ X-Origin-Verify=… X-Version=2 ?"a b"=…` {
		t.Errorf("name %s", name)
	}
}

func TestKeysThatWaitForARestartAreShownAsTheyRun(t *testing.T) {
	t.Setenv("SLUICE_TEST_WORKERS", "31")
	start := mustParse(t, "gateway.workers = 2\ngateway.drain = \"1s\"\nlog.mask_query = [\"a\"]\n[admin]\naddress = \"${NONE:-127.0.0.1:4444}\"\n"+least)
	inUse, problems := loadFiles(t, map[string]string{"sluice.toml": "gateway.workers = \"${SLUICE_TEST_WORKERS}\"\ngateway.drain = \"2s\"\nadmin.address = \"127.0.0.1:5555\"\n" + least})
	if problems != "" {
		t.Fatal(problems)
	}
	shown := Show(start, inUse)
	want := []admin.WaitingKey{
		{Key: "gateway.workers", Running: int64(2), Configured: "***"},
		{Key: "admin.address", Running: "***", Configured: "127.0.0.1:5555"},
		{Key: "log.mask_query", Running: []any{"a"}},
	}
	if diff := cmp.Diff(want, shown.Waiting); diff != "" {
		t.Errorf("keys that wait (-want +got):\n%s", diff)
	}
	lines := strings.Split(string(shown.TOML), "\n")
	for _, want := range []string{"# read from " + units.QuoteTOML(inUse.Origin.Files[0]), `# waits for a restart: gateway.workers = "***"`, `# waits for a restart: admin.address = "127.0.0.1:5555"`,
		"# waits for a restart: log.mask_query is not set any more", "workers = 2", `drain = "2s"`, `address = "***"`, `mask_query = ["a"]`} {
		if !slices.Contains(lines, want) {
			t.Errorf("%s is not in\n%s", want, shown.TOML)
		}
	}
}
