// Package gateway makes a running gateway from a configuration: it opens logs, certificates, listeners, traces and the admin
// listener, connects them, and applies a new configuration to them while sessions live.
//
// It knows no commands, no flags and no signals. A program reads a configuration, passes it to New, and calls Run, which drains and
// returns when its context ends. Reload may be called meanwhile.
//
// The path through it: New binds every socket and accepts nothing. Run accepts, watches files, notifies systemd, and in the end drains
// and closes everything in the reverse order. Reload reads the configuration, prepares everything that may fail, and only then changes
// anything.
//
// Packages config, admin, dashboard and tracing are in internal/ and not below this package, because the commands of a program also use the
// types of a configuration and of the admin API.
package gateway
