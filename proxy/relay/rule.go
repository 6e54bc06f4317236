package relay

// Rule is a rule of the protocol that a side broke; 0 means none.
type Rule uint8

const (
	_ Rule = iota
	RuleUnmasked
	RuleMasked
	RuleReservedBit
	RuleReservedOpcode
	RuleControlFragmented
	RuleControlTooLong
	RuleContinuation
	RuleMessageInterrupted
	RuleLengthTopBit
	RuleLengthNotMinimal
	RuleClosePayload
	RuleCloseCode
	RuleCloseReason
	RuleFrameTooBig
	RuleMessageTooBig
	RuleKeyUpdates // the driver finds this one and the next two
	RuleTLS
	RuleHTTP2

	// NumRules bounds arrays indexed by Rule.
	NumRules
)

// rules gives each rule its name (a metric's label), the close code that the offender gets, and the reason in its close frame.
var rules = [NumRules]struct {
	name string
	code uint16
	text string
}{
	RuleUnmasked:           {"unmasked", 1002, "client frame is not masked"},
	RuleMasked:             {"masked", 1002, "backend frame is masked"},
	RuleReservedBit:        {"reserved_bit", 1002, "reserved bit is set"},
	RuleReservedOpcode:     {"reserved_opcode", 1002, "reserved opcode"},
	RuleControlFragmented:  {"control_fragmented", 1002, "control frame is fragmented"},
	RuleControlTooLong:     {"control_too_long", 1002, "control frame is over 125 bytes"},
	RuleContinuation:       {"continuation", 1002, "continuation without a message"},
	RuleMessageInterrupted: {"message_interrupted", 1002, "new message inside a message"},
	RuleLengthTopBit:       {"length_top_bit", 1002, "length is over 63 bits"},
	RuleLengthNotMinimal:   {"length_not_minimal", 1002, "length is not in its shortest form"},
	RuleClosePayload:       {"close_payload", 1002, "close payload of one byte"},
	RuleCloseCode:          {"close_code", 1002, "close code may not be sent"},
	RuleCloseReason:        {"close_reason", 1007, "close reason is not UTF-8"},
	RuleFrameTooBig:        {"frame_too_big", 1009, "frame is over the limit"},
	RuleMessageTooBig:      {"message_too_big", 1009, "message is over the limit"},
	RuleKeyUpdates:         {"key_updates", 1008, "too many TLS key updates"},
	RuleTLS:                {name: "tls"}, // an alert of TLS tells the offender
	RuleHTTP2:              {"http2", 1002, "the HTTP/2 connection broke its rules"},
}

// String returns the rule's name, as in sluice_protocol_errors_total{rule}; "" for none.
func (r Rule) String() string { return rules[r].name }

// Text returns the reason in the close frame to the offender.
func (r Rule) Text() string { return rules[r].text }
