// Sends to USER_ID, receives, acknowledges, and reads the details of an error.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	deliveryv1 "mustreach/delivery/v1"
	msgv1 "mustreach/msg/v1"
)

func readErrorInfo(err error) *errdetails.ErrorInfo {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	log.Fatalf("the error has no ErrorInfo: %v", err)
	return nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func subscribe(ctx context.Context, delivery deliveryv1.DeliveryServiceClient) grpc.ServerStreamingClient[deliveryv1.SubscribeResponse] {
	stream, err := delivery.Subscribe(ctx, &deliveryv1.SubscribeRequest{DeviceId: "phone"})
	check(err)
	return stream
}

func main() {
	conn, err := grpc.NewClient(os.Getenv("ADDRESS"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	admin := metadata.AppendToOutgoingContext(ctx, "token", os.Getenv("TOKEN"))
	user := metadata.AppendToOutgoingContext(ctx, "token", os.Getenv("USER_TOKEN"))
	msg := msgv1.NewMsgServiceClient(conn)
	delivery := deliveryv1.NewDeliveryServiceClient(conn)

	request := &msgv1.SendBusinessNotificationRequest{
		SendUserId: "imAdmin", RecvUserId: os.Getenv("USER_ID"), Key: "order.paid", Data: proto.String("{}"),
		ReliabilityLevel: proto.Int32(2),
	}
	sent, err := msg.SendBusinessNotification(admin, request)
	check(err)

	first, stop := context.WithCancel(user)
	stream := subscribe(first, delivery)
	event, err := stream.Recv()
	check(err)
	if event.GetReady().GetPending() != 1 {
		log.Fatalf("expected one that waits, not %v", event)
	}
	event, err = stream.Recv()
	check(err)
	got := event.GetNotification()
	if got.GetServerMsgId() != sent.ServerMsgId || got.GetKey() != "order.paid" || got.GetData() != "{}" {
		log.Fatalf("expected what was sent, not %v", event)
	}
	_, err = delivery.Ack(user, &deliveryv1.AckRequest{DeviceId: "phone", Sequence: got.Sequence})
	check(err)
	stop()

	event, err = subscribe(user, delivery).Recv()
	check(err)
	if event.GetReady().GetResumeSequence() != got.Sequence {
		log.Fatalf("expected to resume after %d, not %v", got.Sequence, event)
	}

	request.Key = ""
	_, err = msg.SendBusinessNotification(admin, request)
	info := readErrorInfo(err)
	if info.Reason != "ARGS_ERROR" || info.Metadata["errCode"] != "1001" {
		log.Fatalf("expected 1001, not %v", info)
	}
	fmt.Printf("sequence %d, then %s %s\n", got.Sequence, info.Metadata["errMsg"], info.Metadata["errCode"])
}
