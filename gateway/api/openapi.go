package api

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// DocumentPath is where the OpenAPI document is; nobody needs a key to read it.
const DocumentPath = Path + "openapi.json"

// document describes the table in OpenAPI 3.1. A test holds the two together.
//
//go:embed openapi.json
var document []byte

// Document serves the OpenAPI document.
func Document(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(document)))
	_, _ = w.Write(document)
}

// Describe returns what the document says of an operation: its description, its scope, and the JSON schemas of its request and its reply.
func (a *API) Describe(name string) map[string]string {
	op := a.find(name)
	if op == nil {
		return nil
	}
	var doc struct {
		Components struct{ Schemas map[string]any }
	}
	_ = json.Unmarshal(document, &doc) // a test reads it
	schemas := doc.Components.Schemas
	text := func(name string) string {
		b, _ := json.Marshal(inlined(schemas[name], schemas)) // it was JSON
		return string(b)
	}
	return map[string]string{
		"description": op.Summary, "scope": string(op.Scope), "request": text(op.request.Name()), "reply": text(op.reply.Name()),
	}
}

// inlined puts what a schema refers to in the place of its references. There is no circle among them.
func inlined(schema any, all map[string]any) any {
	switch s := schema.(type) {
	case map[string]any:
		if ref, ok := s["$ref"].(string); ok {
			return inlined(all[strings.TrimPrefix(ref, "#/components/schemas/")], all)
		}
		full := make(map[string]any, len(s))
		for key, value := range s {
			full[key] = inlined(value, all)
		}
		return full
	case []any:
		full := make([]any, len(s))
		for i, value := range s {
			full[i] = inlined(value, all)
		}
		return full
	}
	return schema
}
