package deploy

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds each wait for something that is expected at once. The machine may be busy.
const patience = 20 * time.Second

// The gateway runs as in a pod, its admin listener beyond loopback: its probes bring no token and name the pod's address.
func TestTheConfigurationServesItsProbes(t *testing.T) {
	c := readManifests(t)
	text, config := readConfiguration(t, c)
	directory := t.TempDir()
	const secret = "0123456789abcdef0123456789abcdef"
	token, path, sluice := filepath.Join(directory, "token"), filepath.Join(directory, "sluice.toml"), filepath.Join(directory, "sluice")
	for _, change := range [][2]string{
		{config.Admin.TokenFile, token}, {config.Admin.Address, "0.0.0.0:0"}, {config.Listener[0].Address, "127.0.0.1:0"},
	} {
		if strings.Count(text, `"`+change[0]+`"`) != 1 {
			t.Fatalf("%s isn't there once", change[0])
		}
		text = strings.Replace(text, `"`+change[0]+`"`, `"`+change[1]+`"`, 1)
	}
	for file, content := range map[string]string{token: secret + "\n", path: text} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", sluice, "./cmd/sluice")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if out, err := exec.Command(sluice, "check", "-config", path).CombinedOutput(); err != nil {
		t.Fatalf("sluice check: %v\n%s", err, out)
	}

	gateway := exec.Command(sluice, "run", "-config", path)
	log, err := gateway.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	// It is killed where it doesn't listen in time: then its log ends.
	late := time.AfterFunc(patience, func() { _ = gateway.Process.Kill() })
	t.Cleanup(func() {
		late.Stop()
		_ = gateway.Process.Kill()
		_ = gateway.Wait()
	})
	port := ""
	for scanner := bufio.NewScanner(log); port == "" && scanner.Scan(); {
		var line struct{ Message, Address string }
		if json.Unmarshal(scanner.Bytes(), &line) == nil && line.Message == "admin listening" {
			_, port, _ = net.SplitHostPort(line.Address)
		}
	}
	if port == "" {
		t.Fatal("the gateway doesn't listen")
	}
	container := c.deployments["sluice"].Spec.Template.Spec.Containers[0]
	for _, ask := range []struct {
		path, token string
		want        int
	}{
		{container.LivenessProbe.HTTPGet.Path, "", 200}, {container.ReadinessProbe.HTTPGet.Path, "", 200}, {container.StartupProbe.HTTPGet.Path, "", 200},
		{"/metrics", "", 401}, {"/metrics", secret, 200},
	} {
		request, err := http.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1:"+port+ask.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "10.1.2.3:9901"
		if ask.token != "" {
			request.Header.Set("Authorization", "Bearer "+ask.token)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != ask.want {
			t.Errorf("GET %s with the token %q: %d, want %d", ask.path, ask.token, answer.StatusCode, ask.want)
		}
	}
}
