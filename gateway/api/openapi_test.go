package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/jetwire/jetwire/gateway/wire"
)

// described is what the tests read of the document.
type described struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID, Summary string
		Security             []map[string][]string
		RequestBody          struct {
			Required bool
			Content  map[string]struct{ Schema ref }
		}
		Responses map[string]struct {
			Ref     string `json:"$ref"`
			Content map[string]struct{ Schema ref }
		}
	}
	Components struct {
		SecuritySchemes map[string]struct{ Type, Scheme string }
		Responses       map[string]struct {
			Content map[string]struct{ Schema ref }
			Headers map[string]any
		}
		Schemas map[string]schema
	}
}

type ref struct {
	Ref string `json:"$ref"`
}

type schema struct {
	ref
	Type                 string
	Format               string
	Minimum              *float64
	Properties           map[string]schema
	Required             []string
	Items                *schema
	AdditionalProperties *bool
}

func readDocument(t *testing.T) (d described) {
	t.Helper()
	if err := json.Unmarshal(document, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// The document has every operation of the table and no other, each with its scope and all ways to fail.
func TestDocumentHasTheTable(t *testing.T) {
	d, a := readDocument(t), New(Options{})
	if d.OpenAPI != "3.1.0" || d.Components.SecuritySchemes["key"].Type != "http" || d.Components.SecuritySchemes["key"].Scheme != "bearer" {
		t.Error("the head of the document")
	}
	if len(d.Paths) != len(a.table) {
		t.Errorf("%d paths for %d operations", len(d.Paths), len(a.table))
	}
	problems := []int{400, 401, 403, 404, 405, 409, 413, 415, 429, 500, 503, 504}
	for i := range a.table {
		op := &a.table[i]
		p, ok := d.Paths[Path+op.Name]["post"]
		if !ok || len(d.Paths[Path+op.Name]) != 1 {
			t.Errorf("%s: %v", op.Name, d.Paths[Path+op.Name])
			continue
		}
		scopes := []string{}
		if op.Scope != "" {
			scopes = append(scopes, string(op.Scope))
		}
		if p.OperationID != op.Name || p.Summary != op.Summary || !reflect.DeepEqual(p.Security, []map[string][]string{{"key": scopes}}) {
			t.Errorf("%s: %+v", op.Name, p)
		}
		request := p.RequestBody.Content["application/json"].Schema.Ref
		reply := p.Responses["200"].Content["application/json"].Schema.Ref
		if request != "#/components/schemas/"+op.request.Name() || reply != "#/components/schemas/"+op.reply.Name() || !p.RequestBody.Required {
			t.Errorf("%s: %s, %s", op.Name, request, reply)
		}
		if len(p.Responses) != len(problems)+1 {
			t.Errorf("%s: %d responses", op.Name, len(p.Responses))
		}
		for _, status := range problems {
			r := d.Components.Responses[strings.TrimPrefix(p.Responses[fmt.Sprint(status)].Ref, "#/components/responses/")]
			if r.Content["application/problem+json"].Schema.Ref != "#/components/schemas/Problem" {
				t.Errorf("%s: %d", op.Name, status)
			}
			if (status == 503 || status == 429) != (r.Headers["Retry-After"] != nil) {
				t.Errorf("%s: Retry-After of %d", op.Name, status)
			}
		}
	}
	for _, c := range codes() { // 408 and 422 are others' who answer over HTTP
		if s := Status(c); s != http.StatusRequestTimeout && s != http.StatusUnprocessableEntity && !slices.Contains(problems, s) {
			t.Errorf("%v is answered with %d, of which the document knows nothing", c, s)
		}
	}
}

// The schemas have the fields of the Go types, with their JSON types, and say which are required.
func TestDocumentHasTheTypes(t *testing.T) {
	d, a := readDocument(t), New(Options{})
	used := map[string]bool{"Code": true, "Channel": true}
	for i := range a.table {
		compareTypes(t, &d, used, a.table[i].request, a.table[i].request.Name(), true)
		compareTypes(t, &d, used, a.table[i].reply, a.table[i].reply.Name(), false)
	}
	compareTypes(t, &d, used, reflect.TypeFor[Details](), "Problem", false)
	for name := range d.Components.Schemas {
		if !used[name] {
			t.Errorf("the schema %s is nobody's", name)
		}
	}
}

// compareTypes compares a struct with the schema of that name.
func compareTypes(t *testing.T, d *described, used map[string]bool, typ reflect.Type, name string, request bool) {
	t.Helper()
	used[name] = true
	s, ok := d.Components.Schemas[name]
	if !ok || s.Type != "object" || request != (s.AdditionalProperties != nil && !*s.AdditionalProperties) {
		t.Errorf("the schema %s: %+v", name, s)
		return
	}
	fields, required := map[string]reflect.Type{}, []string{}
	var collect func(reflect.Type)
	collect = func(typ reflect.Type) {
		if typ == reflect.TypeFor[wire.HistoryReply]() {
			typ = reflect.TypeFor[historyFields]()
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Anonymous {
				collect(f.Type)
				continue
			}
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields[name] = f.Type
			if options == "" {
				required = append(required, name)
			}
		}
	}
	collect(typ)
	if got, want := slices.Sorted(maps.Keys(s.Properties)), slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
		t.Errorf("%s has %v, want %v", name, got, want)
		return
	}
	slices.Sort(required)
	if got := slices.Sorted(slices.Values(s.Required)); !slices.Equal(got, required) {
		t.Errorf("%s requires %v, want %v", name, got, required)
	}
	for field, typ := range fields {
		property := s.Properties[field]
		compareType(t, d, used, typ, name+"."+field, &property, request)
	}
}

// The protocol's types write themselves; these are their fields.
type (
	historyFields struct {
		Channel  string         `json:"channel"`
		Epoch    string         `json:"epoch"`
		Messages []messageField `json:"messages"`
		Next     string         `json:"next,omitzero"`
		Lost     *wire.Range    `json:"lost,omitzero"`
	}
	messageField struct {
		Channel  string         `json:"channel"`
		Seq      uint64         `json:"seq"`
		Prev     uint64         `json:"prev"`
		ID       string         `json:"id,omitzero"`
		Time     int64          `json:"time,omitzero"`
		From     string         `json:"from,omitzero"`
		Data     jsontext.Value `json:"data"`
		Encoding string         `json:"encoding,omitzero"`
	}
)

// names of the schemas of types that are parts of replies.
var names = map[reflect.Type]string{
	reflect.TypeFor[wire.Error](): "Error", reflect.TypeFor[wire.Range](): "Range", reflect.TypeFor[wire.Present](): "Present", reflect.TypeFor[messageField](): "Message",
	reflect.TypeFor[BroadcastResult](): "BroadcastResult", reflect.TypeFor[Connection](): "Connection", reflect.TypeFor[Subscribed](): "Subscribed",
	reflect.TypeFor[Gateway](): "Gateway", reflect.TypeFor[Stream](): "Stream",
}

func compareType(t *testing.T, d *described, used map[string]bool, typ reflect.Type, where string, s *schema, request bool) {
	t.Helper()
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	want := ""
	switch {
	case typ == reflect.TypeFor[jsontext.Value]():
	case typ == reflect.TypeFor[wire.Code]():
		if s.Ref != "#/components/schemas/Code" {
			t.Errorf("%s is no code: %+v", where, s)
		}
		return
	case typ == reflect.TypeFor[time.Time]():
		if s.Format != "date-time" {
			t.Errorf("%s is no time", where)
		}
		want = "string"
	case typ.Kind() == reflect.Slice:
		if want = "array"; s.Items == nil {
			t.Errorf("%s has no items", where)
			return
		}
		compareType(t, d, used, typ.Elem(), where+"[]", s.Items, request)
	case typ.Kind() == reflect.Struct:
		if s.Ref != "#/components/schemas/"+names[typ] {
			t.Errorf("%s refers to %q", where, s.Ref)
			return
		}
		compareTypes(t, d, used, typ, names[typ], request)
		return
	case typ.Kind() == reflect.Map:
		want = "object"
	case typ.Kind() == reflect.String:
		if s.Ref == "#/components/schemas/Channel" {
			return
		}
		want = "string"
	case typ.Kind() == reflect.Bool:
		want = "boolean"
	case typ.Kind() == reflect.Float64:
		want = "number"
	default:
		if want = "integer"; s.Minimum == nil {
			t.Errorf("%s has no minimum", where)
		}
	}
	if s.Type != want {
		t.Errorf("%s is %q, want %q", where, s.Type, want)
	}
}

// Every schema is one, and what describes an operation for NATS refers to nothing outside.
func TestSchemasCompile(t *testing.T) {
	a := New(Options{})
	for _, op := range a.Operations() {
		described := a.Describe(op.Name)
		if described["description"] != op.Summary || described["scope"] != string(op.Scope) {
			t.Errorf("%s: %v", op.Name, described)
		}
		for _, part := range []string{"request", "reply"} {
			text := described[part]
			parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err != nil || strings.Contains(text, "$ref") || len(text) < 20 {
				t.Fatalf("%s: %s: %v", op.Name, text, err)
			}
			c := jsonschema.NewCompiler()
			c.DefaultDraft(jsonschema.Draft2020)
			if err := c.AddResource("urn:it", parsed); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Compile("urn:it"); err != nil {
				t.Errorf("%s: %v", op.Name, err)
			}
		}
	}
	if a.Describe("nothing") != nil {
		t.Error("an operation that there is not is described")
	}
}
