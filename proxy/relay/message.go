package relay

// checkLimits refuses a frame whose declared length is over a limit, before any of its payload has passed.
// The lengths are those on the wire: a compressed message counts as it comes.
func (in *input) checkLimits(c *Config, h *header) Rule {
	if c.MaxFrame > 0 && h.length > c.MaxFrame {
		return RuleFrameTooBig
	}
	// By subtraction: the sum overflows with a length of 2^63-1.
	if c.MaxMessage > 0 && h.length > c.MaxMessage-in.messageBytes {
		return RuleMessageTooBig
	}
	return 0
}

// begin enters a data frame.
func (in *input) begin(h *header) {
	in.left = h.length
	in.isInMessage = true
	in.isLastFrame = h.isFin
	in.messageBytes += min(h.length, 1<<62-in.messageBytes)
	in.Frames++
}

// end leaves a data frame whose payload has arrived, and its message if it was the last frame of one.
func (in *input) end() {
	if in.isLastFrame {
		in.isInMessage, in.isLastFrame = false, false
		in.messageBytes = 0
		in.Messages++
	}
}
