// Centrifuge, the library that Centrifugo is made of, as a peer: `serve` is a server that keeps the history of channels
// in memory, `load` has clients reconnect to it over WebSocket.
package main

import (
	"os"

	"mustreach/measure"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		serve()
		return
	}
	measure.Serve(map[string]measure.Command{"reconnect": measure.Typed(reconnect)})
}
