package gateway

import "runtime/debug"

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

// ReadBuild returns the build of the running program.
func ReadBuild() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Build{Version: "unknown", GoVersion: "go unknown"}
	}
	return buildOf(info)
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
