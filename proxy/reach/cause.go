package reach

import (
	"errors"
	"strconv"

	"sluice/balancer"
	"sluice/internal/netconn"
	"sluice/upgrade"
)

// Cause returns why a request to a backend failed with err, whose outcome is o, in words for an operator; "" if the client is to blame. It
// has nothing of the request or of the answer.
func Cause(err error, o balancer.Outcome) string {
	var rejection *upgrade.Rejection
	switch {
	case o == balancer.ClientFault:
		return ""
	case o >= 100:
		return "answer " + strconv.Itoa(int(o))
	case errors.As(err, &rejection):
		return rejection.Text
	case o == balancer.GatewayFault:
		return "the gateway has no resources for a connection: " + netconn.Explain(err)
	case o == balancer.DialTimeout:
		return "no connection in time"
	case o == balancer.HandshakeTimeout:
		return "no answer in time"
	case o == balancer.HandshakeReset:
		return netconn.Explain(err) + " instead of an answer"
	case o == balancer.BadAnswer && isEnd(err):
		return "the answer breaks off: " + netconn.Explain(err)
	case o == balancer.BadAnswer && netconn.IsTimeout(err):
		return "the answer breaks off: no more of it in time"
	case o == balancer.BadAnswer:
		return "the answer is not valid HTTP"
	case o == balancer.TLSFailed && isEnd(err):
		return netconn.Explain(err) + " during the TLS handshake"
	default:
		return netconn.Explain(err)
	}
}
