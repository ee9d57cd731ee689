package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"

	deliveryv1 "mustreach/delivery/v1"
	openimv1 "mustreach/openim/v1"
)

// doors are the ways to receive beside gRPC. Each connects, and reads what comes behind the receiver's back; of those
// that are told when their session is open, it answers then.
var doors = map[string]func(r *receiver, user string) error{
	"websocket": (*receiver).openWebSocket,
	"sse":       (*receiver).openEvents,
	"openim-js": (*receiver).openOpenimJs,
	"openim-go": (*receiver).openOpenimGo,
}

// Small, for thousands are open.
var dialer = websocket.Dialer{ReadBufferSize: 1024, WriteBufferSize: 256, HandshakeTimeout: callTimeout}

const (
	pushed         = 2001
	openingTimeout = 60 * time.Second
	// When a probe has come to nobody more for so long, it has come to all whose session was open.
	probeQuiet = 3 * time.Second
)

// event is one of our own protocol in JSON, by its case.
type event struct {
	Ready        json.RawMessage `json:"ready"`
	Heartbeat    json.RawMessage `json:"heartbeat"`
	Notification *notification   `json:"notification"`
}

type notification struct {
	Data     string `json:"data"`
	Sequence uint64 `json:"sequence,string"`
	Epoch    string `json:"epoch"`
}

func (n notification) message() *deliveryv1.Notification {
	return &deliveryv1.Notification{Data: n.Data, Sequence: n.Sequence, Epoch: n.Epoch}
}

func (r *receiver) dial(url string, header http.Header) (*websocket.Conn, error) {
	conn, response, err := dialer.DialContext(r.ctx, url, header)
	if err != nil {
		if response != nil {
			return nil, fmt.Errorf("%s: %w", response.Status, err)
		}
		return nil, err
	}
	r.closer = conn
	return conn, nil
}

// readAll hands over what comes, until the receiver is closed.
func (r *receiver) readAll(next func() error) {
	for {
		if err := next(); err != nil {
			if r.ctx.Err() == nil {
				r.pool.fail(err)
			}
			return
		}
	}
}

func (r *receiver) openWebSocket(user string) error {
	header := http.Header{"Token": {mint(user, webPlatform)}, "Sec-Websocket-Protocol": {"mustreach.v1.json"}}
	conn, err := r.dial("ws://"+r.pool.Address+"/ws", header)
	if err != nil {
		return err
	}
	if err := conn.WriteJSON(map[string]any{"subscribe": map[string]any{"deviceId": r.pool.Device}}); err != nil {
		return err
	}
	var first event
	if err := conn.ReadJSON(&first); err != nil {
		return err
	}
	if first.Ready == nil {
		return fmt.Errorf("the first event is %+v", first)
	}
	go r.readAll(func() error {
		var next event
		if err := conn.ReadJSON(&next); err != nil {
			return err
		}
		switch {
		case next.Notification != nil:
			r.take(next.Notification.message())
		case next.Heartbeat == nil:
			return fmt.Errorf("not expected: %+v", next)
		}
		return nil
	})
	return nil
}

// openEvents reads server-sent events over HTTP/1.1.
func (r *receiver) openEvents(user string) error {
	conn, err := net.Dial("tcp", r.pool.Address)
	if err != nil {
		return err
	}
	r.closer = conn
	request := "GET /events?deviceID=%s HTTP/1.1\r\nHost: %s\r\nToken: %s\r\n\r\n"
	if _, err := fmt.Fprintf(conn, request, r.pool.Device, r.pool.Address, mint(user, webPlatform)); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReaderSize(conn, 1024), nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered with %s", response.Status)
	}
	lines := bufio.NewReaderSize(response.Body, 1024)
	// A block of lines; empty of a comment.
	block := func() (name, data string, err error) {
		for {
			line, err := lines.ReadString('\n')
			if err != nil || line == "\n" {
				return name, data, err
			}
			field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch field {
			case "event":
				name = value
			case "data":
				data = value
			}
		}
	}
	if name, data, err := block(); err != nil || name != "ready" {
		return fmt.Errorf("the first event is %s %s: %v", name, data, err)
	}
	go r.readAll(func() error {
		name, data, err := block()
		if err != nil {
			return err
		}
		switch name {
		case "notification":
			var next notification
			if err := json.Unmarshal([]byte(data), &next); err != nil {
				return err
			}
			r.take(next.message())
		case "", "heartbeat":
		default:
			return fmt.Errorf("not expected: %s %s", name, data)
		}
		return nil
	})
	return nil
}

// openimRequest and openimAnswer are OpenIM's frames, by the names that its Go core gives their fields.
type openimRequest struct {
	ReqIdentifier int    `json:"reqIdentifier"`
	SendID        string `json:"sendID"`
	OperationID   string `json:"operationID"`
	MsgIncr       string `json:"msgIncr"`
}

type openimAnswer struct {
	ReqIdentifier int    `json:"reqIdentifier"`
	ErrCode       int    `json:"errCode"`
	ErrMsg        string `json:"errMsg"`
	MsgIncr       string `json:"msgIncr"`
	Data          []byte `json:"data"`
}

func (r *receiver) openOpenimJs(user string) error {
	conn, err := r.dialOpenim(user, "&sdkType=js&isMsgResp=true")
	if err != nil {
		return err
	}
	var greeting openimAnswer
	if err := conn.ReadJSON(&greeting); err != nil || greeting.ErrCode != 0 {
		return fmt.Errorf("greeted with %+v: %v", greeting, err)
	}
	return r.beginOpenim(conn, user, json.Marshal, json.Unmarshal)
}

func (r *receiver) openOpenimGo(user string) error {
	conn, err := r.dialOpenim(user, "&compression=gzip")
	if err != nil {
		return err
	}
	return r.beginOpenim(conn, user, zipGob, unzipGob)
}

func (r *receiver) dialOpenim(user, query string) (*websocket.Conn, error) {
	url := "ws://%s/?sendID=%s&token=%s&platformID=%d&operationID=bench&isBackground=false"
	return r.dial(fmt.Sprintf(url, r.pool.Address, user, mint(user, webPlatform), webPlatform)+query, nil)
}

// beginOpenim asks what the SDKs ask first, and reads pushes. When the session is open is not told.
func (r *receiver) beginOpenim(conn *websocket.Conn, user string, encode func(any) ([]byte, error),
	decode func([]byte, any) error) error {
	asked, err := encode(openimRequest{ReqIdentifier: 1001, SendID: user, OperationID: "bench", MsgIncr: "1"})
	if err != nil {
		return err
	}
	if err := conn.WriteMessage(websocket.BinaryMessage, asked); err != nil {
		return err
	}
	go r.readAll(func() error {
		_, frame, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		var answer openimAnswer
		if err := decode(frame, &answer); err != nil {
			return err
		}
		if answer.ErrCode != 0 {
			return fmt.Errorf("answered with %d %s", answer.ErrCode, answer.ErrMsg)
		}
		if answer.ReqIdentifier != pushed {
			return nil
		}
		return r.takePushed(answer.Data)
	})
	return nil
}

// takePushed takes online pushes; what has a number would have to be pulled, and was not sent.
func (r *receiver) takePushed(data []byte) error {
	var push openimv1.PushMessages
	if err := proto.Unmarshal(data, &push); err != nil {
		return err
	}
	for _, of := range push.NotificationMsgs {
		for _, message := range of.Msgs {
			var content struct{ Detail string }
			var detail struct{ Data string }
			if err := json.Unmarshal(message.Content, &content); err != nil {
				return fmt.Errorf("not expected: %v", message)
			}
			if err := json.Unmarshal([]byte(content.Detail), &detail); err != nil {
				return err
			}
			r.take(&deliveryv1.Notification{Data: detail.Data})
		}
	}
	return nil
}

func zipGob(value any) ([]byte, error) {
	var zipped bytes.Buffer
	writer := gzip.NewWriter(&zipped)
	if err := gob.NewEncoder(writer).Encode(value); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return zipped.Bytes(), nil
}

func unzipGob(frame []byte, value any) error {
	reader, err := gzip.NewReader(bytes.NewReader(frame))
	if err != nil {
		return err
	}
	encoded, err := io.ReadAll(reader)
	if err != nil {
		return err
	}
	return gob.NewDecoder(bytes.NewReader(encoded)).Decode(value)
}

type probeArgs struct {
	Name string   `json:"name"`
	Send sendArgs `json:"send"`
}

// probe sends online pushes until two, one after the other, have come to all: then all sessions are open, and nothing
// more is on its way.
func probe(a probeArgs) (any, error) {
	pool, err := openPools.get(a.Name)
	if err != nil {
		return nil, err
	}
	s, err := openSender(a.Send.Address, 1, "")
	if err != nil {
		return nil, err
	}
	defer s.close()
	deadline := time.Now().Add(openingTimeout)
	good := 0
	for ordinal := int64(-1); time.Now().Before(deadline); ordinal-- {
		// Below the ordinals of the pushes that count.
		a.Send.Ordinal = ordinal
		before := pool.arrived.Load()
		if err := s.sendOne(a.Send, 0, time.Now()); err != nil {
			return nil, err
		}
		all := before + int64(len(pool.all))
		for last, since := before, time.Now(); last < all && time.Since(since) < probeQuiet; {
			time.Sleep(time.Millisecond)
			if arrived := pool.arrived.Load(); arrived != last {
				last, since = arrived, time.Now()
			}
		}
		if err := pool.problem(); err != nil {
			return nil, err
		}
		if pool.arrived.Load() != all {
			good = 0
		} else if good++; good == 2 {
			pool.latencies.Take()
			return nil, nil
		}
	}
	return nil, fmt.Errorf("two pushes have not come to all %d in time", len(pool.all))
}
