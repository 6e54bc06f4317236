package auth

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"sluice/internal/units"
	"sluice/upgrade"
)

// hashOf returns the hash of a password, of the least cost unless the test is about the cost.
func hashOf(t testing.TB, password string, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// write writes a file into a directory of the test, and returns its path.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// problemsOf returns the problems of a section, a line each.
func problemsOf(c *Config) string {
	var lines []string
	c.Check(func(key, problem string, got any, want string) {
		lines = append(lines, fmt.Sprintf("%s: %s", key, problem))
	})
	return strings.Join(lines, "\n")
}

// mustNew returns the Authenticator of a section without problems.
func mustNew(t testing.TB, c *Config) *Authenticator {
	t.Helper()
	if problems := problemsOf(c); problems != "" {
		t.Fatalf("problems of the section:\n%s", problems)
	}
	a, err := New(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// requestWith returns a WebSocket request for a target with more fields, each as a line.
func requestWith(t testing.TB, target string, lines ...string) *upgrade.Request {
	t.Helper()
	head := strings.Join(append([]string{"GET " + target + " HTTP/1.1", "Host: gateway.test", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, lines...), "\r\n") + "\r\n\r\n"
	var r upgrade.Request
	if n, err := r.Parse([]byte(head)); err != nil || n != len(head) {
		t.Fatalf("Parse(%q) = %d, %v", head, n, err)
	}
	return &r
}

// decide returns the decision about a request.
func decide(t testing.TB, a *Authenticator, r *upgrade.Request) Decision {
	t.Helper()
	c := a.Read(r)
	return a.Decide(context.Background(), &c)
}

// basicLine returns the line of Authorization for a user.
func basicLine(name, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

func newBasicOf(t testing.TB, lines ...string) *Authenticator {
	t.Helper()
	return mustNew(t, &Config{Name: "staff", Kind: KindBasic, OnExpiry: OnExpiryClose, UsersFile: write(t, "users", strings.Join(lines, "\n")+"\n")})
}

func TestAUserWithTheRightPasswordIsAccepted(t *testing.T) {
	a := newBasicOf(t, "# staff", "", "alice:"+hashOf(t, "wonder:land", 4)+":a comment", "bob:"+strings.Replace(hashOf(t, "", 4), "$2a$", "$2y$", 1)+"\r")
	const challenge = `Basic realm="staff", charset="UTF-8"`
	for name, test := range map[string]struct {
		lines   []string
		result  string
		subject string
	}{
		"right":            {[]string{basicLine("alice", "wonder:land")}, Accepted, "alice"},
		"another case":     {[]string{"authorization: bAsIc  " + base64.StdEncoding.EncodeToString([]byte("alice:wonder:land"))}, Accepted, "alice"},
		"empty password":   {[]string{basicLine("bob", "")}, Accepted, "bob"},
		"none":             {nil, Missing, ""},
		"wrong password":   {[]string{basicLine("alice", "wonder")}, Invalid, ""},
		"another's":        {[]string{basicLine("bob", "wonder:land")}, Invalid, ""},
		"unknown user":     {[]string{basicLine("carol", "wonder:land")}, Invalid, ""},
		"user of case":     {[]string{basicLine("Alice", "wonder:land")}, Invalid, ""},
		"no base64":        {[]string{"Authorization: Basic alice:wonder"}, Invalid, ""},
		"no colon":         {[]string{"Authorization: Basic YWxpY2U="}, Invalid, ""},
		"nothing":          {[]string{"Authorization: Basic"}, Invalid, ""},
		"another scheme":   {[]string{"Authorization: Bearer abc"}, Invalid, ""},
		"two fields":       {[]string{basicLine("alice", "wonder:land"), basicLine("bob", "")}, Invalid, ""},
		"the same twice":   {[]string{basicLine("alice", "wonder:land"), basicLine("alice", "wonder:land")}, Invalid, ""},
		"a long password":  {[]string{basicLine("alice", strings.Repeat("x", 4000))}, Invalid, ""},
		"bytes of control": {[]string{basicLine("alice\x00\r\n", "wonder:land")}, Invalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(t, a, requestWith(t, "/", test.lines...))
			if d.Result != test.result || d.Subject != test.subject {
				t.Fatalf("result %q, subject %q; want %q, %q", d.Result, d.Subject, test.result, test.subject)
			}
			if test.result == Accepted {
				if d.Refusal != nil || d.Cause != "" {
					t.Errorf("an accepted request with the refusal %v and the cause %q", d.Refusal, d.Cause)
				}
				return
			}
			if d.Refusal.Status != 401 || d.Refusal.Reason != "auth" || d.Cause == "" {
				t.Errorf("refusal %v, cause %q; want 401 auth, and a cause", d.Refusal, d.Cause)
			}
			if got := d.Refusal.Header[0]; got.Name != "WWW-Authenticate" || got.Value != challenge {
				t.Errorf("field %v; want WWW-Authenticate: %s", got, challenge)
			}
		})
	}
}

func TestAVerifiedPasswordNeedsNoSecondRunOfBcrypt(t *testing.T) {
	a := newBasicOf(t, "alice:"+hashOf(t, "wonderland", 4))
	right, wrong := a.Read(requestWith(t, "/", basicLine("alice", "wonderland"))), a.Read(requestWith(t, "/", basicLine("alice", "wonder")))
	if _, isKnown := a.TryDecide(&right, time.Now()); isKnown {
		t.Error("a password that was never verified is known")
	}
	for range 2 {
		a.Decide(context.Background(), &right)
		a.Decide(context.Background(), &wrong)
	}
	if d, isKnown := a.TryDecide(&right, time.Now()); !isKnown || d.Result != Accepted {
		t.Errorf("TryDecide of a verified password = %v, %t; want %q, true", d, isKnown, Accepted)
	}
	if _, isKnown := a.TryDecide(&wrong, time.Now()); isKnown {
		t.Error("a wrong password is known")
	}
}

func TestVerifiedPasswordsHaveABound(t *testing.T) {
	v := newVerified()
	for i := range maxVerified + 100 {
		sum := v.sum("user", fmt.Sprint(i))
		if v.add(sum); !v.has(sum) {
			t.Fatalf("sum %d was forgotten at once", i)
		}
	}
	if len(v.sums) != maxVerified {
		t.Errorf("%d sums; want %d", len(v.sums), maxVerified)
	}
	if v.sum("ab", "c") == v.sum("a", "bc") {
		t.Error("other texts have the same sum")
	}
}

// Without the comparison, an unknown user takes microseconds.
func TestAnUnknownUserTakesAsLongAsAnother(t *testing.T) {
	a := newBasicOf(t, "alice:"+hashOf(t, "wonderland", 11))
	least := func(name string) time.Duration {
		shortest := time.Hour
		for i := range 3 {
			start := time.Now()
			decide(t, a, requestWith(t, "/", basicLine(name, fmt.Sprint("guess", i))))
			shortest = min(shortest, time.Since(start))
		}
		return shortest
	}
	known, unknown := least("alice"), least("carol")
	if known > 20*unknown || unknown > 20*known {
		t.Errorf("a known user takes %v, an unknown one %v", known, unknown)
	}
}

func TestManyPasswordsTakeABoundedPartOfTheCPUs(t *testing.T) {
	a := newBasicOf(t, "alice:"+hashOf(t, "wonderland", 5))
	b := a.kind.(*basic)
	var most atomic.Int64
	var running sync.WaitGroup
	stop := make(chan struct{})
	running.Go(func() {
		for {
			most.Store(max(most.Load(), int64(len(b.slots))))
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
			}
		}
	})
	var requests sync.WaitGroup
	for i := range 50 {
		requests.Go(func() {
			if d := decide(t, a, requestWith(t, "/", basicLine("alice", fmt.Sprint("guess", i)))); d.Result != Invalid {
				t.Errorf("result %q; want %q", d.Result, Invalid)
			}
		})
	}
	requests.Wait()
	close(stop)
	running.Wait()
	if limit := int64(cap(b.slots)); most.Load() > limit {
		t.Errorf("%d passwords at once; want %d at most", most.Load(), limit)
	}
}

func TestAPasswordThatCantBeCheckedInTimeIsNotRefused(t *testing.T) {
	a := newBasicOf(t, "alice:"+hashOf(t, "wonderland", 4))
	b := a.kind.(*basic)
	for range cap(b.slots) {
		b.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := a.Read(requestWith(t, "/", basicLine("alice", "wonderland")))
	if d := a.Decide(ctx, &c); d.Result != Unavailable || d.Refusal.Status != 503 {
		t.Errorf("result %q, refusal %v; want %q, 503", d.Result, d.Refusal, Unavailable)
	}
}

func TestEachLineOfAUsersFileIsChecked(t *testing.T) {
	good := "alice:" + hashOf(t, "wonderland", 4)
	long := good + "\n"
	for i := range 40 {
		long += fmt.Sprintf("user%d:secret\n", i)
	}
	for name, test := range map[string]struct{ content, want string }{
		"apr1":           {good + "\nbob:$apr1$xxxxxxxx$SDKJHsdkjhsdkjhsdkjh1/\n", "users_file: line 2: not a bcrypt hash"},
		"SHA-1":          {"bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", "users_file: line 1: not a bcrypt hash"},
		"clear text":     {"\n# x\nbob:secret\n", "users_file: line 3: not a bcrypt hash"},
		"a cut hash":     {good[:len(good)-1], "users_file: line 1: not a bcrypt hash"},
		"a longer hash":  {good + "x", "users_file: line 1: not a bcrypt hash"},
		"no colon":       {"alice\n", "users_file: line 1: not NAME:HASH"},
		"no name":        {":secret", "users_file: line 1: not NAME:HASH"},
		"twice":          {good + "\n" + good, "users_file: line 2: a name that an earlier line has"},
		"a high cost":    {strings.Replace(good, "$04$", "$15$", 1), "users_file: line 1: a bcrypt hash with cost 15, which is over 14"},
		"an absurd cost": {strings.Replace(good, "$04$", "$99$", 1), "users_file: line 1: not a bcrypt hash"},
		"Latin-1":        {"J\xf6rg" + good[5:], "users_file: line 1: a name that is not UTF-8, or has a control character"},
		"an escape":      {"a\x1b" + good[5:], "users_file: line 1: a name that is not UTF-8, or has a control character"},
		"nobody":         {"# nobody\n", "users_file: no users"},
		"empty":          {"", "users_file: can't be read: "},
	} {
		t.Run(name, func(t *testing.T) {
			got := problemsOf(&Config{Name: "staff", Kind: KindBasic, OnExpiry: OnExpiryClose, UsersFile: write(t, "users", test.content)})
			if got != test.want && (name != "empty" || !strings.HasPrefix(got, test.want)) {
				t.Errorf("problems:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
	if got := problemsOf(&Config{Name: "staff", Kind: KindBasic, OnExpiry: OnExpiryClose, UsersFile: write(t, "users", long)}); strings.Count(got, "\n")+1 != maxProblems {
		t.Errorf("problems:\n%s\nwant the first %d", got, maxProblems)
	}
}

func TestTheSectionIsChecked(t *testing.T) {
	for want, c := range map[string]*Config{
		"name: not a name\non_expiry: unknown\nkind: unknown": {},
		"name: not a name":          {Name: "two words", Kind: KindBasic, OnExpiry: OnExpiryClose, UsersFile: write(t, "users", "alice:"+hashOf(t, "x", 4))},
		"kind: unknown":             {Name: "staff", Kind: "digest", OnExpiry: OnExpiryClose},
		"key_file: of another kind": {Name: "staff", Kind: KindBasic, OnExpiry: OnExpiryClose, UsersFile: write(t, "users", "alice:"+hashOf(t, "x", 4)), KeyFile: "a"},
		"users_file: missing":       {Name: "staff", Kind: KindBasic, OnExpiry: OnExpiryClose},
		"users_file: can't be read: no such file or directory": {Name: "staff", Kind: KindBasic, OnExpiry: OnExpiryClose, UsersFile: "/nonexistent/users"},
	} {
		if got := problemsOf(c); got != want {
			t.Errorf("problems of %+v:\n%s\nwant:\n%s", c, got, want)
		}
	}
}

func TestAUsersFileThatOthersCanReadIsWarnedOf(t *testing.T) {
	c := Config{Name: "staff", Kind: KindBasic, OnExpiry: OnExpiryClose, UsersFile: write(t, "users", "alice:"+hashOf(t, "x", 4))}
	warnings := 0
	var report units.Report = func(string, string, any, string) { warnings++ }
	c.Warn(report)
	if err := os.Chmod(c.UsersFile, 0o644); err != nil {
		t.Fatal(err)
	}
	c.Warn(report)
	if warnings != 1 {
		t.Errorf("%d warnings; want 1, of the mode 0644", warnings)
	}
}

func TestAChangedUsersFileIsApplied(t *testing.T) {
	path := write(t, "users", "alice:"+hashOf(t, "first", 4)+"\nbob:"+hashOf(t, "bob", 4)+"\n")
	a := mustNew(t, &Config{Name: "staff", Kind: KindBasic, OnExpiry: OnExpiryClose, UsersFile: path})
	a.files.Interval = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	defer running.Wait()
	defer cancel()
	wants := func(line, result string) {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for decide(t, a, requestWith(t, "/", line)).Result != result {
			if time.Now().After(deadline) {
				t.Fatalf("waited in vain for the result %q", result)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	wants(basicLine("alice", "first"), Accepted)
	wants(basicLine("bob", "bob"), Accepted)
	replace := func(content string) {
		if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	replace("alice:" + hashOf(t, "second", 4) + "\n")
	wants(basicLine("alice", "second"), Accepted)
	wants(basicLine("alice", "first"), Invalid) // though it was verified
	wants(basicLine("bob", "bob"), Invalid)
	replace("alice:broken\n")
	time.Sleep(500 * time.Millisecond) // a round has refused it
	wants(basicLine("alice", "second"), Accepted)
}
