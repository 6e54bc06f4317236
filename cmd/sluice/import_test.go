package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/config"
)

const imported = `server {
	listen 127.0.0.1:8080;
	server_name chat.example.com;
	gzip on;
	location /chat {
		proxy_pass http://127.0.0.1:9000;
		proxy_set_header Host $http_host;
	}
}
`

func TestImportPrintsAConfigurationAndWhatItLeavesOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chat.conf")
	if err := os.WriteFile(path, []byte(imported), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := invoke("import", "-from", "nginx", path)
	if code != exitClean || !strings.Contains(stderr, path+":4: gzip on;: ") || strings.Contains(stderr, "the draft") {
		t.Errorf("exit code %d, stderr %q; want 0 and the line of gzip", code, stderr)
	}
	if _, err := config.Parse("imported", []byte(stdout)); err != nil || !strings.Contains(stdout, "# chat.conf:6") {
		t.Errorf("%v: stdout\n%s", err, stdout)
	}
}

func TestImportOfFilesThatNameCertificatesSucceedsWithoutThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chat.conf")
	text := strings.Replace(imported, "8080;", "8443 ssl; ssl_certificate /none/chat.pem; ssl_certificate_key /none/chat.key;", 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := invoke("import", "-from", "nginx", path)
	if code != exitClean || !strings.Contains(stdout, "/none/chat.pem") || !strings.Contains(stderr, "/none/chat.pem") {
		t.Errorf("exit code %d, stdout\n%s\nstderr\n%s\nwant 0, and the certificate in both", code, stdout, stderr)
	}
}

func TestImportFailsWithTheLineOfAFault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "broken.conf")
	if err := os.WriteFile(path, []byte("events {}\nhttp {\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := invoke("import", "-from", "nginx", path); code != exitFailure || stdout != "" || !strings.Contains(stderr, path+":2: ") {
		t.Errorf("exit code %d, stdout %q, stderr %q; want 1, nothing, and line 2", code, stdout, stderr)
	}
}

func TestImportThatIsLessStrictThanTheOriginalIsWrittenAndFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chat.conf")
	text := strings.Replace(imported, "gzip on;", "if ($bad_bot) { return 403; }", 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := invoke("import", "-from", "nginx", path)
	if _, err := config.Parse("imported", []byte(stdout)); err != nil {
		t.Errorf("%v: stdout\n%s", err, stdout)
	}
	if code != exitFailure || !strings.HasPrefix(stderr, "Less strict than the original") || !strings.Contains(stderr, path+":4: if ($bad_bot)") {
		t.Errorf("exit code %d, stderr %q; want 1, and line 4 first", code, stderr)
	}
}
