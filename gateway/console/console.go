// Package console is a web page for trying a server out: connect with a token, subscribe, publish, read history.
//
// The page is plain HTML, CSS and JavaScript inside the binary. It loads nothing from anywhere else, which its content
// security policy enforces, and speaks the same protocol over the same WebSocket as every other client.
//
// The package knows files and HTTP. It must not know connections, sessions or the log.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed page
var files embed.FS

// policy lets the page load its own files, connect to its own server, and nothing else; nobody may frame it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// file is one file as it is served.
type file struct {
	body       []byte
	mime, etag string
}

// pages are the files by their paths.
var pages = func() map[string]file {
	m := map[string]file{}
	root, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the directory is in the binary, or it would not have been built
	}
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		mime := types[path.Ext(name)]
		if mime == "" {
			return fmt.Errorf("console: no type for %s", name)
		}
		sum := sha256.Sum256(body)
		m["/"+name] = file{body, mime, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
		return nil
	})
	if err != nil {
		panic(err)
	}
	m["/"] = m["/index.html"]
	delete(m, "/index.html")
	return m
}()

// Handler serves the page at / and its files beside it; everything else is not found.
func Handler() http.Handler { return http.HandlerFunc(serve) }

func serve(w http.ResponseWriter, r *http.Request) {
	f, ok := pages[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.mime)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache") // ask each time; the ETag answers
	h.Set("ETag", f.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}
