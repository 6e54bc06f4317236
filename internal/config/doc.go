// Package config reads a configuration of Sluice: TOML text becomes a File, or the list of all
// problems that the text has, each with the line where the operator finds it.
//
// The path of a text through the package:
//
//	Read         the stages below, and what they found in the order of the files and lines
//	readSyntax   text → a tree of plain values, and positions: the line of each key
//	substitution ${NAME} and ${file:…} → their replacements, which no message shows
//	reader       the trees of a file and of those that it includes → one tree, and places: the file and line of each key
//	decoder      tree → the structs of File; absent keys take the default of their tag
//	Check        each section's own, in the room that declares the section
//	checkReferences  problems between sections: names that refer to others, addresses used twice
//	rehearse     if there is no problem so far: builds the routes, pools and TLS of a gateway, and sends requests in memory
//
// Compare returns what changes from one File to the next. An Origin has the files that one was read from, and reports when they have changed.
//
// The sections belong to the rooms: this package knows how a section is read, not what it means.
// It starts nothing, opens no socket, and reads no files but the one it is given and those that it names.
package config
