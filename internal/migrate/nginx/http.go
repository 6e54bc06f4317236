package nginx

import (
	"path/filepath"
	"slices"
	"strings"

	"sluice/internal/migrate"
)

// Read reads configurations of nginx into a draft: each file is a main file, or a part of one as those in sites-available are. Its error
// names the file and, where there is one, the line.
func Read(files []string) (*migrate.Draft, error) {
	r := newReader()
	r.draft.Origin = "nginx: " + strings.Join(files, ", ")
	if len(files) == 1 {
		r.draft.Directory = filepath.Dir(files[0])
	}
	var top []*directive
	for _, file := range files {
		block, err := parse(file, r.draft)
		if err != nil {
			return nil, err
		}
		top = append(top, block...)
	}
	r.read(top)
	return r.draft, nil
}

// A reader makes a draft of directives.
type reader struct {
	draft     *migrate.Draft
	top       []*directive
	upstreams map[string]*upstream // by name in lower case
	zones     map[string]*directive
	splits    map[string]*directive // split_clients by their variables, with the $
	upgrade   map[string]bool       // variables that a map makes of $http_upgrade
	listeners []*listener
	servers   []*server
	cases     []migrate.Case
	segments  map[migrate.Place]string       // remarks on the path of a location that does not end with a slash
	closed    map[*level]*directive          // by an if that lets only some requests in and can't be carried over
	firstOf   map[*directive]*migrate.Answer // of a location or server: the first that it has made
}

func newReader() *reader {
	return &reader{
		draft:     &migrate.Draft{},
		upstreams: map[string]*upstream{},
		zones:     map[string]*directive{},
		splits:    map[string]*directive{},
		upgrade:   map[string]bool{},
		segments:  map[migrate.Place]string{},
		closed:    map[*level]*directive{},
		firstOf:   map[*directive]*migrate.Answer{},
	}
}

// read makes the draft of what the main files have at their top: http{}, or what stands in it.
func (r *reader) read(top []*directive) {
	r.top = top
	fragment := &level{block: top}
	blocks := []*level{fragment}
	for _, d := range fragment.own("http") {
		blocks = append(blocks, &level{block: d.block})
	}
	for _, http := range blocks {
		r.readDefinitions(http)
	}
	for _, http := range blocks {
		for _, d := range http.own("server") {
			r.addServer(&level{outer: http, block: d.block}, d)
		}
		if strays := http.own("location"); len(strays) > 0 { // a file that is meant to be included in a server
			block := append(strays, http.own("set")...)
			r.addServer(&level{outer: http, block: block}, &directive{name: "server", place: strays[0].place, isRead: true})
		}
	}
	r.makeListeners()
	for _, l := range r.listeners {
		l.write(r)
	}
	for _, group := range r.groups() {
		r.addCases(group)
	}
	r.cases = migrate.Trim(r.cases)
	r.listRest(r.top, nil, nil)
	r.writeRoutes()
}

// readDefinitions reads what the servers refer to.
func (r *reader) readDefinitions(http *level) {
	for _, d := range http.own("upstream") {
		r.addUpstream(d)
	}
	for _, d := range http.block {
		switch {
		case d.name == "limit_req_zone" || d.name == "limit_conn_zone":
			for _, arg := range d.args {
				if zone, isZone := strings.CutPrefix(arg, "zone="); isZone {
					zone, _, _ = strings.Cut(zone, ":")
					r.zones[d.name+" "+zone] = d
				}
			}
		case d.name == "split_clients":
			r.splits[d.arg(1)] = d
		case d.name == "map" && d.arg(0) == "$http_upgrade":
			r.upgrade[d.arg(1)] = true
			r.skip(d, whyUpgrade)
		}
	}
}

// skip lists a directive at the beginning of the draft. It is listed once.
func (r *reader) skip(d *directive, why string) { r.skipText(d, d.String(), why) }

// skipText is skip for a part of a directive.
func (r *reader) skipText(d *directive, text, why string) {
	d.isRead = true
	for _, s := range r.draft.Skipped {
		if s.From == d.place && s.Text == text {
			return
		}
	}
	r.draft.Skip(nil, d.place, text, why)
}

// skipIn lists a directive at the routes that have the answer.
func (r *reader) skipIn(answer *migrate.Answer, d *directive, why string) {
	d.isRead = true
	answer.Skipped = append(answer.Skipped, migrate.Skipped{From: d.place, Text: d.String(), Why: why})
}

// listRest lists the directives that nothing has read, at the listener or with the answer of the block that they stand in.
func (r *reader) listRest(block []*directive, listener *migrate.Section, answer *migrate.Answer) {
	for _, d := range block {
		switch {
		case !d.isRead && answer == nil:
			r.draft.Skip(listener, d.place, d.String(), reasonOf(d.name))
		case !d.isRead:
			r.skipIn(answer, d, reasonOf(d.name))
		case d.name == "server":
			r.listRest(d.block, r.listenerOf(d), nil)
		case d.name == "location" || d.name == "if":
			of := answer
			if made := r.firstOf[d]; r.isUsed(made) {
				of = made
			}
			r.listRest(d.block, listener, of)
		case d.name == "http" || d.name == "upstream":
			r.listRest(d.block, nil, nil)
		}
	}
}

// isUsed reports whether a case has the answer.
func (r *reader) isUsed(answer *migrate.Answer) bool {
	return answer != nil && slices.ContainsFunc(r.cases, func(c migrate.Case) bool { return c.Then == answer })
}

// writeRoutes writes the routes in the order in which nginx would try them. What a route of several listeners skips is listed once.
func (r *reader) writeRoutes() {
	var names []string
	for _, l := range r.listeners {
		if !l.redirects {
			names = append(names, l.name)
		}
	}
	r.draft.AddRoutes(r.cases, names)
	for _, route := range r.draft.Routes {
		for i := range route.Keys {
			if key := &route.Keys[i]; key.Name == "path" {
				key.Note = r.segments[key.From]
			}
		}
	}
	seen := map[string]bool{}
	r.draft.Skipped = slices.DeleteFunc(r.draft.Skipped, func(s migrate.Skipped) bool {
		key := s.From.String() + s.Text
		defer func() { seen[key] = true }()
		return seen[key]
	})
}
