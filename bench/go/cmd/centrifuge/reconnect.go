package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"mustreach/measure"
)

type reconnectArgs struct {
	Address string   `json:"address"`
	Epochs  []string `json:"epochs"`
	// Each client has had all up to this one, and waits for so many more.
	After uint64 `json:"after"`
	Each  int    `json:"each"`
	Bytes int    `json:"bytes"`
}

const arrivalTimeout = 60 * time.Second

// reconnect connects a client for each channel, all at once, and waits until each has recovered what it has missed.
func reconnect(a reconnectArgs) (any, error) {
	var clients []*centrifuge.Client
	var latencies measure.Latencies
	var problem atomic.Pointer[error]
	var recovered sync.WaitGroup
	fail := func(err error) { problem.CompareAndSwap(nil, &err) }
	start := time.Now()
	for n, epoch := range a.Epochs {
		client := centrifuge.NewProtobufClient("ws://"+a.Address, centrifuge.Config{Token: fmt.Sprintf("u%d", n)})
		clients = append(clients, client)
		client.OnError(func(event centrifuge.ErrorEvent) { fail(event.Error) })
		subscription, err := client.NewSubscription(fmt.Sprintf("c%d", n), centrifuge.SubscriptionConfig{
			Positioned: true, Recoverable: true,
			GetState: func(centrifuge.SubscriptionGetStateEvent) (centrifuge.StreamPosition, error) {
				return centrifuge.StreamPosition{Offset: a.After, Epoch: epoch}, nil
			},
		})
		if err != nil {
			return nil, err
		}
		recovered.Add(1)
		next := a.After + 1
		subscription.OnPublication(func(event centrifuge.PublicationEvent) {
			if event.Offset != next || len(event.Data) != a.Bytes {
				fail(fmt.Errorf("publication %d of %d bytes came for %d", event.Offset, len(event.Data), next))
			}
			if next++; next == a.After+1+uint64(a.Each) {
				latencies.Add(time.Since(start))
				recovered.Done()
			}
		})
		subscription.OnError(func(event centrifuge.SubscriptionErrorEvent) { fail(event.Error) })
		if err := subscription.Subscribe(); err != nil {
			return nil, err
		}
	}
	for _, client := range clients {
		go func() {
			if err := client.Connect(); err != nil {
				fail(err)
			}
		}()
	}
	all := make(chan struct{})
	go func() { recovered.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(arrivalTimeout):
		fail(errors.New("not all have recovered in time"))
	}
	seconds := time.Since(start).Seconds()
	for _, client := range clients {
		client.Close()
	}
	if first := problem.Load(); first != nil {
		return nil, *first
	}
	return measure.Outcome{Calls: len(clients), Seconds: seconds, LatencyMs: latencies.Take()}, nil
}
