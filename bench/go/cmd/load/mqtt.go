package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"mustreach/measure"
)

// What is needed of MQTT 3.1.1 to subscribe, and to publish with QoS 0.
const (
	mqttConnect   = 0x10
	mqttConnAck   = 0x20
	mqttPublish   = 0x30
	mqttSubscribe = 0x82
	mqttSubAck    = 0x90
	mqttTopic     = "crew"
)

// mqttReceivers are subscribers of one topic, each with a connection of its own.
type mqttReceivers struct {
	receivers
	publisher net.Conn
	sockets   []net.Conn
	ordinal   int64
}

var mqttPools pools[*mqttReceivers]

type mqttArgs struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Count   int    `json:"count"`
}

func mqttPacket(kind byte, body []byte) []byte {
	packet := []byte{kind}
	for length := len(body); ; {
		digit := byte(length & 127)
		if length >>= 7; length > 0 {
			packet = append(packet, digit|128)
			continue
		}
		return append(append(packet, digit), body...)
	}
}

func mqttText(text string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
}

func readMqtt(reader *bufio.Reader) (kind byte, body []byte, err error) {
	if kind, err = reader.ReadByte(); err != nil {
		return
	}
	length, err := binary.ReadUvarint(reader)
	if err != nil {
		return
	}
	body = make([]byte, length)
	_, err = io.ReadFull(reader, body)
	return
}

// dialMqtt connects with a clean session and no keep-alive.
func dialMqtt(address, client string) (net.Conn, *bufio.Reader, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, nil, err
	}
	hello := append(append(mqttText("MQTT"), 4, 2, 0, 0), mqttText(client)...)
	if _, err := conn.Write(mqttPacket(mqttConnect, hello)); err != nil {
		return nil, nil, err
	}
	reader := bufio.NewReaderSize(conn, 512)
	kind, body, err := readMqtt(reader)
	if err == nil && (kind != mqttConnAck || body[1] != 0) {
		err = fmt.Errorf("the MQTT broker refuses a connection: %x %x", kind, body)
	}
	return conn, reader, err
}

func openMqtt(a mqttArgs) (any, error) {
	start := time.Now()
	pool := &mqttReceivers{}
	var err error
	if pool.publisher, _, err = dialMqtt(a.Address, "publisher"); err != nil {
		return nil, err
	}
	var reading sync.WaitGroup
	for n := range a.Count {
		conn, reader, err := dialMqtt(a.Address, fmt.Sprintf("receiver%d", n))
		if err != nil {
			return nil, err
		}
		pool.sockets = append(pool.sockets, conn)
		if _, err := conn.Write(mqttPacket(mqttSubscribe, append(append([]byte{0, 1}, mqttText(mqttTopic)...), 0))); err != nil {
			return nil, err
		}
		reading.Add(1)
		go pool.read(reader, sync.OnceFunc(reading.Done))
	}
	reading.Wait()
	mqttPools.put(a.Name, pool)
	return opened{Seconds: time.Since(start).Seconds()}, pool.problem()
}

func (p *mqttReceivers) read(reader *bufio.Reader, subscribed func()) {
	next := int64(0)
	for {
		kind, body, err := readMqtt(reader)
		switch {
		case err != nil:
			subscribed()
			return
		case kind == mqttSubAck:
			subscribed()
		case kind == mqttPublish:
			ordinal, due, err := readData(string(body[2+len(mqttTopic):]))
			if err == nil && ordinal != next {
				err = fmt.Errorf("push %d came for %d", ordinal, next)
			}
			if err != nil {
				p.fail(err)
			}
			next = ordinal + 1
			p.latencies.Add(time.Since(due))
			p.arrive()
		}
	}
}

// pushMqtt publishes one message after the other, each when the last subscriber has had the one before.
func pushMqtt(a rawPushArgs) (any, error) {
	pool, err := mqttPools.get(a.Name)
	if err != nil {
		return nil, err
	}
	outcome, err := measure.Drive(measure.Pace{InFlight: 1, Calls: a.Count}, func(_ int, due time.Time) error {
		reached := pool.expect(int64(len(pool.sockets)))
		packet := mqttPacket(mqttPublish, append(mqttText(mqttTopic), toData(pool.ordinal, due)...))
		pool.ordinal++
		if _, err := pool.publisher.Write(packet); err != nil {
			return err
		}
		return pool.wait(reached)
	})
	outcome.LatencyMs = pool.latencies.Take()
	return outcome, err
}

func closeMqtt(a named) (any, error) {
	pool, err := mqttPools.take(a.Name)
	if err != nil {
		return nil, err
	}
	for _, socket := range append(pool.sockets, pool.publisher) {
		_ = socket.Close()
	}
	return nil, pool.problem()
}
