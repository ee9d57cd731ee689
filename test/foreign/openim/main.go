// A device of USER_ID as OpenIM's Go core is one: frames by Go's own encoding/gob and compress/gzip, over the WebSocket
// library that the core has, with its rule for what it pulls.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"

	openimv1 "mustreach/openim/v1"
)

// What is asked, and answered, by the names that OpenIM gives them.
type GeneralWsReq struct {
	ReqIdentifier int
	Token         string
	SendID        string
	OperationID   string
	MsgIncr       string
	Data          []byte
}

type GeneralWsResp struct {
	ReqIdentifier int
	ErrCode       int
	ErrMsg        string
	MsgIncr       string
	OperationID   string
	Data          []byte
}

const (
	getMaxSeq = 1001
	pull      = 1002
	push      = 2001
	kick      = 2002
	// The largest frame that the core takes, in bytes.
	maxFrameBytes = 1024 * 1024
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func post(path string, body map[string]any) {
	text, err := json.Marshal(body)
	check(err)
	request, err := http.NewRequest(http.MethodPost, "http://"+os.Getenv("ADDRESS")+path, bytes.NewReader(text))
	check(err)
	request.Header.Set("operationID", "foreign")
	request.Header.Set("token", os.Getenv("TOKEN"))
	response, err := http.DefaultClient.Do(request)
	check(err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	check(err)
	if !bytes.HasPrefix(answer, []byte(`{"errCode":0,`)) {
		log.Fatalf("%s: %s", path, answer)
	}
}

func send(data string, level int) {
	post("/msg/send_business_notification", map[string]any{
		"sendUserID": "imAdmin", "recvUserID": os.Getenv("USER_ID"), "key": "order.paid", "data": data,
		"reliabilityLevel": level,
	})
}

type device struct {
	conn     *websocket.Conn
	requests int
	synced   map[string]int64
	received []string
	// What was pushed and is not looked at: one thing after the other.
	pushed []GeneralWsResp
}

func connect() *device {
	url := fmt.Sprintf("ws://%s?sendID=%s&token=%s&platformID=5&operationID=foreign&isBackground=false&sdkVersion=3.8.0&compression=gzip",
		os.Getenv("ADDRESS"), os.Getenv("USER_ID"), os.Getenv("USER_TOKEN"))
	conn, _, err := websocket.DefaultDialer.Dial(url, nil)
	check(err)
	conn.SetReadLimit(maxFrameBytes)
	check(conn.SetReadDeadline(time.Now().Add(20 * time.Second)))
	return &device{conn: conn, synced: map[string]int64{}}
}

func (d *device) read() GeneralWsResp {
	kind, frame, err := d.conn.ReadMessage()
	check(err)
	if kind != websocket.BinaryMessage {
		log.Fatalf("expected a binary frame, got %s", frame)
	}
	reader, err := gzip.NewReader(bytes.NewReader(frame))
	check(err)
	encoded, err := io.ReadAll(reader)
	check(err)
	var answer GeneralWsResp
	check(gob.NewDecoder(bytes.NewReader(encoded)).Decode(&answer))
	return answer
}

// Asks, and keeps what is pushed until it is answered.
func (d *device) ask(kind int, request proto.Message) GeneralWsResp {
	data, err := proto.Marshal(request)
	check(err)
	d.requests++
	id := fmt.Sprintf("%s_%d", os.Getenv("USER_ID"), d.requests)
	var encoded, zipped bytes.Buffer
	asked := GeneralWsReq{ReqIdentifier: kind, SendID: os.Getenv("USER_ID"), OperationID: "foreign", MsgIncr: id, Data: data}
	check(gob.NewEncoder(&encoded).Encode(asked))
	writer := gzip.NewWriter(&zipped)
	_, err = writer.Write(encoded.Bytes())
	check(err)
	check(writer.Close())
	check(d.conn.WriteMessage(websocket.BinaryMessage, zipped.Bytes()))
	for {
		answer := d.read()
		if answer.MsgIncr == id {
			return answer
		}
		d.pushed = append(d.pushed, answer)
	}
}

func (d *device) call(messages []*openimv1.MsgData) {
	for _, message := range messages {
		var content struct{ Detail string }
		check(json.Unmarshal(message.Content, &content))
		var detail struct{ Key, Data string }
		check(json.Unmarshal([]byte(content.Detail), &detail))
		if message.ContentType != 2001 || detail.Key != "order.paid" {
			log.Fatalf("expected a business notification, got %v", message)
		}
		d.received = append(d.received, detail.Data)
	}
}

// Takes a push: what has no number at once, what follows its own number, and else it pulls all from there on.
func (d *device) take(pushed GeneralWsResp) {
	if pushed.ReqIdentifier != push {
		log.Fatalf("expected a push, got %+v", pushed)
	}
	var messages openimv1.PushMessages
	check(proto.Unmarshal(pushed.Data, &messages))
	for id, of := range messages.NotificationMsgs {
		var numbered []*openimv1.MsgData
		for _, message := range of.Msgs {
			if message.Seq == 0 {
				d.call([]*openimv1.MsgData{message})
			} else {
				numbered = append(numbered, message)
			}
		}
		if len(numbered) == 0 {
			continue
		}
		last := numbered[len(numbered)-1].Seq
		if last == d.synced[id]+int64(len(numbered)) {
			d.call(numbered)
			d.synced[id] = last
		} else if last > d.synced[id] {
			d.pull(id, last)
		}
	}
}

func (d *device) pull(id string, last int64) {
	wanted := &openimv1.SeqRange{ConversationId: id, Begin: d.synced[id] + 1, End: last, Num: 10}
	answer := d.ask(pull, &openimv1.PullMessagesBySeqsRequest{UserId: os.Getenv("USER_ID"), SeqRanges: []*openimv1.SeqRange{wanted}})
	if answer.ErrCode != 0 {
		return
	}
	var pulled openimv1.PullMessagesBySeqsResponse
	check(proto.Unmarshal(answer.Data, &pulled))
	for _, of := range pulled.NotificationMsgs {
		d.call(of.Msgs)
	}
	d.synced[id] = last
}

func (d *device) until(expected ...string) {
	for len(d.received) < len(expected) {
		if len(d.pushed) == 0 {
			d.pushed = append(d.pushed, d.read())
		}
		next := d.pushed[0]
		d.pushed = d.pushed[1:]
		d.take(next)
	}
	if strings.Join(d.received, "|") != strings.Join(expected, "|") {
		log.Fatalf("expected %q, got %q", expected, d.received)
	}
}

func main() {
	large := strings.Repeat("0123456789abcdef", 12_000)
	before := []string{"1", large, large, large, large, large, large, "8"}
	for _, data := range before {
		send(data, 2)
	}
	first := connect()
	if answer := first.ask(getMaxSeq, &openimv1.GetMaxSeqResponse{}); answer.ErrCode != 0 {
		log.Fatalf("expected an answer, got %+v", answer)
	}
	first.until(before...)

	exact := "{\"text\":\"\\\"quoted\\\"\"}\u2028\x00😀"
	send(exact, 1)
	first.until(append(before, exact)...)
	send(exact, 2)
	first.until(append(before, exact, exact)...)

	// Its number is what counts: what it has is not given again.
	check(first.conn.Close())
	send("away", 2)
	second := connect()
	second.synced = first.synced
	second.until("away")

	post("/auth/force_logout", map[string]any{"userID": os.Getenv("USER_ID"), "platformID": 5})
	if kicked := second.read(); kicked.ReqIdentifier != kick {
		log.Fatalf("expected to be kicked, got %+v", kicked)
	}
	fmt.Printf("got %d before it came, 2 while it was there, 1 after it was away; was kicked", len(before))
}
