// Package systemd is the part of a service that talks to systemd: it reports the service's state (sd_notify(3)), and takes over the
// sockets that systemd opened for it (sd_listen_fds(3)). Without systemd it does nothing. It does not start or configure units.
//
//	notify.go    READY, RELOADING, STOPPING, WATCHDOG
//	sockets.go   socket activation
package systemd
