package gateway

import (
	"cmp"
	"runtime/debug"
)

// A Build is the origin of the program, as far as the toolchain has recorded it.
type Build struct {
	Version   string // of the module; "(devel)" from a checkout
	Revision  string // of the repository; empty: not recorded
	IsChanged bool   // the checkout had changes since the revision
	GoVersion string
}

// String returns the build on one line.
func (b Build) String() string {
	revision := ""
	if b.Revision != "" {
		revision = " revision " + b.Revision
	}
	if b.IsChanged {
		revision += " with changes"
	}
	return b.Version + revision + " " + b.GoVersion
}

// What the linker sets (-X) where the toolchain can't know it, as in an image that is built without the repository. "": it has not.
var version, revision string

// ReadBuild returns the build of the running program.
func ReadBuild() Build {
	b := Build{Version: "unknown", GoVersion: "go unknown"}
	if info, ok := debug.ReadBuildInfo(); ok {
		b = buildOf(info)
	}
	b.Version, b.Revision = cmp.Or(version, b.Version), cmp.Or(revision, b.Revision)
	return b
}

func buildOf(info *debug.BuildInfo) Build {
	b := Build{Version: info.Main.Version, GoVersion: info.GoVersion}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Revision = setting.Value
		case "vcs.modified":
			b.IsChanged = setting.Value == "true"
		}
	}
	return b
}
