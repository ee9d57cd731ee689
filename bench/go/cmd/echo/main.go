// A grpc-go server that answers a send at once, with nothing behind it: the floor of a unary call.
package main

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	msgv1 "mustreach/msg/v1"
)

var answer = &msgv1.SendBusinessNotificationResponse{
	ServerMsgId: "8698dd5d163dd79b8fdfa333fee06f40", ClientMsgId: "1ca0e4cf279ad5cce6b28331b2b42092",
	SendTime: 1679558586210, Durability: msgv1.Durability_DURABILITY_NONE,
}

func send(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var request msgv1.SendBusinessNotificationRequest
	if err := decode(&request); err != nil {
		return nil, err
	}
	if received, _ := metadata.FromIncomingContext(ctx); len(received["token"]) == 0 || request.RecvUserId == "" {
		return nil, status.Error(codes.InvalidArgument, "no token, or no recipient")
	}
	return answer, nil
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(1<<20))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "mustreach.msg.v1.MsgService",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "SendBusinessNotification", Handler: send}},
	}, struct{}{})
	fmt.Printf("{\"port\":%d}\n", listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(server.Serve(listener))
}
