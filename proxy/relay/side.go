package relay

// Side is one of the two ends of a session.
type Side uint8

const (
	Client  Side = iota // sends masked frames
	Backend             // sends unmasked frames
)

// Other returns the opposite side.
func (s Side) Other() Side { return s ^ 1 }

func (s Side) String() string {
	if s == Client {
		return "client"
	}
	return "backend"
}
