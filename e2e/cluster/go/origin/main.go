// Command origin is what Breakwater stands in front of in the cluster's tests. On port 8080 every
// page is cacheable for a minute and tells, in its body and in X-Origin-Requests, how often that
// page was asked of this process; /account is not cacheable, and /ws sends every WebSocket
// message back.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"golang.org/x/net/websocket"
)

// The tests ask for a few dozen pages; what comes after that many shares one count.
const maxPages = 1024

type pages struct {
	lock   sync.Mutex
	counts map[string]int
}

func (p *pages) count(path string) int {
	p.lock.Lock()
	defer p.lock.Unlock()
	if _, known := p.counts[path]; !known && len(p.counts) >= maxPages {
		path = "*"
	}
	p.counts[path]++
	return p.counts[path]
}

func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	count := p.count(r.URL.Path)
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Cache-Control", "max-age=60")
	if r.URL.Path == "/account" {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.Header().Set("X-Origin-Requests", fmt.Sprint(count))
	fmt.Fprintf(w, "page=%s requests=%d forwarded=%s\n", r.URL.Path, count, r.Header.Get("X-Forwarded-For"))
}

func main() {
	mux := http.NewServeMux()
	mux.Handle("/", &pages{counts: make(map[string]int)})
	// Not websocket.Handler, which refuses a client by its Origin: that is Breakwater's business.
	mux.Handle("/ws", websocket.Server{Handler: func(socket *websocket.Conn) {
		// An error is the end of the connection. At its regular end the library sends no answer.
		if _, err := io.Copy(socket, socket); err == nil {
			_ = socket.WriteClose(1000)
		}
	}})
	fmt.Println("origin listens on port 8080")
	fmt.Fprintln(os.Stderr, http.ListenAndServe(":8080", mux))
	os.Exit(1)
}
