//go:build unix

package proxy

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Faults C17.
func TestAUnixSocketHasTheModeOwnerAndGroupOfItsSection(t *testing.T) {
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 65534, 65533 // only root may give a file away
	}
	path := filepath.Join(t.TempDir(), "s")
	for _, test := range []struct {
		access UnixAccess
		mode   os.FileMode
	}{
		{UnixAccess{Mode: "0660", Owner: fmt.Sprint(uid), Group: fmt.Sprint(gid)}, 0o660},
		{UnixAccess{Mode: "600", Group: fmt.Sprint(gid)}, 0o600},
		{UnixAccess{Mode: "0777"}, 0o777},
	} {
		s, err := new(Proxy).open(&ListenerConfig{Name: "public", Address: "unix:" + path, UnixAccess: test.access})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != test.mode {
			t.Errorf("%+v: mode %04o, want %04o", test.access, info.Mode().Perm(), test.mode)
		}
		owner := info.Sys().(*syscall.Stat_t)
		if test.access.Owner != "" && int(owner.Uid) != uid || test.access.Group != "" && int(owner.Gid) != gid {
			t.Errorf("%+v: owner %d, group %d, want %d, %d", test.access, owner.Uid, owner.Gid, uid, gid)
		}
		s.close()
	}
}

// A key that a reload removes leaves nothing behind.
// Faults C17.
func TestAUnixSocketIsAgainAsTheProcessMadeIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	config := &ListenerConfig{Name: "public", Address: "unix:" + path}
	stat := func() (os.FileMode, uint32, uint32) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		owner := info.Sys().(*syscall.Stat_t)
		return info.Mode().Perm(), owner.Uid, owner.Gid
	}
	s, err := new(Proxy).open(config)
	if err != nil {
		t.Fatal(err)
	}
	mode, uid, gid := stat()
	s.close()

	config.UnixAccess = UnixAccess{Mode: "0666"}
	if os.Getuid() == 0 { // only root may give a file away
		config.Owner, config.Group = "65534", "65533"
	}
	if s, err = new(Proxy).open(config); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	before := config.UnixAccess
	config.UnixAccess = UnixAccess{}
	if err := s.restrict(config, before); err != nil {
		t.Fatal(err)
	}
	if m, u, g := stat(); m != mode || u != uid || g != gid {
		t.Errorf("mode %04o, owner %d, group %d; want %04o, %d, %d as the process makes it", m, u, g, mode, uid, gid)
	}
}

// Faults C17.
func TestAUnixSocketThatCannotBeGivenAwayIsNotOpened(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may give any file away")
	}
	path := filepath.Join(t.TempDir(), "s")
	if s, err := new(Proxy).open(&ListenerConfig{Name: "public", Address: "unix:" + path, UnixAccess: UnixAccess{Owner: "0"}}); err == nil {
		s.close()
		t.Error("the socket is open, and belongs to another user than its section says")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file of the socket is left")
	}
}
