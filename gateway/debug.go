package gateway

import (
	"errors"
	"net/http"
	"net/http/pprof"

	"github.com/jetwire/jetwire/gateway/api"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// newDebug is Go's profiler, for those who have an API key: what it shows of a process is not for clients.
func newDebug(keys auth.Keys) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", http.NotFound) // flags may hold secrets
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return withKey(keys, auth.ScopeDebug, mux)
}

// withKey serves requests that have an API key with that scope.
func withKey(keys auth.Keys, scope auth.Scope, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch _, err := keys.Authorize(r.Header.Get("Authorization"), scope); {
		case errors.Is(err, auth.ErrScope):
			api.Problem(w, wire.PermissionDenied.With(err.Error()))
		case err != nil:
			api.Problem(w, wire.Unauthenticated.With(err.Error()))
		default:
			next.ServeHTTP(w, r)
		}
	})
}
