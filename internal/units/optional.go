package units

// An OptionalDuration is a Duration that may be left open: it is written as the text of a Duration, or as "". The zero value is open.
type OptionalDuration struct {
	duration Duration
	isSet    bool
}

// Or returns the duration, or other if it is open.
func (o OptionalDuration) Or(other Duration) Duration {
	if o.isSet {
		return o.duration
	}
	return other
}

// MarshalText returns the text of which UnmarshalText makes o.
func (o OptionalDuration) MarshalText() ([]byte, error) {
	if !o.isSet {
		return nil, nil
	}
	return o.duration.MarshalText()
}

// UnmarshalText parses text as Duration.UnmarshalText does, or "". After an error o is unchanged.
func (o *OptionalDuration) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*o = OptionalDuration{}
		return nil
	}
	var d Duration
	if err := d.UnmarshalText(text); err != nil {
		return err
	}
	*o = OptionalDuration{d, true}
	return nil
}
