package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Path is where operations are: PathNAME, by POST.
const Path = "/v1/"

// Handler serves the operations over HTTP to those who have a key.
func (a *API) Handler(keys auth.Keys) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Get("Authorization")
		name, err := keys.Authorize(header, "")
		if errors.Is(err, auth.ErrNoAPIKey) {
			Problem(w, wire.Unauthenticated.With(err.Error()))
			return
		}
		a.serve(w, r, Caller{Name: name, May: func(scope auth.Scope) error {
			_, err := keys.Authorize(header, scope)
			return err
		}})
	})
}

func (a *API) serve(w http.ResponseWriter, r *http.Request, c Caller) {
	op := a.find(strings.TrimPrefix(r.URL.Path, Path))
	switch {
	case op == nil:
		Problem(w, unknown(strings.TrimPrefix(r.URL.Path, Path)))
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		fail(w, http.StatusMethodNotAllowed, wire.BadRequest.With(op.Name+" takes POST"))
		return
	}
	if e := op.admit(c); e != nil {
		Problem(w, e)
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		Problem(w, wire.UnsupportedData.With("send the request as JSON, with the header Content-Type: application/json"))
		return
	}
	if r.Header.Get("Content-Encoding") != "" {
		Problem(w, wire.UnsupportedData.With("send the request as it is, without a Content-Encoding"))
		return
	}
	leave, e := a.enter()
	if e != nil {
		Problem(w, e)
		return
	}
	defer leave()
	body, e := a.body(w, r)
	if e != nil {
		Problem(w, e)
		return
	}
	reply, e := a.do(r.Context(), op, c, body)
	if e != nil {
		Problem(w, e)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(reply)
}

// body reads a request's body.
func (a *API) body(w http.ResponseWriter, r *http.Request) ([]byte, *wire.Error) {
	if r.ContentLength > int64(a.opt.RequestBytes) {
		return nil, a.tooBig()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(a.opt.RequestBytes)))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, a.tooBig()
	case err != nil:
		return nil, wire.BadRequest.With("the request did not come whole, or not in time; nothing was done")
	}
	return body, nil
}
