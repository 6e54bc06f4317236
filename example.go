// Package sluice has the file that documents the configuration, for the program and its tests. The gateway is in the packages below.
package sluice

import _ "embed" // config.example.toml

// Example is the text of config.example.toml.
//
//go:embed config.example.toml
var Example []byte
