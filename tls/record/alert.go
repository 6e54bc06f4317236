package record

// An Alert is a description of RFC 8446 section 6.
type Alert uint8

// The alerts that this package sends, and those that are no error.
const (
	CloseNotify       Alert = 0
	UnexpectedMessage Alert = 10
	BadRecordMAC      Alert = 20
	RecordOverflow    Alert = 22
	IllegalParameter  Alert = 47
	DecodeError       Alert = 50
	userCanceled      Alert = 90
)

var alertNames = map[Alert]string{
	CloseNotify:       "close_notify",
	UnexpectedMessage: "unexpected_message",
	BadRecordMAC:      "bad_record_mac",
	RecordOverflow:    "record_overflow",
	40:                "handshake_failure",
	42:                "bad_certificate",
	43:                "unsupported_certificate",
	44:                "certificate_revoked",
	45:                "certificate_expired",
	46:                "certificate_unknown",
	IllegalParameter:  "illegal_parameter",
	48:                "unknown_ca",
	49:                "access_denied",
	DecodeError:       "decode_error",
	51:                "decrypt_error",
	70:                "protocol_version",
	71:                "insufficient_security",
	80:                "internal_error",
	86:                "inappropriate_fallback",
	userCanceled:      "user_canceled",
	109:               "missing_extension",
	110:               "unsupported_extension",
	112:               "unrecognized_name",
	113:               "bad_certificate_status_response",
	115:               "unknown_psk_identity",
	116:               "certificate_required",
	120:               "no_application_protocol",
}

// String returns the name of RFC 8446 section B.2.
func (a Alert) String() string {
	if name, isKnown := alertNames[a]; isKnown {
		return name
	}
	return "unknown alert"
}

// A Fault is what a peer did wrong: an error of Open after which nothing more of it can be read. The peer is to be sent Alert.
type Fault struct {
	Alert Alert
	What  string // is wrong, in words
}

// Error implements error.
func (f *Fault) Error() string { return "TLS: " + f.What }

// A PeerAlert is an error of Open: the peer has ended the connection by an alert other than close_notify.
type PeerAlert Alert

// Error implements error.
func (a PeerAlert) Error() string { return "TLS: the peer sent the alert " + Alert(a).String() }
