package gateway

import (
	"runtime/debug"
	"testing"
)

func TestBuildTellsItsRevision(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v1.2.3"}}
	if got, want := buildOf(info).String(), "v1.2.3 go1.26"; got != want {
		t.Errorf("build without a revision = %q, want %q", got, want)
	}
	info.Settings = []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abcd"}, {Key: "vcs.modified", Value: "true"}}
	if got, want := buildOf(info).String(), "v1.2.3 revision 0123abcd with changes go1.26"; got != want {
		t.Errorf("build with a revision = %q, want %q", got, want)
	}
}
