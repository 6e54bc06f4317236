// Package apps has tests of real applications through the built program with default settings: servers and clients that
// none of us wrote, plain and over TLS, with something large and a pause longer than idle limits usually are.
//
//	apps_test.go       which applications, how each is started, and the keys that it needs, if any
//	reconnect_test.go  clients that reconnect by themselves, and what each needs to come back
//	gateway_test.go    builds `sluice` once, and runs it before an application
//	program_test.go    processes, and what a test does without the programs that it needs
//
// servers/ starts what npm installs; clients/ has a client for each application, which works and ends with 0 if all was right;
// reconnect/ has both for the clients that reconnect. An application can be tried without the gateway, too:
//
//	node servers/vite.js 5000 DIRECTORY &
//	PAUSE=1 node clients/vite.js http://127.0.0.1:5000 DIRECTORY
//
// With SLUICE_TEST_LONG=true, as `make apps` sets it, those run too that take long to install or to start.
package apps
