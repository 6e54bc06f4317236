package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// writeUsers writes a users file with one user.
func writeUsers(t *testing.T, path, name, password string) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", fmt.Appendf(nil, "%s:%s\n", name, hash), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// statusFor returns the status of a plain request with these credentials.
func statusFor(t *testing.T, g *Gateway, name, password string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+g.Addr("public").String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(name, password)
	r.Close = true
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func TestUsersFollowTheirFileAndTheConfiguration(t *testing.T) {
	directory := t.TempDir()
	users, path := filepath.Join(directory, "users"), filepath.Join(directory, "sluice.toml")
	writeUsers(t, users, "alice", "first")
	backend := startEcho(t)
	write := func(auth string) {
		t.Helper()
		writeConfigOf(t, path, "", backend)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if auth != "" {
			text = append(bytes.Replace(text, []byte("[[route]]"), []byte("[[route]]\nauth = \"staff\""), 1), auth...)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	section := fmt.Sprintf("[[auth]]\nname = \"staff\"\nkind = \"basic\"\nusers_file = %q\n", users)
	write(section)
	log := new(lockedBuffer)
	g := newGatewayOf(t, path, log)
	g.runInTest(t)
	if status := statusFor(t, g, "alice", "second"); status != http.StatusUnauthorized {
		t.Errorf("a wrong password: status %d; want 401", status)
	}
	refused := http.StatusUnauthorized
	if status := statusFor(t, g, "alice", "first"); status == refused {
		t.Error("the right password is refused")
	}
	writeUsers(t, users, "alice", "second")
	eventually(t, "the new password", func() bool { return statusFor(t, g, "alice", "second") != refused })
	if status := statusFor(t, g, "alice", "first"); status != refused {
		t.Errorf("the old password: status %d; want 401", status)
	}

	before := g.security.inUse.Load().authenticators["staff"]
	write(section)
	if _, err := g.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	if g.security.inUse.Load().authenticators["staff"] != before {
		t.Error("a reload without changes makes another authenticator")
	}
	write("")
	if _, err := g.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	if status := statusFor(t, g, "alice", "first"); status == refused {
		t.Error("a route without auth refuses")
	}
	select {
	case <-before.ended:
	default:
		t.Error("the authenticator of the section that is gone still runs")
	}
}
