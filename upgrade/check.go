package upgrade

// CheckUpgrade checks a complete WebSocket request against RFC 6455 section
// 4.2.1. The error is a *Rejection with status 400, 405 or 426.
func (r *Request) CheckUpgrade() error {
	if rej := r.checkUpgrade(); rej != nil {
		return rej
	}
	return nil
}

func (r *Request) checkUpgrade() *Rejection {
	version, versionCount := r.value(r.head, kindVersion)
	key, _ := r.value(r.head, kindKey)
	switch {
	case !r.isWebSocket:
		return ErrNotWebSocket
	case string(r.Method()) != "GET":
		return ErrBadMethod
	case r.isHTTP10:
		// A departure from RFC 9110 section 7.8: "A server MUST ignore an Upgrade header field that
		// is received in an HTTP/1.0 request." The client expects frames, so a refusal is clearer.
		return ErrOldHTTP
	case r.isBadUpgrade:
		return ErrBadUpgrade
	case !r.hasUpgrade:
		return ErrNoUpgrade
	case r.hasBody():
		return ErrBody
	case r.has(kindExpect):
		return ErrExpect
	case versionCount == 0:
		return ErrNoVersion
	case string(version) != "13":
		return ErrVersion
	case !isKey(key):
		return ErrBadKey
	}
	if rej := r.checkProtocols(); rej != nil {
		return rej
	}
	return r.checkExtensions()
}

// hasBody reports whether a body follows the head. Proxies and chargers of vehicles write "Content-Length: 0" on a GET, which is none.
func (r *Request) hasBody() bool {
	body := r.Body()
	return !body.Done()
}

// isKey reports whether p is the base64 of 16 bytes: 22 octets hold 132 bits, of
// which the last 4 are ignored, RFC 4648 section 3.5.
func isKey(p []byte) bool {
	if len(p) != 24 || p[22] != '=' || p[23] != '=' {
		return false
	}
	for _, c := range p[:22] {
		isBase64 := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/'
		if !isBase64 {
			return false
		}
	}
	return true
}

// checkProtocols refuses fields that are not lists of tokens, RFC 6455 section 4.1 item 10.
func (r *Request) checkProtocols() *Rejection {
	for i := range r.all() {
		if r.fields[i].kind != kindProtocol {
			continue
		}
		element, rest := cutElement(r.fields[i].value.of(r.head))
		for ; len(element) > 0; element, rest = cutElement(rest) {
			if !isAll(element, tokenOctet) {
				return ErrBadProtocol
			}
		}
	}
	return nil
}

// offersProtocol reports whether the client offered p: "case-sensitive", RFC 6455
// section 11.5 with 4.1.
func (r *Request) offersProtocol(p []byte) bool {
	for i := range r.all() {
		if r.fields[i].kind != kindProtocol {
			continue
		}
		element, rest := cutElement(r.fields[i].value.of(r.head))
		for ; len(element) > 0; element, rest = cutElement(rest) {
			if string(element) == string(p) {
				return true
			}
		}
	}
	return false
}

// checkExtensions refuses fields that are not lists of extensions, RFC 6455 section 9.1:
// "If a value is received by either the client or the server during negotiation
// that does not conform to the ABNF below, the recipient of such malformed data
// MUST immediately _Fail the WebSocket Connection_." It records the offers.
func (r *Request) checkExtensions() *Rejection {
	for i := range r.all() {
		if r.fields[i].kind != kindExtensions {
			continue
		}
		element, rest := cutElement(r.fields[i].value.of(r.head))
		for ; len(element) > 0; element, rest = cutElement(rest) {
			switch string(extensionName(element)) {
			case "":
				return ErrBadExtension
			case deflateName:
				r.offersDeflate = true
			default:
				r.hasOtherOffers = true
			}
		}
	}
	return nil
}
