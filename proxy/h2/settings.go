package h2

import "encoding/binary"

// Settings (RFC 9113 section 6.5.2, RFC 8441 section 3).
const (
	settingEnablePush        = 0x2
	settingConcurrentStreams = 0x3
	settingInitialWindow     = 0x4
	settingMaxFrameSize      = 0x5
	settingMaxFieldBytes     = 0x6
	settingConnectProtocol   = 0x8
)

// appendSettings appends our settings: those that aren't the initial ones.
func appendSettings(out []byte, config *Config) []byte {
	at := len(out)
	out = appendHead(out, 0, frameSettings, 0, 0)
	if config.Role == Client {
		out = appendSetting(out, settingEnablePush, 0)
	} else {
		out = appendSetting(out, settingConcurrentStreams, uint32(config.Streams))
		if config.Connect {
			out = appendSetting(out, settingConnectProtocol, 1)
		}
	}
	out = appendSetting(out, settingMaxFieldBytes, MaxFieldBytes)
	out[at+2] = byte(len(out) - at - headBytes)
	return out
}

func appendSetting(out []byte, id uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(out, id), v)
}

func (c *Conn) receiveSettings(h frameHead, p []byte) (Event, *Fault) {
	if f := c.count(boundSettings); f != nil {
		return Event{}, f
	}
	if h.flags&flagAck != 0 {
		return Event{}, nil
	}
	window := c.peerWindow
	for ; len(p) > 0; p = p[6:] {
		v := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case settingEnablePush:
			if v > 1 || v == 1 && c.config.Role == Client {
				return Event{}, &Fault{ProtocolError, "SETTINGS_ENABLE_PUSH is not a value that it may have"}
			}
		case settingConcurrentStreams:
			c.peerStreams = v
		case settingInitialWindow:
			if v > maxWindow {
				return Event{}, &Fault{FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE over 2^31-1"}
			}
			window = int32(v)
		case settingMaxFrameSize:
			if v < maxFrame || v > 1<<24-1 {
				return Event{}, &Fault{ProtocolError, "SETTINGS_MAX_FRAME_SIZE is not a value that it may have"}
			}
		case settingConnectProtocol:
			// RFC 8441 section 3: "A sender MUST NOT send a SETTINGS_ENABLE_CONNECT_PROTOCOL parameter with the value of 0 after previously
			// sending a value of 1."
			if v > 1 || v == 0 && c.canConnect {
				return Event{}, &Fault{ProtocolError, "SETTINGS_ENABLE_CONNECT_PROTOCOL is not a value that it may have"}
			}
			c.canConnect = v == 1
		}
	}
	if f := c.setPeerWindow(window); f != nil {
		return Event{}, f
	}
	c.isReady = true
	c.out = appendHead(c.out, 0, frameSettings, flagAck, 0)
	return Event{Kind: Settings}, nil
}

// setPeerWindow changes the windows of all streams by as much as the initial one (RFC 9113 section 6.9.2): they may fall below 0.
func (c *Conn) setPeerWindow(window int32) *Fault {
	delta := int64(window) - int64(c.peerWindow)
	if delta == 0 {
		return nil
	}
	for _, s := range c.streams {
		if int64(s.send)+delta > maxWindow {
			return &Fault{FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE makes a stream's window larger than 2^31-1"}
		}
	}
	for _, s := range c.streams {
		s.send += int32(delta)
	}
	c.peerWindow = window
	return nil
}

// IsReady reports whether the peer's first settings have come.
func (c *Conn) IsReady() bool { return c.isReady }

// CanConnect reports whether the peer accepts extended CONNECT.
func (c *Conn) CanConnect() bool { return c.canConnect }

// Room returns how many streams may be opened now (Client): none before the peer's settings, and none after a GOAWAY of either.
func (c *Conn) Room() int {
	if c.config.Role != Client || !c.isReady || c.isGoing || c.isPeerGoing {
		return 0
	}
	if c.highest > maxWindow-2 {
		return 0 // no identifier is left
	}
	return int(max(0, min(int64(c.config.Streams), int64(c.peerStreams))-int64(len(c.streams))))
}
