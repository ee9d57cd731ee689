// Sends one notification, or receives and prints: `client send USER ID KEY DATA`, `client receive`.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"

	deliveryv1 "mustreach/delivery/v1"
	msgv1 "mustreach/msg/v1"
)

// readToken reads the token's file, in which whoever renews the token puts the new one.
func readToken() (string, error) {
	text, err := os.ReadFile(os.Getenv("TOKEN_FILE"))
	return strings.TrimSpace(string(text)), err
}

func say(words ...any) {
	line := strings.TrimSuffix(strings.Repeat("%v\t", len(words)), "\t")
	fmt.Printf(line+"\n", words...)
}

func handle(event *deliveryv1.SubscribeResponse) error {
	switch event := event.Event.(type) {
	case *deliveryv1.SubscribeResponse_Ready:
		say("ready", event.Ready.ResumeSequence)
	case *deliveryv1.SubscribeResponse_Notification:
		got, kind := event.Notification, "notification"
		if got.Sequence == 0 {
			kind = "push"
		}
		say(kind, got.Sequence, got.ClientMsgId, got.Key, got.Data)
	case *deliveryv1.SubscribeResponse_Message:
		got := event.Message.GetNotification()
		say("message", got.GetSequence(), got.GetClientMsgId(), event.Message.ConversationId)
	case *deliveryv1.SubscribeResponse_Recall:
		say("recall", event.Recall.Sequence, event.Recall.ClientMsgId)
	case *deliveryv1.SubscribeResponse_Settled:
		say("settled", event.Settled.Sequence, event.Settled.ClientMsgId)
	case *deliveryv1.SubscribeResponse_Gap:
		say("gap", event.Gap.To, event.Gap.Reason)
	}
	return nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	ctx := context.Background()
	conn, err := Connect(os.Getenv("ADDRESS"), TLS{
		CAFile: os.Getenv("CA_FILE"), CertFile: os.Getenv("CERT_FILE"), KeyFile: os.Getenv("KEY_FILE"),
	})
	check(err)
	var failed *Error

	switch args := os.Args[1:]; args[0] {
	case "send":
		sent, err := Send(ctx, conn, readToken, &msgv1.SendBusinessNotificationRequest{
			SendUserId: "imAdmin", RecvUserId: args[1], ClientMsgId: args[2], Key: args[3], Data: proto.String(args[4]),
			ReliabilityLevel: proto.Int32(2),
		})
		if errors.As(err, &failed) {
			say("error", failed.ErrCode, failed.ErrMsg, strings.Join(failed.Fields, ","))
			os.Exit(1)
		}
		check(err)
		say("sent", sent.ClientMsgId, sent.ServerMsgId)
	case "receive":
		record, err := LoadRecord(os.Getenv("STATE_FILE"))
		check(err)
		receiver := &Receiver{
			Conn: conn, Token: readToken, DeviceID: os.Getenv("DEVICE_ID"), Record: record, Handle: handle,
			OnExpired: func() { say("expired") },
		}
		if err := receiver.Run(ctx); errors.As(err, &failed) {
			say("ended", failed.ErrCode, failed.ErrMsg, failed.ErrDlt)
			os.Exit(1)
		}
	}
}
