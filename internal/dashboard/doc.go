// Package dashboard is the page of the admin listener: pools, live sessions, plots and the last closes
// of a running gateway, in a browser. It is one HTML page with its styles and scripts inline, and knows
// nothing of the gateway: the script asks the admin API of the host that the page came from, every two
// seconds, while the page is open. The plots show only data that the page has received itself.
//
//	page.html, page.css    the content and its style
//	api.js                 asks the API, with the token that its user gave
//	format.js, rows.js     numbers as people read them; tables that change in place
//	history.js, plots.js   rates of two samples; uPlot draws them
//	pools.js, sessions.js, closes.js, page.js
//	uplot/                 uPlot as npm has it; test/package-lock.json pins it, `make charts` renews it
package dashboard
