package h2

import "golang.org/x/net/http2/hpack"

// staticNames and staticFields are the static table of HPACK (RFC 7541 appendix A), by what is looked up. Immutable.
var staticNames, staticFields = staticTable()

// staticTable has the decoder tell what each index stands for.
func staticTable() (names map[string]uint8, fields map[Field]uint8) {
	const size = 61
	names, fields = make(map[string]uint8), make(map[Field]uint8)
	var i uint8
	d := hpack.NewDecoder(0, func(f hpack.HeaderField) {
		if names[f.Name] == 0 {
			names[f.Name] = i
		}
		fields[Field{f.Name, f.Value}] = i
	})
	for i = 1; i <= size; i++ {
		if _, err := d.Write([]byte{0x80 | i}); err != nil {
			panic("BUG: the static table has no index " + string('0'+rune(i)))
		}
	}
	return names, fields
}

// appendField encodes a field without the dynamic table.
func appendField(out []byte, f Field) []byte {
	if i := staticFields[f]; i != 0 {
		return append(out, 0x80|i)
	}
	var kind uint8 // without indexing (RFC 7541 section 6.2.2)
	if f.Name == "authorization" || f.Name == "proxy-authorization" {
		kind = 0x10 // never indexed, by any hop (section 6.2.3)
	}
	i := staticNames[f.Name]
	out = appendInt(out, kind, 4, uint64(i))
	if i == 0 {
		out = appendString(out, f.Name)
	}
	return appendString(out, f.Value)
}

// appendInt encodes an integer with a prefix of some bits (RFC 7541 section 5.1).
func appendInt(out []byte, first uint8, bits int, v uint64) []byte {
	full := uint64(1)<<bits - 1
	if v < full {
		return append(out, first|uint8(v))
	}
	out = append(out, first|uint8(full))
	for v -= full; v >= 0x80; v >>= 7 {
		out = append(out, 0x80|uint8(v))
	}
	return append(out, uint8(v))
}

func appendString(out []byte, s string) []byte {
	if n := hpack.HuffmanEncodeLength(s); n < uint64(len(s)) {
		return hpack.AppendHuffmanString(appendInt(out, 0x80, 7, n), s)
	}
	return append(appendInt(out, 0, 7, uint64(len(s))), s...)
}
