//go:build !linux

package proxy

import "sluice/balancer"

// backendConns would be the HTTP/2 connections to backends, which need event loops.
type backendConns struct{ proxy *Proxy }

func (*backendConns) goAway(*balancer.Pool) {}
