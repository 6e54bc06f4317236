// Package test has the end-to-end tests: the built program between peers that none of us wrote.
//
//	gateway_test.go   builds `sluice` once, runs it with a configuration, stops it by SIGTERM
//	peer_test.go      Node's ws and Debian's python3-websockets as clients and backends (peers/)
//	raw_test.go       clients and backends that send any bytes; frames by gobwas/ws
//	crowd_test.go     sessions that must not notice what is done to others
//	chaos_test.go     random peers, faults and configurations around one gateway (the files chaos_*); flags -chaos, -chaos.seed
//	upgrade_linux_test.go  upgrades, and the processes that they start and end; what moves through many of them: the files upgrades_*
//	chromium_test.go  the admin listener's dashboard in a browser; screenshot_test.go makes its pictures
//	monitoring_test.go  a gateway of which every metric has a value; what deploy/ asks of it
//	import_linux_test.go  imports of configurations beside the proxies that they were made for; the files import_*
//	program_test.go   processes, and what a test does without the programs that it needs
//
// A test that lacks its peer is skipped and says what to install; with CI=true it fails. `make test`
// installs the Node packages of package-lock.json. Everything is on loopback, at ports of the kernel's
// choice, and every wait has a bound.
package test
