//go:build unix

package sluice_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

// What makes the gateway's token, and who reads it, have to mean the same file; and Prometheus and Grafana find what they are given.
func TestComposeIsWatched(t *testing.T) {
	c := readCompose(t)
	var file struct {
		Admin struct {
			Address   string
			TokenFile string `toml:"token_file"`
		}
	}
	if err := toml.Unmarshal([]byte(read(t, "deploy/compose.toml")), &file); err != nil {
		t.Fatal(err)
	}
	directory := filepath.Dir(file.Admin.TokenFile)
	for service, volume := range map[string]string{
		"token":      "token:" + directory,
		"gateway":    "token:" + directory + ":ro",
		"prometheus": "token:" + directory + ":ro",
	} {
		if !slices.Contains(c.Services[service].Volumes, volume) {
			t.Errorf("%s has the volumes %q, want %q among them", service, c.Services[service].Volumes, volume)
		}
	}
	for _, service := range []string{"gateway", "prometheus"} {
		if c.Services[service].DependsOn["token"].Condition != "service_completed_successfully" {
			t.Errorf("%s doesn't wait for the token", service)
		}
	}

	var prometheus struct {
		ScrapeConfigs []struct {
			Authorization struct {
				CredentialsFile string `yaml:"credentials_file"`
			}
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy/prometheus/prometheus.yml")), &prometheus); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(file.Admin.Address)
	scrape := prometheus.ScrapeConfigs[0]
	if err != nil || scrape.Authorization.CredentialsFile != file.Admin.TokenFile || !slices.Equal(scrape.StaticConfigs[0].Targets, []string{"gateway:" + port}) {
		t.Errorf("Prometheus scrapes by %+v, and the admin listener is %+v", scrape, file.Admin)
	}

	var grafana struct {
		Providers   []struct{ Options struct{ Path string } }
		Datasources []struct{ URL string }
	}
	for _, path := range []string{"deploy/grafana/dashboards.yml", "deploy/grafana/datasources.yml"} {
		if err := yaml.Unmarshal([]byte(read(t, path)), &grafana); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(c.Services["prometheus"].Ports, []string{"127.0.0.1:9090:9090"}) || grafana.Datasources[0].URL != "http://prometheus:9090" {
		t.Errorf("Grafana asks %q", grafana.Datasources[0].URL)
	}
	if want := "./deploy/grafana/sluice.json:" + grafana.Providers[0].Options.Path + "/sluice.json:ro"; !slices.Contains(c.Services["grafana"].Volumes, want) {
		t.Errorf("Grafana has the volumes %q, want %q among them", c.Services["grafana"].Volumes, want)
	}
	for name, service := range c.Services {
		for _, volume := range service.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, err := os.Stat(source); err != nil && source != "token" {
				t.Errorf("%s: %v", name, err)
			}
		}
	}

	// The gateway takes its configuration with a token that was made so.
	made := t.TempDir()
	makeToken(t, c, made)
	path := filepath.Join(made, "sluice.toml")
	if err := os.WriteFile(path, []byte(strings.Replace(read(t, "deploy/compose.toml"), directory, made, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(buildStatic(t), "check", "-config", path).CombinedOutput(); err != nil {
		t.Errorf("sluice check: %v\n%s", err, out)
	}
	token := filepath.Join(made, "token")
	first := read(t, token)
	makeToken(t, c, made)
	if again := read(t, token); again != first || len(first) < 44 {
		t.Errorf("the token %q became %q: a restart must keep it", first, again)
	}
	if info, err := os.Stat(token); err != nil || info.Mode().Perm()&0o004 == 0 {
		t.Errorf("the token's mode is %v, %v: the gateway is another user", info.Mode(), err)
	}
}

// makeToken does what the service token does, in a directory.
func makeToken(t *testing.T, c composeFile, directory string) {
	t.Helper()
	s := c.Services["token"]
	script := strings.ReplaceAll(s.Command[0], "/run/sluice/", directory+"/")
	if !slices.Equal(s.Entrypoint, []string{"/bin/sh", "-c"}) || len(s.Command) != 1 || script == s.Command[0] {
		t.Fatalf("the token is made by %q %q", s.Entrypoint, s.Command)
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(s.Entrypoint[0], s.Entrypoint[1], script).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", script, err, out)
	}
}
