package main

import (
	"fmt"
	"io"
	"net"
	"time"

	"mustreach/measure"
)

// rawReceivers are sockets of a server that writes the same bytes to each when it is told to.
type rawReceivers struct {
	receivers
	control net.Conn
	sockets []net.Conn
	bytes   int
}

type rawArgs struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Count   int    `json:"count"`
	// Bytes of a push.
	Bytes int `json:"bytes"`
}

// openRaw connects the sockets, and one that tells the server to push: its first byte is a C.
func openRaw(a rawArgs) (any, error) {
	start := time.Now()
	pool := &rawReceivers{bytes: a.Bytes}
	for n := range a.Count + 1 {
		conn, err := net.Dial("tcp", a.Address)
		if err != nil {
			return nil, err
		}
		hello := byte('R')
		if n == 0 {
			hello = 'C'
			pool.control = conn
		} else {
			pool.sockets = append(pool.sockets, conn)
		}
		if _, err := conn.Write([]byte{hello}); err != nil {
			return nil, err
		}
	}
	// The server greets each.
	for _, socket := range append([]net.Conn{pool.control}, pool.sockets...) {
		if _, err := io.ReadFull(socket, make([]byte, 1)); err != nil {
			return nil, err
		}
	}
	for _, socket := range pool.sockets {
		go pool.read(socket)
	}
	rawPools.put(a.Name, pool)
	return opened{Seconds: time.Since(start).Seconds()}, nil
}

func (p *rawReceivers) read(socket net.Conn) {
	message := make([]byte, p.bytes)
	for {
		if _, err := io.ReadFull(socket, message); err != nil {
			return
		}
		p.arrive()
	}
}

type rawPushArgs struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func pushRaw(a rawPushArgs) (any, error) {
	pool, err := rawPools.get(a.Name)
	if err != nil {
		return nil, err
	}
	return measure.Drive(measure.Pace{InFlight: 1, Calls: a.Count}, func(_ int, _ time.Time) error {
		reached := pool.expect(int64(len(pool.sockets)))
		if _, err := pool.control.Write([]byte{'p'}); err != nil {
			return fmt.Errorf("the raw server has gone: %w", err)
		}
		return pool.wait(reached)
	})
}

func closeRaw(a named) (any, error) {
	pool, err := rawPools.take(a.Name)
	if err != nil {
		return nil, err
	}
	for _, socket := range append(pool.sockets, pool.control) {
		_ = socket.Close()
	}
	return nil, nil
}
