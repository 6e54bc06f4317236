// Package caddy reads Caddyfiles.
//
//	lexer.go     text → words, with the lines in which they stand
//	parse.go     words → sites of directives, with imports and snippets in their places
//	read.go      global options and sites → listeners and rules
//	matcher.go   matchers → what a route requires of a request
//	site.go      directives in the order in which Caddy executes them → routes
//	header.go    fields, rewriting, placeholders
//	pool.go      reverse_proxy → pools
package caddy
