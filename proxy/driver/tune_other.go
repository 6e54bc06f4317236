//go:build !linux

package driver

// Tune does nothing: the driver of this system leaves sockets as package net makes them.
func Tune(any) {}
