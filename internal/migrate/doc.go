// Package migrate makes a configuration of Sluice from one of another proxy. A package below it reads the files of one proxy into a Draft;
// this package writes a Draft. A directive with an equivalent in Sluice becomes a key, with a comment of its line. Any other directive is listed
// with its line and the reason: none is dropped silently.
package migrate
