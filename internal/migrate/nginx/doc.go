// Package nginx reads configurations of nginx into drafts of configurations of Sluice.
//
// The path of a configuration through the package:
//
//	lexer      text → words, with quotes, escapes and comments as nginx reads them
//	parser     words → a tree of directives, includes in their place
//	http       http{} → listeners, servers, and what each request goes through
//	server     server{} → routes of its names: its own answers, then its locations in the order in which nginx tries them
//	location   location{} → a route: proxy_pass, return, fields, limits
//	upstream   upstream{} and proxy_pass → a pool
//
// A directive that nothing has read is listed at the end, with a word on what Sluice does instead. So none is dropped in silence.
package nginx
