// Package systemd connects a service with systemd: it notifies systemd of the service's state (sd_notify(3)), and takes over the sockets
// that systemd has opened for the service (sd_listen_fds(3)). Without systemd all of it does nothing.
//
//	notify.go    READY, RELOADING, STOPPING, WATCHDOG, MAINPID
//	sockets.go   socket activation
package systemd
