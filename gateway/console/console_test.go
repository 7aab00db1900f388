package console

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	for path, mime := range map[string]string{
		"/": "text/html", "/app.js": "text/javascript", "/protocol.js": "text/javascript", "/style.css": "text/css", "/icon.svg": "image/svg+xml",
	} {
		w := get("GET", path)
		h := w.Header()
		if w.Code != 200 || !strings.HasPrefix(h.Get("Content-Type"), mime) || w.Body.Len() == 0 {
			t.Errorf("%s: %d %s", path, w.Code, h.Get("Content-Type"))
		}
		if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", path, h)
		}
		if w := get("GET", path, "If-None-Match", h.Get("ETag")); w.Code != http.StatusNotModified {
			t.Errorf("%s again: %d", path, w.Code)
		}
		if w := get("HEAD", path); w.Code != 200 || w.Body.Len() != 0 {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
		if w := get("POST", path); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/index.html", "/page/app.js", "/../console.go", "/x", "/app.js/"} {
		if w := get("GET", path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// TestPageLoadsNothingElse: no address of another server, no inline script or style, and no way to make HTML of text.
func TestPageLoadsNothingElse(t *testing.T) {
	for path, f := range pages {
		text := strings.ReplaceAll(string(f.body), "http://www.w3.org/2000/svg", "")
		for _, bad := range []string{`https?://`, `innerHTML`, `insertAdjacentHTML`, `document\.write`, `\beval\b`, ` style=`, ` on[a-z]+=`, `@import`, `<script>`} {
			if m := regexp.MustCompile(bad).FindString(text); m != "" {
				t.Errorf("%s holds %q", path, m)
			}
		}
	}
}
