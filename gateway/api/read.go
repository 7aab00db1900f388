package api

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/jetwire/jetwire/gateway/wire"
)

// checked is a request that has more to check than types.
type checked interface{ check() error }

var errNull = errors.New("must not be null")

// notNull refuses null, which encoding/json would take for a zero value, wherever no body stands.
var notNull = json.UnmarshalFromFunc(func(d *jsontext.Decoder, v any) error {
	if _, body := v.(*jsontext.Value); !body && d.PeekKind() == 'n' {
		return errNull
	}
	return json.SkipFunc
})

// read reads a request, which must be one JSON object with the fields of q, each of its type and at most once; those without omitzero must
// be there. Its errors are *wire.Error with bad_request or bad_channel, and name the field.
func read(body []byte, q any) error {
	if err := json.Unmarshal(body, q, json.RejectUnknownMembers(true), json.WithUnmarshalers(notNull)); err != nil {
		return wire.BadRequest.With(fault(err))
	}
	if err := complete(reflect.ValueOf(q).Elem()); err != nil {
		return err
	}
	if c, ok := q.(checked); ok {
		return c.check()
	}
	return nil
}

// fault says what is wrong with a request, and where.
func fault(err error) string {
	var semantic *json.SemanticError
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntax):
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return path(syntax.JSONPointer) + " is given twice"
		}
		return fmt.Sprintf("not JSON: %v at byte %d", syntax.Err, syntax.ByteOffset)
	case !errors.As(err, &semantic):
		return "it cannot be read"
	case errors.Is(err, json.ErrUnknownName):
		return path(semantic.JSONPointer) + ": no such field"
	case errors.Is(err, errNull):
		return path(semantic.JSONPointer) + " must not be null"
	case semantic.GoType == nil:
		return path(semantic.JSONPointer) + " has a wrong type"
	}
	return path(semantic.JSONPointer) + " must be " + wanted(semantic.GoType)
}

// path shows where in a request something stands.
func path(p jsontext.Pointer) string {
	if p == "" {
		return "the request"
	}
	var tokens []string
	for token := range p.Tokens() {
		tokens = append(tokens, token[:min(len(token), 64)])
	}
	return strings.ToValidUTF8(strings.Join(tokens[:min(len(tokens), 8)], "."), "")
}

// wanted says what a field of type t takes.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wanted(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int64:
		return "an integer"
	case reflect.Uint8:
		return "an unsigned integer below 256"
	}
	return "an unsigned integer"
}

// complete refuses a struct that lacks a field without omitzero.
func complete(v reflect.Value) error {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			if err := complete(v.Field(i)); err != nil {
				return err
			}
			continue
		}
		if name, options, _ := strings.Cut(f.Tag.Get("json"), ","); options == "" && v.Field(i).IsZero() {
			return wire.BadRequest.With(name + " is missing")
		}
	}
	return nil
}
