// Package systemd is what a service owes systemd: it tells its state (sd_notify(3)), and takes the sockets that were opened for it
// (sd_listen_fds(3)). Outside of systemd none of it does anything.
//
//	notify.go    READY, RELOADING, STOPPING, WATCHDOG
//	sockets.go   socket activation
package systemd
