// Sends to USER_ID, receives, acknowledges, and reads the details of an error: over gRPC, Connect and gRPC-Web, each on
// HTTP/2 without TLS.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"

	deliveryv1 "mustreach/delivery/v1"
	"mustreach/delivery/v1/deliveryv1connect"
	msgv1 "mustreach/msg/v1"
	"mustreach/msg/v1/msgv1connect"
)

// Adds the token of the caller to each call.
type caller string

func (token caller) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		request.Header().Set("token", string(token))
		return next(ctx, request)
	}
}

func (token caller) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("token", string(token))
		return conn
	}
}

func (token caller) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func readErrorInfo(err error) *errdetails.ErrorInfo {
	var wrapped *connect.Error
	if errors.As(err, &wrapped) {
		for _, detail := range wrapped.Details() {
			value, err := detail.Value()
			check(err)
			if info, ok := value.(*errdetails.ErrorInfo); ok {
				return info
			}
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

func next(stream *connect.ServerStreamForClient[deliveryv1.SubscribeResponse]) *deliveryv1.SubscribeResponse {
	if !stream.Receive() {
		log.Fatalf("the stream has ended: %v", stream.Err())
	}
	return stream.Msg()
}

func try(device string, options ...connect.ClientOption) uint64 {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	url := "http://" + os.Getenv("ADDRESS")
	with := func(token string) []connect.ClientOption {
		return append([]connect.ClientOption{connect.WithInterceptors(caller(os.Getenv(token)))}, options...)
	}
	msg := msgv1connect.NewMsgServiceClient(client, url, with("TOKEN")...)
	delivery := deliveryv1connect.NewDeliveryServiceClient(client, url, with("USER_TOKEN")...)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	subscribe := func(ctx context.Context, start deliveryv1.Start) *connect.ServerStreamForClient[deliveryv1.SubscribeResponse] {
		stream, err := delivery.Subscribe(ctx, connect.NewRequest(&deliveryv1.SubscribeRequest{DeviceId: device, Start: start}))
		check(err)
		return stream
	}

	first, stop := context.WithCancel(ctx)
	stream := subscribe(first, deliveryv1.Start_START_NEW)
	if next(stream).GetReady() == nil {
		log.Fatalf("expected to be ready, not %v", stream.Msg())
	}
	request := &msgv1.SendBusinessNotificationRequest{
		SendUserId: "imAdmin", RecvUserId: os.Getenv("USER_ID"), Key: "order.paid", Data: proto.String("{}"),
		ReliabilityLevel: proto.Int32(2),
	}
	sent, err := msg.SendBusinessNotification(ctx, connect.NewRequest(request))
	check(err)
	got := next(stream).GetNotification()
	if got.GetServerMsgId() != sent.Msg.ServerMsgId || got.GetKey() != "order.paid" || got.GetData() != "{}" {
		log.Fatalf("expected what was sent, not %v", stream.Msg())
	}
	sequence := got.Sequence
	_, err = delivery.Ack(ctx, connect.NewRequest(&deliveryv1.AckRequest{DeviceId: device, Sequence: sequence}))
	check(err)
	stop()
	if err := stream.Close(); err != nil && connect.CodeOf(err) != connect.CodeCanceled {
		log.Fatal(err)
	}

	again := next(subscribe(ctx, deliveryv1.Start_START_RESUME))
	if again.GetReady().GetResumeSequence() != sequence {
		log.Fatalf("expected to resume after %d, not %v", sequence, again)
	}

	request.Key = ""
	_, err = msg.SendBusinessNotification(ctx, connect.NewRequest(request))
	if info := readErrorInfo(err); info.Reason != "ARGS_ERROR" || info.Metadata["errCode"] != "1001" {
		log.Fatalf("expected 1001, not %v", info)
	}
	return sequence
}

func main() {
	connectAt := try("connect")
	grpcAt := try("grpc", connect.WithGRPC())
	webAt := try("grpc-web", connect.WithGRPCWeb())
	fmt.Printf("sequence %d over Connect, %d over gRPC, %d over gRPC-Web\n", connectAt, grpcAt, webAt)
}
