package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"

	"mustreach/measure"
)

type seedArgs struct {
	Channels int `json:"channels"`
	Each     int `json:"each"`
	Bytes    int `json:"bytes"`
}

// serve prints its port, then answers `seed`: the epochs of the channels c0, c1, … which have got so many publications.
func serve() {
	node, err := centrifuge.New(centrifuge.Config{LogLevel: centrifuge.LogLevelError})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(_ context.Context, event centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: event.Token}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, answer centrifuge.SubscribeCallback) {
			options := centrifuge.SubscribeOptions{EnableRecovery: true, EnablePositioning: true}
			answer(centrifuge.SubscribeReply{Options: options}, nil)
		})
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	handler := centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{UseWriteBufferPool: true})
	go func() { log.Fatal(http.Serve(listener, handler)) }()
	fmt.Printf("{\"port\":%d}\n", listener.Addr().(*net.TCPAddr).Port)

	seed := func(a seedArgs) (any, error) {
		// Publications are JSON, for clients of either protocol.
		data, err := json.Marshal(strings.Repeat("x", a.Bytes-2))
		if err != nil {
			return nil, err
		}
		epochs := make([]string, a.Channels)
		for n := range a.Channels {
			channel := fmt.Sprintf("c%d", n)
			for range a.Each {
				result, err := node.Publish(channel, data, centrifuge.WithHistory(2*a.Each, time.Hour))
				if err != nil {
					return nil, err
				}
				epochs[n] = result.Epoch
			}
		}
		return epochs, nil
	}
	measure.Serve(map[string]measure.Command{"seed": measure.Typed(seed)})
}
