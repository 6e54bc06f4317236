// Package config reads a configuration of Sluice: TOML text becomes a File, or the list of all
// problems that the text has, each with the line where the operator finds it.
//
// The path of a text through the package:
//
//	Parse        the five stages below, and what they found in the order of the lines
//	readSyntax   text → a tree of plain values, and positions: the line of each key
//	decoder      tree → the structs of File; absent keys take the default of their tag
//	Check        each section's own, in the room that declares the section
//	checkReferences  what no section can see alone: names that refer to others, addresses taken twice
//	rehearse     where all that found nothing: the routes, pools and TLS of a gateway, built and given requests in memory
//
// Compare returns what changes from one File to the next.
//
// The sections belong to the rooms: this package knows how a section is read, not what it means.
// It starts nothing, opens no socket, and reads no files but the one it is given and those that it names.
package config
