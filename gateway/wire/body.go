package wire

import (
	"bytes"
	"encoding/base64"
	"unicode/utf8"
)

// ErrBody is what DecodeBody returns for data that its encoding does not allow: an *Error with BadRequest.
var ErrBody error = BadRequest.With("data is no string of the encoding that is given")

// EncodingOf says how a body travels: as JSON if it is one JSON text by RFC 8259 (UTF-8, nested no deeper than MaxDepth),
// as Text if it is other UTF-8, else as Base64. It reads the whole body once: ask once a message.
func EncodingOf(body []byte) Encoding {
	switch {
	case !utf8.Valid(body):
		return Base64
	case validJSON(body):
		return JSON
	}
	return Text
}

func validJSON(b []byte) bool {
	s := scanner{buf: b}
	s.skip()
	return s.fault == "" && s.end()
}

// AppendData appends the JSON value that carries body in encoding e, which must be the one that EncodingOf gave:
// AppendData does not check it. White space around a JSON body is left out.
func AppendData(dst, body []byte, e Encoding) []byte {
	switch e {
	case Text:
		return appendString(dst, body)
	case Base64:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, body)
		return append(dst, '"')
	}
	return append(dst, bytes.Trim(body, " \t\r\n")...)
}

// DecodeBody returns the body that data, one JSON value, carries. For JSON that is data itself; what it returns may alias data.
// The error is ErrBody.
func DecodeBody(data []byte, e Encoding) ([]byte, error) {
	if e == JSON {
		return data, nil
	}
	s := scanner{buf: data}
	raw, escaped := s.str()
	if s.fault != "" || !s.end() {
		return nil, ErrBody
	}
	if escaped {
		var ok bool
		if raw, ok = unescape(make([]byte, 0, len(raw)), raw); !ok {
			return nil, ErrBody
		}
	}
	if e == Text {
		return raw, nil
	}
	if bytes.ContainsAny(raw, "\r\n") { // which encoding/base64 would pass over
		return nil, ErrBody
	}
	body, err := base64.StdEncoding.Strict().AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(raw))), raw)
	if err != nil {
		return nil, ErrBody
	}
	return body, nil
}

// unescape appends the text of a string's valid raw bytes. It fails for half a surrogate pair, which is no character.
func unescape(dst, raw []byte) ([]byte, bool) {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...), true
		}
		dst = append(dst, raw[:i]...)
		c := raw[i+1]
		if c != 'u' {
			dst = append(dst, unescaped(c))
			raw = raw[i+2:]
			continue
		}
		r, _ := hex4(raw[i+2:])
		raw = raw[i+6:]
		if 0xd800 <= r && r < 0xe000 { // RFC 8259, section 7: two escapes make one character outside the basic plane
			if r >= 0xdc00 || len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
				return dst, false
			}
			low, _ := hex4(raw[2:])
			if low < 0xdc00 || low >= 0xe000 {
				return dst, false
			}
			r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
			raw = raw[6:]
		}
		dst = utf8.AppendRune(dst, r)
	}
}

func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// appendString appends s as a JSON string, byte for byte as JavaScript's JSON.stringify writes it. Bytes that are not UTF-8 become U+FFFD.
func appendString[S []byte | string](dst []byte, s S) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			// At most four bytes are looked at, so the conversion stays on the stack.
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r == utf8.RuneError && n == 1 {
				dst = append(dst, s[from:i]...)
				dst = append(dst, "\ufffd"...)
				from = i + 1
			}
			i += n
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}
