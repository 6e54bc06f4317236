// Package auth finds out who sends a request: an Authenticator is an [[auth]] section, ready to judge what requests show.
//
//	config.go         the section, and what is wrong with one
//	authenticator.go  the path of a request: Read, TryDecide, Decide; the files that it follows
//	basic.go          kind "basic": user names and passwords
//	users.go          the file with the users
//	verified.go       passwords that were verified before
//	slots.go          how many checks compute at a time
//	jwt.go            kind "jwt": signed tokens, and where requests have them
//	check.go          what is wrong with a section of that kind
//	claims.go         what a token says
//	keys.go           the keys and their algorithms
//	issuer.go         keys that are fetched from an issuer
//
// It knows neither routes nor sessions, and writes no answer: a Decision has the refusal that the client gets. Nothing that a client shows is
// in an error, a log line or a Decision, apart from the subject.
package auth
