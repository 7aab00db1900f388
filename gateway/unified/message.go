package unified

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Limits of a message's fields. Its content is bounded by what the namespace stores.
const (
	MaxClientType = 40 // bytes
	MaxName       = 64 // bytes of messageType, businessType, and of each tag and business
	MaxLabels     = 32 // tags, and businesses, of a message or a client
)

// Class says who speaks to whom. The zero Class is not said.
type Class uint8

// The classes, as sendType names them.
const (
	ClientToServer Class = iota + 1
	ServerToClient
	ClientToClient
)

var classNames = [...]string{"", "CLIENT_TO_SERVER", "SERVER_TO_CLIENT", "CLIENT_TO_CLIENT"}

func (c Class) String() string { return classNames[c] }

// classOf finds a class by its name, whatever its case.
func classOf(name string) (Class, bool) {
	for c, n := range classNames {
		if strings.EqualFold(n, name) {
			return Class(c), true
		}
	}
	return 0, false
}

// The messageTypes of what the gateway itself says to a client.
const (
	TypeAck       = "ACK"       // the client's message is stored; content: {"seq","duplicate"}
	TypeError     = "ERROR"     // it was refused; content: {"code","message","retry_after"?}
	TypeGap       = "GAP"       // messages are lost; content: as of PROTOCOL.md's gap
	TypeExpired   = "EXPIRED"   // the session ends soon; content: {"grace"}
	TypeReconnect = "RECONNECT" // the server goes away; content: {"after","reason"}
)

// Message is the unified message body. Strings that are empty, and lists that have nothing in them, are not said.
type Message struct {
	Class        Class  // sendType
	Type         string // messageType
	Business     string // businessType
	From, To     string // fromUniqueId, toUniqueId
	FromType     string // fromClientType
	ToType       string // toClientType; "*" is every type
	Timestamp    int64  // Unix milliseconds
	Content      []byte // one JSON value; nil: null
	Tags         []string
	Businesses   []string
	ID           string // messageId: the same for every retry of a message
	unmistakable bool   // it has a sendType or a messageType, as what only looks like a message by chance has not
}

// Decode reads one message. Fields that are absent, null or empty are the same. The content aliases text, which must be UTF-8.
// What it returns is nil or an *wire.Error with BadRequest that names the field; as far as it was read, the message is set.
func (m *Message) Decode(text []byte) error {
	*m = Message{}
	d := decoder{Object: wire.NewObject(text)}
	for {
		name, ok := d.Next()
		if !ok {
			break
		}
		d.field(m, name)
	}
	err := d.Err()
	var syntax *wire.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return wire.BadRequest.With("not a message: " + syntax.What + " at byte " + strconv.Itoa(syntax.Offset))
	case d.refusal != "":
		return wire.BadRequest.With(d.refusal)
	case err != nil:
		return wire.BadRequest.With("a message is one JSON object")
	}
	return nil
}

// decoder reads the fields of one message, and keeps the first thing that is wrong with one.
type decoder struct {
	wire.Object
	seen    uint16
	refusal string
}

func (d *decoder) field(m *Message, name []byte) {
	switch string(name) {
	case "sendType":
		d.class(m)
	case "messageType":
		d.text(1, &m.Type, "messageType", checkName)
		m.unmistakable = m.unmistakable || m.Type != ""
	case "businessType":
		d.text(2, &m.Business, "businessType", checkName)
	case "fromUniqueId":
		d.text(3, &m.From, "fromUniqueId", auth.CheckUser)
	case "toUniqueId":
		d.text(4, &m.To, "toUniqueId", auth.CheckUser)
	case "fromClientType":
		d.text(5, &m.FromType, "fromClientType", CheckClientType)
	case "toClientType":
		d.text(6, &m.ToType, "toClientType", checkToType)
	case "timestamp":
		d.timestamp(m)
	case "content":
		if d.first(8, "content") && !d.Null() {
			m.Content = d.Raw()
		}
	case "tags":
		d.labels(9, &m.Tags, "tags")
	case "businesses":
		d.labels(10, &m.Businesses, "businesses")
	case "messageId":
		d.text(11, &m.ID, "messageId", checkID)
	default:
		d.refuse("unknown field " + strconv.Quote(string(name[:min(len(name), 32)])))
		d.Skip()
	}
}

func (d *decoder) refuse(why string) {
	if d.refusal == "" {
		d.refusal = why
	}
}

// first notes field number i, and passes over one that was there before.
func (d *decoder) first(i uint, field string) bool {
	if d.seen&(1<<i) != 0 {
		d.refuse(field + " is given twice")
		d.Skip()
		return false
	}
	d.seen |= 1 << i
	return true
}

// typed refuses the field if its value was of another type than the one it was read as.
func (d *decoder) typed(field, want string) {
	if errors.Is(d.Err(), wire.ErrType) {
		d.refuse(field + " must be " + want)
	}
}

func (d *decoder) text(i uint, to *string, field string, check func(string) error) {
	if !d.first(i, field) || d.Null() {
		return
	}
	s := d.Text()
	d.typed(field, "a string")
	if s == "" {
		return
	}
	if err := check(s); err != nil {
		d.refuse(field + " " + err.Error())
		return
	}
	*to = s
}

func (d *decoder) class(m *Message) {
	var name string
	d.text(0, &name, "sendType", func(string) error { return nil })
	c, ok := classOf(name)
	if !ok {
		d.refuse("sendType must be CLIENT_TO_SERVER, SERVER_TO_CLIENT or CLIENT_TO_CLIENT")
	}
	m.Class = c
	m.unmistakable = m.unmistakable || c != 0
}

func (d *decoder) timestamp(m *Message) {
	if !d.first(7, "timestamp") || d.Null() {
		return
	}
	f := d.Number()
	d.typed("timestamp", "a number of milliseconds")
	if f < 0 || f > wire.MaxTime || f != float64(int64(f)) {
		d.refuse("timestamp must be whole milliseconds since 1970")
		return
	}
	m.Timestamp = int64(f)
}

func (d *decoder) labels(i uint, to *[]string, field string) {
	if !d.first(i, field) || d.Null() {
		return
	}
	list := d.Texts()
	d.typed(field, "an array of strings")
	if err := CheckLabels(list); err != nil {
		d.refuse(field + " " + err.Error())
		return
	}
	if len(list) > 0 {
		*to = list
	}
}

// CheckClientType says whether s can name a client's type: 1 to MaxClientType bytes of UTF-8 without control characters, and not "*".
func CheckClientType(s string) error {
	if s == everyType {
		return errors.New("must not be *, which stands for every type")
	}
	return checkText(s, MaxClientType)
}

// everyType as toClientType means clients of every type.
const everyType = "*"

func checkToType(s string) error {
	if s == everyType {
		return nil
	}
	return CheckClientType(s)
}

func checkName(s string) error { return checkText(s, MaxName) }

func checkText(s string, most int) error {
	switch {
	case s == "":
		return errors.New("is missing")
	case len(s) > most:
		return fmt.Errorf("is longer than %d bytes", most)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, isControl):
		return errors.New("holds control characters")
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func checkID(s string) error {
	if err := wire.ValidID(s); err != nil {
		return fmt.Errorf("must be 1 to %d bytes of printable ASCII without spaces", wire.MaxID)
	}
	return nil
}

// CheckLabels checks tags or businesses: at most MaxLabels, each 1 to MaxName bytes.
func CheckLabels(list []string) error {
	if len(list) > MaxLabels {
		return fmt.Errorf("has more than %d entries", MaxLabels)
	}
	for _, s := range list {
		if err := checkName(s); err != nil {
			return fmt.Errorf("has an entry that %w", err)
		}
	}
	return nil
}

// Append appends the message as JSON: every field of the unified body in its order, then messageId if there is one.
func (m *Message) Append(dst []byte) []byte {
	dst = appendText(dst, `{"sendType":`, m.Class.String())
	dst = appendText(dst, `,"messageType":`, m.Type)
	dst = appendText(dst, `,"businessType":`, m.Business)
	dst = appendText(dst, `,"fromUniqueId":`, m.From)
	dst = appendText(dst, `,"toUniqueId":`, m.To)
	dst = appendText(dst, `,"fromClientType":`, m.FromType)
	dst = appendText(dst, `,"toClientType":`, m.ToType)
	dst = strconv.AppendInt(append(dst, `,"timestamp":`...), m.Timestamp, 10)
	dst = append(dst, `,"content":`...)
	if m.Content == nil {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, m.Content...)
	}
	dst = appendTexts(dst, `,"tags":[`, m.Tags)
	dst = appendTexts(dst, `,"businesses":[`, m.Businesses)
	if m.ID != "" {
		dst = appendText(dst, `,"messageId":`, m.ID)
	}
	return append(dst, '}')
}

func appendText(dst []byte, before, s string) []byte {
	return wire.AppendData(append(dst, before...), []byte(s), wire.Text)
}

func appendTexts(dst []byte, before string, list []string) []byte {
	dst = append(dst, before...)
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(dst, "", s)
	}
	return append(dst, ']')
}
