package proxy

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"sluice/internal/units"
)

// A UnixAccess says who may connect to a Unix socket that the gateway opens: on Linux, who may write to its file. What is empty is as the
// process makes it, by its user and its umask.
type UnixAccess struct {
	// Mode is the mode of the file in octal digits, such as "0660".
	Mode string `toml:"mode" default:""`
	// Owner and Group are names or numbers.
	Owner string `toml:"owner" default:""`
	Group string `toml:"group" default:""`
}

// check reports every problem of the access to a listener at an address.
func (a *UnixAccess) check(report units.Report, address string) {
	if !strings.HasPrefix(address, "unix:") {
		for _, k := range []struct{ key, value string }{{"mode", a.Mode}, {"owner", a.Owner}, {"group", a.Group}} {
			if k.value != "" {
				report(k.key, "the address is no Unix socket", k.value, `"", or an address such as "unix:/run/sluice/public.sock"`)
			}
		}
		return
	}
	if _, err := a.mode(); err != nil {
		report("mode", err.Error(), a.Mode, `such as "0660", or ""`)
	}
	if _, err := idOf(a.Owner, userID); err != nil {
		report("owner", err.Error(), a.Owner, `a user's name or number, or ""`)
	}
	if _, err := idOf(a.Group, groupID); err != nil {
		report("group", err.Error(), a.Group, `a group's name or number, or ""`)
	}
}

// accessOf returns the access to the file of a Unix socket that the process has just made.
func accessOf(path string) (made UnixAccess) {
	if info, err := os.Stat(path); err == nil {
		made.Mode = fmt.Sprintf("%04o", info.Mode().Perm())
	}
	if uid, gid := os.Geteuid(), os.Getegid(); uid >= 0 && gid >= 0 { // Windows has none
		made.Owner, made.Group = strconv.Itoa(uid), strconv.Itoa(gid)
	}
	return made
}

// over returns the access that replaces the one before: what is no longer said becomes as the process made it.
func (a UnixAccess) over(before, made UnixAccess) UnixAccess {
	for _, k := range []struct {
		now       *string
		was, made string
	}{{&a.Mode, before.Mode, made.Mode}, {&a.Owner, before.Owner, made.Owner}, {&a.Group, before.Group, made.Group}} {
		if *k.now == "" && k.was != "" {
			*k.now = k.made
		}
	}
	return a
}

// apply gives the file of a Unix socket the owner, the group and the mode.
func (a *UnixAccess) apply(path string) error {
	uid, errUser := idOf(a.Owner, userID)
	gid, errGroup := idOf(a.Group, groupID)
	mode, errMode := a.mode()
	if err := errors.Join(errUser, errGroup, errMode); err != nil {
		return err
	}
	if a.Owner != "" || a.Group != "" {
		if err := os.Lchown(path, uid, gid); err != nil {
			return err
		}
	}
	if a.Mode != "" {
		return os.Chmod(path, mode)
	}
	return nil
}

func (a *UnixAccess) mode() (os.FileMode, error) {
	if a.Mode == "" {
		return 0, nil
	}
	mode, err := strconv.ParseUint(a.Mode, 8, 32)
	if err != nil || len(a.Mode) < 3 || mode > 0o777 {
		return 0, errors.New("not a mode of three or four octal digits")
	}
	return os.FileMode(mode), nil
}

// idOf returns the number of a user or group; of an empty text -1, which os.Lchown leaves as it is.
func idOf(text string, byName func(name string) (id string, err error)) (int, error) {
	if text == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return int(n), nil
	}
	id, err := byName(text)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(id)
	if err != nil {
		return 0, fmt.Errorf("%s has no number on this system", text)
	}
	return n, nil
}

func userID(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", errors.New("no such user")
	}
	return u.Uid, nil
}

func groupID(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", errors.New("no such group")
	}
	return g.Gid, nil
}
