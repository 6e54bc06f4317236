// Package session keeps the live sessions of a gateway, from the moment when the driver gets their connections until their end:
//
//	session.go   a session, and what happens at its end
//	registry.go  the set of all live sessions
//	query.go     the sessions that an operator chooses: pages, closes
//	view.go      a session as an operator sees it
//	spread.go    closing many without a crowd of clients that come back at once
//	closes.go    how sessions ended
//	handover.go  a session for another process, which goes on with it
//
// It knows no listener and no HTTP. What the gateway does at a session's end is given to it once, as functions of Config and Source.
package session
