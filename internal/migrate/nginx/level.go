package nginx

// A level is a block of directives with those around it, from which it inherits.
type level struct {
	outer *level // nil: none
	block []*directive
}

// last returns the directive of a name that applies: the last one of the innermost level that has any; nil: there is none.
func (l *level) last(name string) *directive {
	if all := l.all(name); len(all) > 0 {
		return all[len(all)-1]
	}
	return nil
}

// all returns the directives of a name that apply: those of the innermost level that has any. nginx inherits proxy_set_header, add_header
// and other lists that way: all or none.
func (l *level) all(names ...string) []*directive {
	for ; l != nil; l = l.outer {
		if found := l.own(names...); len(found) > 0 {
			return found
		}
	}
	return nil
}

// own returns the directives of some names that the block itself has, in their order. They count as read.
func (l *level) own(names ...string) []*directive {
	var found []*directive
	for _, d := range l.block {
		for _, name := range names {
			if d.name == name {
				d.isRead = true
				found = append(found, d)
			}
		}
	}
	return found
}

// isOn reports whether a switch is on.
func (l *level) isOn(name string) bool {
	d := l.last(name)
	return d != nil && d.arg(0) == "on"
}

// value returns the first argument of the directive that applies, or "".
func (l *level) value(name string) string {
	if d := l.last(name); d != nil {
		return d.arg(0)
	}
	return ""
}

// set returns the text that `set` gives to a variable, here or further out, and whether there is one.
func (l *level) set(variable string) (string, bool) {
	for ; l != nil; l = l.outer {
		value, isSet := "", false
		for _, d := range l.block {
			if d.name == "set" && d.arg(0) == "$"+variable {
				d.isRead = true
				value, isSet = d.arg(1), true
			}
		}
		if isSet {
			return value, true
		}
	}
	return "", false
}
