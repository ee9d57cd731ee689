package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	directoryv1 "mustreach/directory/v1"
	"mustreach/measure"
	msgv1 "mustreach/msg/v1"
)

const (
	sendMethod  = "/mustreach.msg.v1.MsgService/SendBusinessNotification"
	batchMethod = "/mustreach.msg.v1.MsgService/SendBusinessNotificationBatch"
	groupMethod = "/mustreach.directory.v1.GroupService/CreateGroup"
	callTimeout = 60 * time.Second
)

// Windows, in bytes, in which nothing that is measured has to wait for its reader.
const (
	streamWindow     = 1 << 20
	connectionWindow = 1 << 24
)

func dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<24)))
}

// recipients are users of a name and a number, or one group.
type recipients struct {
	Prefix string `json:"prefix"`
	From   int    `json:"from"`
	Count  int    `json:"count"`
	Group  string `json:"group"`
}

func (r recipients) user(n int) string {
	return fmt.Sprintf("%s%d", r.Prefix, r.From+n%max(1, r.Count))
}

type sendArgs struct {
	Address     string       `json:"address"`
	Connections int          `json:"connections"`
	To          recipients   `json:"to"`
	Level       int32        `json:"level"`
	Batch       int          `json:"batch"`
	Ordinal     int64        `json:"ordinal"`
	// Caller is an admin; empty: imAdmin.
	Caller string `json:"caller"`
	// Waits says whether a refused call waits for as long as the answer asks before the next is made in its place.
	Waits bool `json:"waits"`
	Pace        measure.Pace `json:"pace"`
}

// sender makes calls over a few connections.
type sender struct {
	conns []*grpc.ClientConn
	ctx   context.Context
}

// openSender connects, so that no call has to.
func openSender(address string, connections int, caller string) (*sender, error) {
	token := adminToken()
	if caller != "" {
		token = mint(caller, adminPlatform)
	}
	s := &sender{ctx: metadata.AppendToOutgoingContext(context.Background(), "token", token, "operationid", "bench")}
	for range max(1, connections) {
		conn, err := dial(address)
		if err != nil {
			return nil, err
		}
		s.conns = append(s.conns, conn)
		if err := waitReady(conn); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *sender) close() {
	for _, conn := range s.conns {
		_ = conn.Close()
	}
}

func (s *sender) call(n int, method string, request, response proto.Message, options ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	return s.conns[n%len(s.conns)].Invoke(ctx, method, request, response, options...)
}

// request of the n-th send.
func (a sendArgs) request(n int, due time.Time) *msgv1.SendBusinessNotificationRequest {
	request := &msgv1.SendBusinessNotificationRequest{
		SendUserId: "imAdmin", Key: "order.paid", Data: proto.String(toData(a.Ordinal+int64(n), due)),
		ReliabilityLevel: proto.Int32(a.Level),
	}
	if a.To.Group != "" {
		request.RecvGroupId = a.To.Group
	} else {
		request.RecvUserId = a.To.user(n)
	}
	return request
}

// send makes sends, alone or in batches; each is answered well, or it is an error.
func send(a sendArgs) (any, error) {
	s, err := openSender(a.Address, a.Connections, a.Caller)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return measure.Drive(a.Pace, func(n int, due time.Time) error {
		if a.Batch > 0 {
			return s.sendBatch(a, n, due)
		}
		return s.sendOne(a, n, due)
	})
}

func (s *sender) sendOne(a sendArgs, n int, due time.Time) error {
	var response msgv1.SendBusinessNotificationResponse
	var trailer metadata.MD
	if err := s.call(n, sendMethod, a.request(n, due), &response, grpc.Trailer(&trailer)); err != nil {
		if a.Waits {
			time.Sleep(pushback(trailer))
		}
		return err
	}
	if response.ServerMsgId == "" || response.SendTime == 0 {
		return errors.New("an answer without id or time")
	}
	return nil
}

// pushback is how long an answer asks to wait, as gRPC's clients read it.
func pushback(trailer metadata.MD) time.Duration {
	for _, ms := range trailer.Get("grpc-retry-pushback-ms") {
		if wait, err := strconv.Atoi(ms); err == nil {
			return time.Duration(wait) * time.Millisecond
		}
	}
	return 0
}

func (s *sender) sendBatch(a sendArgs, n int, due time.Time) error {
	request := &msgv1.SendBusinessNotificationBatchRequest{}
	for i := range a.Batch {
		request.Notifications = append(request.Notifications, a.request(n*a.Batch+i, due))
	}
	var response msgv1.SendBusinessNotificationBatchResponse
	if err := s.call(n, batchMethod, request, &response); err != nil {
		return err
	}
	if len(response.Results) != a.Batch {
		return fmt.Errorf("%d results for %d", len(response.Results), a.Batch)
	}
	for _, result := range response.Results {
		if result.ErrCode != 0 || result.Data.GetServerMsgId() == "" {
			return fmt.Errorf("of a batch: %d %s %s", result.ErrCode, result.ErrMsg, result.ErrDlt)
		}
	}
	return nil
}

type groupArgs struct {
	Address string     `json:"address"`
	Group   string     `json:"group"`
	Members recipients `json:"members"`
}

func createGroup(a groupArgs) (any, error) {
	s, err := openSender(a.Address, 1, "")
	if err != nil {
		return nil, err
	}
	defer s.close()
	request := &directoryv1.CreateGroupRequest{
		OwnerUserId: "owner", GroupInfo: &directoryv1.GroupInfo{GroupId: a.Group, GroupName: a.Group, GroupType: 2},
	}
	for n := range a.Members.Count {
		request.MemberUserIds = append(request.MemberUserIds, a.Members.user(n))
	}
	var response directoryv1.CreateGroupResponse
	return nil, s.call(0, groupMethod, request, &response)
}
