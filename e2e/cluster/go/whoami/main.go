// Command whoami is the cluster's own test workload: on port 8080 it answers every request with
// its host name and the address the request came from, and `whoami lookup NAME` prints the
// addresses a name resolves to, for asking from inside a pod.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "lookup" {
		addresses, err := net.LookupHost(os.Args[2])
		exitOn(err)
		for _, address := range addresses {
			fmt.Println(address)
		}
		return
	}
	host, err := os.Hostname()
	exitOn(err)
	node := os.Getenv("NODE_NAME")
	exitOn(http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "host=%s node=%s remote=%s\n", host, node, r.RemoteAddr)
	})))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
