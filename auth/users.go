package auth

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

// users are those of a file. Immutable.
type users struct {
	hashes map[string]string // of their passwords, by name
	all    []string          // the same hashes, in the order of the file
}

// maxCost bounds the cost of a hash: with 14, a password takes about a second of CPU.
const maxCost = 14

// bcryptHash matches a hash of bcrypt: version, cost, and the salt and hash in base64.
var bcryptHash = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

// maxProblems is how many lines of a file are reported.
const maxProblems = 10

// parseUsers reads a file as htpasswd writes it: lines of NAME:HASH, and maybe a comment after another colon. Empty lines and those that
// begin with "#" don't count. The problems have neither names nor hashes.
func parseUsers(content []byte) (u users, problems []error) {
	u.hashes = map[string]string{}
	number := 0
	for line := range bytes.Lines(content) {
		number++
		text := strings.TrimRight(string(line), "\r\n")
		if strings.TrimSpace(text) == "" || text[0] == '#' {
			continue
		}
		if err := u.add(text); err != nil && len(problems) < maxProblems {
			problems = append(problems, fmt.Errorf("line %d: %w", number, err))
		}
	}
	if len(u.all) == 0 && len(problems) == 0 {
		problems = append(problems, errors.New("no users"))
	}
	return u, problems
}

// add adds the user of a line.
func (u *users) add(line string) error {
	fields := strings.SplitN(line, ":", 3)
	if len(fields) < 2 || fields[0] == "" {
		return errors.New("not NAME:HASH")
	}
	switch {
	case len(fields[0]) > maxSubject:
		return fmt.Errorf("a name of over %d bytes", maxSubject)
	case !utf8.ValidString(fields[0]), strings.ContainsFunc(fields[0], unicode.IsControl): // RFC 7617 section 2, and charset="UTF-8"
		return errors.New("a name that is not UTF-8, or has a control character")
	}
	name, hash := fields[0], fields[1]
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil || !bcryptHash.MatchString(hash):
		return errors.New("not a bcrypt hash")
	case cost > maxCost:
		return fmt.Errorf("a bcrypt hash with cost %d, which is over %d", cost, maxCost)
	case u.hashes[name] != "":
		return errors.New("a name that an earlier line has")
	}
	u.hashes[name] = hash
	u.all = append(u.all, hash)
	return nil
}
