package config

import "strings"

// nearest returns the one of the existing names that was probably meant, and false if none is near
// or two are equally near.
func nearest(name string, existing []string) (string, bool) {
	best, bestEdits, isOnly := "", len(name)/3+1, false
	for _, candidate := range existing {
		switch edits := distance(strings.ToLower(name), candidate); {
		case edits < bestEdits:
			best, bestEdits, isOnly = candidate, edits, true
		case edits == bestEdits:
			isOnly = false
		}
	}
	return best, isOnly
}

// distance returns how many letters must be added, removed, changed or swapped with their neighbour
// to turn a into b.
func distance(a, b string) int {
	// Three rows of the table of distances between the beginnings of a and of b.
	beforeLast, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		beforeLast, last, row = last, row, beforeLast
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], beforeLast[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
