package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"mustreach/measure"
)

type restArgs struct {
	Address     string       `json:"address"`
	Path        string       `json:"path"`
	Connections int          `json:"connections"`
	To          recipients   `json:"to"`
	Level       int          `json:"level"`
	Pace        measure.Pace `json:"pace"`
}

// restConnection makes one request after the other over HTTP/1.1.
type restConnection struct {
	net.Conn
	reader *bufio.Reader
}

// sendRest makes sends over REST, each over a connection that is free; each is answered well, or it is an error.
func sendRest(a restArgs) (any, error) {
	free := make(chan *restConnection, a.Connections)
	for range a.Connections {
		conn, err := net.Dial("tcp", a.Address)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		free <- &restConnection{conn, bufio.NewReader(conn)}
	}
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\noperationID: bench\r\n"+
		"token: %s\r\nContent-Length: ", a.Path, a.Address, adminToken())
	return measure.Drive(a.Pace, func(n int, due time.Time) error {
		body, err := json.Marshal(map[string]any{
			"sendUserID": "imAdmin", "recvUserID": a.To.user(n), "recvGroupID": "", "key": "order.paid",
			"data": toData(int64(n), due), "sendMsg": false, "reliabilityLevel": a.Level,
		})
		if err != nil {
			return err
		}
		conn := <-free
		defer func() { free <- conn }()
		return conn.exchange(fmt.Appendf(nil, "%s%d\r\n\r\n%s", head, len(body), body))
	})
}

func (c *restConnection) exchange(request []byte) error {
	if err := c.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return err
	}
	if _, err := c.Write(request); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != 200 || !bytes.HasPrefix(body, []byte(`{"errCode":0,`)) || !bytes.Contains(body, []byte(`"serverMsgID":"`)) {
		return fmt.Errorf("HTTP %d: %.200s", response.StatusCode, body)
	}
	return nil
}
