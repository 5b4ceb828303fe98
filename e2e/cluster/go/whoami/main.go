// Command whoami is the cluster's own test workload: on port 8080 it answers every request with
// its host name, its node and the address the request came from. For asking from inside a pod,
// `whoami lookup NAME` prints the addresses a name resolves to, and `whoami get URL` an answer.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "get" {
		client := http.Client{Timeout: 5 * time.Second}
		response, err := client.Get(os.Args[2])
		exitOn(err)
		_, err = io.Copy(os.Stdout, response.Body)
		exitOn(err)
		return
	}
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
	fmt.Println("whoami listens on port 8080")
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
