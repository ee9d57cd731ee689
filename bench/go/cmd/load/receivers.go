package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	deliveryv1 "mustreach/delivery/v1"
	"mustreach/measure"
)

const (
	receiveMethod   = "/mustreach.delivery.v1.DeliveryService/Receive"
	subscribeMethod = "/mustreach.delivery.v1.DeliveryService/Subscribe"
	arrivalTimeout  = 60 * time.Second
)

type openArgs struct {
	Name          string     `json:"name"`
	Address       string     `json:"address"`
	Users         recipients `json:"users"`
	PerConnection int        `json:"perConnection"`
	Device        string     `json:"device"`
	Window        int32      `json:"window"`
	// AckEvery so many notifications; 0: never.
	AckEvery int `json:"ackEvery"`
	// MaxAcks a receiver; 0: no limit.
	MaxAcks int `json:"maxAcks"`
	// Door by which they receive, of the doors beside gRPC; empty: by gRPC.
	Door string `json:"door"`
	// Parallel is how many are opened at a time; 0: all.
	Parallel int `json:"parallel"`
	// Await so many notifications each, before the receivers count as open.
	Await int `json:"await"`
}

// receiver is one session of a device.
type receiver struct {
	pool *receivers
	conn *grpc.ClientConn
	ctx  context.Context
	// Of both directions, and only one at a time may send.
	stream  grpc.ClientStream
	sending sync.Mutex
	// What ends the connection of another door than gRPC.
	closer io.Closer
	// What came last, and what has come: a push by its ordinal, a stored notification by its sequence.
	lastOrdinal  int64
	lastSequence uint64
	epoch        string
	got          int
	seen         map[int64]struct{}
}

// receivers are sessions that are open together.
type receivers struct {
	openArgs
	cancel    context.CancelFunc
	conns     []*grpc.ClientConn
	all       []*receiver
	arrived   atomic.Int64
	target    atomic.Int64
	reached   atomic.Pointer[chan struct{}]
	acks      sync.WaitGroup
	problems  atomic.Int64
	first     atomic.Pointer[error]
	latencies measure.Latencies
}

var (
	subscribeStream = grpc.StreamDesc{StreamName: "Subscribe", ServerStreams: true}
	receiveStream   = grpc.StreamDesc{StreamName: "Receive", ServerStreams: true, ClientStreams: true}
)

// openReceivers opens sessions; it answers when each has had `ready`, and as many notifications as it is to await.
func openReceivers(a openArgs) (*receivers, measure.Percentiles, error) {
	ctx, cancel := context.WithCancel(context.Background())
	pool := &receivers{openArgs: a, cancel: cancel}
	begin, isOther := doors[a.Door]
	if a.Door != "" && !isOther {
		return nil, measure.Percentiles{}, fmt.Errorf("there is no door %s", a.Door)
	}
	for n := 0; !isOther && n < a.Users.Count; n += max(1, a.PerConnection) {
		conn, err := dial(a.Address)
		if err != nil {
			return nil, measure.Percentiles{}, err
		}
		pool.conns = append(pool.conns, conn)
	}
	awaited := pool.expect(int64(a.Users.Count * a.Await))
	turns := make(chan struct{}, max(1, a.Parallel))
	if a.Parallel == 0 {
		turns = make(chan struct{}, a.Users.Count)
	}
	var opening measure.Latencies
	var wait sync.WaitGroup
	errs := make(chan error, a.Users.Count)
	for n := range a.Users.Count {
		user := a.Users.user(n)
		r := &receiver{pool: pool, ctx: ctx, lastOrdinal: -1}
		open := func() error { return begin(r, user) }
		if !isOther {
			r.conn = pool.conns[n/max(1, a.PerConnection)]
			r.ctx = metadata.AppendToOutgoingContext(ctx, "token", mint(user, webPlatform))
			open = r.open
		}
		pool.all = append(pool.all, r)
		wait.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			start := time.Now()
			if err := open(); err != nil {
				errs <- fmt.Errorf("%s: %w", user, err)
				return
			}
			opening.Add(time.Since(start))
		})
	}
	wait.Wait()
	select {
	case err := <-errs:
		pool.close()
		return nil, measure.Percentiles{}, err
	default:
	}
	if err := pool.wait(awaited); err != nil {
		pool.close()
		return nil, measure.Percentiles{}, err
	}
	return pool, opening.Take(), nil
}

// In one stream of both directions; else by Subscribe and Ack, as services before 0.2 have it.
var receives = os.Getenv("BENCH_RECEIVES") == "true"

// begin asks for the session, by either method.
func (r *receiver) begin() (grpc.ClientStream, error) {
	subscribe := &deliveryv1.SubscribeRequest{DeviceId: r.pool.Device, Window: r.pool.Window}
	// A server that is busy may let a connection wait.
	if !receives {
		s, err := r.conn.NewStream(r.ctx, &subscribeStream, subscribeMethod, grpc.WaitForReady(true))
		if err != nil {
			return nil, err
		}
		return s, errors.Join(s.SendMsg(subscribe), s.CloseSend())
	}
	s, err := r.conn.NewStream(r.ctx, &receiveStream, receiveMethod, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	r.stream = s
	return s, s.SendMsg(&deliveryv1.ReceiveRequest{Request: &deliveryv1.ReceiveRequest_Subscribe{Subscribe: subscribe}})
}

// open begins the session and reads `ready`; what follows is read behind its back.
func (r *receiver) open() error {
	s, err := r.begin()
	if err != nil {
		return err
	}
	var first deliveryv1.SubscribeResponse
	if err := s.RecvMsg(&first); err != nil {
		return err
	}
	if first.GetReady() == nil {
		return fmt.Errorf("the first event is %v", &first)
	}
	go r.read(s)
	return nil
}

func (r *receiver) read(s grpc.ClientStream) {
	for {
		var event deliveryv1.SubscribeResponse
		if err := s.RecvMsg(&event); err != nil {
			if r.ctx.Err() == nil {
				r.pool.fail(err)
			}
			return
		}
		switch {
		case event.GetNotification() != nil:
			r.take(event.GetNotification())
		case event.GetHeartbeat() == nil:
			r.pool.fail(fmt.Errorf("not expected: %v", &event))
		}
	}
}

// take checks that a push follows the one before, and that a stored notification has a higher place than the one before
// and has not come yet.
func (r *receiver) take(n *deliveryv1.Notification) {
	now := time.Now()
	ordinal, due, err := readData(n.Data)
	if err != nil {
		r.pool.fail(err)
		return
	}
	if n.Sequence == 0 {
		if r.lastOrdinal >= 0 && ordinal != r.lastOrdinal+1 {
			r.pool.fail(fmt.Errorf("push %d came after %d", ordinal, r.lastOrdinal))
		}
		r.lastOrdinal = ordinal
	} else {
		if n.Sequence <= r.lastSequence {
			r.pool.fail(fmt.Errorf("sequence %d came after %d", n.Sequence, r.lastSequence))
		}
		r.lastSequence, r.epoch = n.Sequence, n.Epoch
		if r.seen == nil {
			r.seen = map[int64]struct{}{}
		}
		if _, twice := r.seen[ordinal]; twice {
			r.pool.fail(fmt.Errorf("%d came twice", ordinal))
		}
		r.seen[ordinal] = struct{}{}
	}
	r.got++
	r.pool.latencies.Add(now.Sub(due))
	if every := r.pool.AckEvery; every > 0 && n.Sequence > 0 && r.got%every == 0 &&
		(r.pool.MaxAcks == 0 || r.got/every <= r.pool.MaxAcks) {
		r.ack(n.Sequence, n.Epoch)
	}
	// With what its acknowledgements let in it must not stand for another, which may not have acknowledged yet.
	if r.pool.MaxAcks == 0 || r.got <= r.pool.Await {
		r.pool.arrive()
	}
}

// expect is to be called before what is expected can come.
func (p *receivers) expect(more int64) chan struct{} {
	reached := make(chan struct{})
	if more == 0 {
		close(reached)
		return reached
	}
	p.reached.Store(&reached)
	p.target.Store(p.arrived.Load() + more)
	return reached
}

func (p *receivers) arrive() {
	if arrived := p.arrived.Add(1); arrived == p.target.Load() {
		close(*p.reached.Load())
	}
}

// wait until what was expected has come; what was wrong with it is an error.
func (p *receivers) wait(reached chan struct{}) error {
	deadline := time.After(arrivalTimeout)
	for {
		select {
		case <-reached:
			return p.problem()
		case <-deadline:
			if err := p.problem(); err != nil {
				return err
			}
			return fmt.Errorf("%d of %d have come in time", p.arrived.Load(), p.target.Load())
		}
	}
}

func (p *receivers) fail(err error) {
	p.problems.Add(1)
	p.first.CompareAndSwap(nil, &err)
}

func (p *receivers) problem() error {
	if first := p.first.Load(); first != nil {
		return errors.Join(fmt.Errorf("%d problems with what came, the first", p.problems.Load()), *first)
	}
	return nil
}

func (p *receivers) close() {
	p.acks.Wait()
	p.cancel()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	for _, r := range p.all {
		if r.closer != nil {
			_ = r.closer.Close()
		}
	}
}
