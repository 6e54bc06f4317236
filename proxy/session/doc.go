// Package session keeps the live sessions of a gateway, from the moment when the driver gets their connections until their end:
//
//	session.go   a session, and what happens at its end
//	registry.go  the set of all live sessions
//	query.go     the sessions that an operator selects: pages, closes
//	view.go      a session as an operator sees it
//	spread.go    closing many sessions, spread over time so that their clients do not reconnect at once
//	closes.go    the last sessions that ended
//	handover.go  a session that another process continues
//
// It knows no listener and no HTTP. Functions of Config and Source say what the gateway does at a session's end.
package session
