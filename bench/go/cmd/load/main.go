// The load generator of the bench: a process of its own, told what to do line by line.
package main

import "mustreach/measure"

func main() {
	measure.Serve(map[string]measure.Command{
		"send":            measure.Typed(send),
		"send-rest":       measure.Typed(sendRest),
		"create-group":    measure.Typed(createGroup),
		"open-receivers":  measure.Typed(openPool),
		"close-receivers": measure.Typed(closePool),
		"probe":           measure.Typed(probe),
		"push":            measure.Typed(push),
		"reach":           measure.Typed(reach),
		"drain":           measure.Typed(drain),
		"open-mqtt":       measure.Typed(openMqtt),
		"push-mqtt":       measure.Typed(pushMqtt),
		"close-mqtt":      measure.Typed(closeMqtt),
		"open-raw":        measure.Typed(openRaw),
		"push-raw":        measure.Typed(pushRaw),
		"close-raw":       measure.Typed(closeRaw),
	})
}
