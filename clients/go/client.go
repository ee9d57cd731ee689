package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	deliveryv1 "mustreach/delivery/v1"
	msgv1 "mustreach/msg/v1"
)

const (
	// How long one attempt to send may take, and all of them together.
	attemptTimeout = 10 * time.Second
	sendTimeout    = 60 * time.Second
	// The delays before connecting or sending again: doubled each time, random in part.
	minDelay = 500 * time.Millisecond
	maxDelay = 30 * time.Second
	// A stream that is silent for three heartbeats of the service (15 s each) is dead.
	idleTimeout = 50 * time.Second

	tokenExpired = 1501
)

// Error is what an error says, from its google.rpc details. ErrCode is 0 when the service did not answer.
type Error struct {
	ErrCode        int
	ErrMsg, ErrDlt string
	// IsRetryable says whether trying again may mend it, after RetryAfter.
	IsRetryable bool
	RetryAfter  time.Duration
	// Fields are those of the request that were wrong.
	Fields []string
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%d): %s", e.ErrMsg, e.ErrCode, e.ErrDlt) }

// IsFatal says whether connecting again does not mend it: a wrong argument, no permission, a token that is wrong or was
// revoked.
func (e *Error) IsFatal() bool {
	switch e.ErrCode {
	case 1001, 1002, 1503, 1504, 1505, 1506, 1507:
		return true
	}
	return false
}

func readError(err error) *Error {
	st := status.Convert(err)
	read := &Error{ErrMsg: st.Code().String(), ErrDlt: st.Message()}
	for _, detail := range st.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.Domain == "mustreach" {
				read.ErrCode, _ = strconv.Atoi(detail.Metadata["errCode"])
				read.ErrMsg, read.ErrDlt = detail.Metadata["errMsg"], detail.Metadata["errDlt"]
			}
		case *errdetails.RetryInfo:
			read.IsRetryable, read.RetryAfter = true, detail.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				read.Fields = append(read.Fields, violation.Field)
			}
		}
	}
	// The network's own errors have no details.
	if read.ErrCode == 0 {
		switch st.Code() {
		case codes.Unavailable, codes.DeadlineExceeded:
			read.IsRetryable = true
		}
	}
	return read
}

// backoff is how often it has failed; its delays are random in part so that clients spread out.
type backoff int

func (b *backoff) next() time.Duration {
	delay := min(maxDelay, minDelay<<min(*b, 10))
	*b++
	return delay/2 + rand.N(delay/2)
}

// TLS is what a channel over TLS takes, in PEM: the file of the authorities that are believed, and, for mTLS, those of the
// client's own certificate and its key.
type TLS struct{ CAFile, CertFile, KeyFile string }

// Connect opens a channel: over TLS with a CAFile, else in plain text. It connects by itself.
func Connect(address string, files TLS) (*grpc.ClientConn, error) {
	if files.CAFile == "" {
		return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	pem, err := os.ReadFile(files.CAFile)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate", files.CAFile)
	}
	if files.CertFile != "" {
		// For each connection anew: certificates are replaced while it runs.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			own, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
			return &own, err
		}
	}
	return grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
}

// Send sends until there is an answer. The request has a ClientMsgId, so that it is accepted once.
func Send(ctx context.Context, conn *grpc.ClientConn, token func() (string, error), request *msgv1.SendBusinessNotificationRequest) (*msgv1.SendBusinessNotificationResponse, error) {
	if request.ClientMsgId == "" {
		return nil, errors.New("a send that is tried again needs a ClientMsgId")
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	var failures backoff
	for {
		current, err := token()
		if err != nil {
			return nil, err
		}
		attempt, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "token", current), attemptTimeout)
		sent, err := msgv1.NewMsgServiceClient(conn).SendBusinessNotification(attempt, request)
		cancel()
		if err == nil {
			return sent, nil
		}
		read := readError(err)
		if !read.IsRetryable {
			return nil, read
		}
		select {
		case <-time.After(max(read.RetryAfter, failures.next())):
		case <-ctx.Done():
			return nil, read
		}
		// Not to wait for grpc's own back-off as well, which grows to two minutes.
		conn.ResetConnectBackoff()
	}
}

// Record is how far the device is: the sequence and its epoch, in a file. Keep it where your handler's effects are, in the
// same transaction, and each notification takes effect exactly once even when the machine dies in between.
type Record struct {
	path     string
	isThere  bool
	sequence uint64
	epoch    string
}

// LoadRecord reads a record; a file that is not there is that of a new device.
func LoadRecord(path string) (*Record, error) {
	record := &Record{path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record, nil
	} else if err != nil {
		return nil, err
	}
	// Of what was stored by version 0.1 there is no epoch.
	if n, err := fmt.Sscan(string(text), &record.sequence, &record.epoch); n == 0 {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	record.isThere = true
	return record, nil
}

func (r *Record) save(sequence uint64, epoch string) error {
	file, err := os.Create(r.path + ".new")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, sequence, epoch)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(r.path+".new", r.path); err != nil {
		return err
	}
	r.isThere, r.sequence, r.epoch = true, sequence, epoch
	return nil
}

// Receiver receives for one device.
type Receiver struct {
	Conn     *grpc.ClientConn
	Token    func() (string, error)
	DeviceID string
	Record   *Record
	// Handle gets each event once, in order. What it fails to handle comes again.
	Handle func(*deliveryv1.SubscribeResponse) error
	// OnExpired says that a new token is needed.
	OnExpired func()

	failures backoff
}

// Run runs one session after another, until the context ends or with an error that connecting again does not mend.
func (r *Receiver) Run(ctx context.Context) error {
	refused := ""
	for ctx.Err() == nil {
		var advice time.Duration
		token, err := r.Token()
		// After 1501 with a new token only.
		if err == nil && token != refused {
			advice, err = r.runSession(ctx, token)
		}
		if err != nil {
			read := readError(err)
			switch {
			case read.IsFatal():
				return read
			case read.ErrCode == tokenExpired:
				refused = token
				r.OnExpired()
				continue
			}
			advice = read.RetryAfter
		}
		delay := r.failures.next()
		if advice > 0 {
			// At least as long as the service asks for, and not all devices at once.
			delay = advice + rand.N(max(minDelay, advice/2))
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
		r.Conn.ResetConnectBackoff()
	}
	return ctx.Err()
}

// runSession runs one stream to its end. It returns the service's advice how long to wait.
func (r *Receiver) runSession(ctx context.Context, token string) (time.Duration, error) {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "token", token))
	defer cancel()
	watchdog := time.AfterFunc(idleTimeout, cancel)
	defer watchdog.Stop()

	stream, err := deliveryv1.NewDeliveryServiceClient(r.Conn).Receive(ctx)
	if err != nil {
		return 0, err
	}
	subscribe := &deliveryv1.SubscribeRequest{DeviceId: r.DeviceID, Epoch: r.Record.epoch}
	if r.Record.isThere {
		subscribe.AfterSequence = proto.Uint64(r.Record.sequence)
	}
	if err := write(stream, &deliveryv1.ReceiveRequest{Request: &deliveryv1.ReceiveRequest_Subscribe{Subscribe: subscribe}}); err != nil {
		return 0, err
	}
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return 0, nil
		} else if err != nil {
			return 0, err
		}
		watchdog.Reset(idleTimeout)
		if reconnect := event.GetReconnect(); reconnect != nil {
			return time.Duration(reconnect.AfterMs) * time.Millisecond, nil
		}
		if err := r.take(stream, event); err != nil {
			return 0, err
		}
	}
}

type receiveStream = grpc.BidiStreamingClient[deliveryv1.ReceiveRequest, deliveryv1.SubscribeResponse]

// write writes to the stream. Of a stream that has ended, Recv tells why.
func write(stream receiveStream, request *deliveryv1.ReceiveRequest) error {
	if err := stream.Send(request); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// take handles one event, records it and acknowledges it, in this order.
func (r *Receiver) take(stream receiveStream, event *deliveryv1.SubscribeResponse) error {
	if ready := event.GetReady(); ready != nil {
		r.failures = 0
		// Another store than the one we know: take what comes.
		if r.Record.isThere && ready.ResumeSequence < r.Record.sequence {
			if err := r.Record.save(ready.ResumeSequence, ready.Epoch); err != nil {
				return err
			}
		}
		return r.Handle(event)
	}
	sequence, epoch, isKnown := placeOf(event)
	// A heartbeat, or an event of a newer service.
	if !isKnown {
		return nil
	}
	// An online push has no place, and is neither recorded nor acknowledged.
	if sequence == 0 {
		return r.Handle(event)
	}
	isNew := !r.Record.isThere || sequence > r.Record.sequence
	// It sets the record back, to a sequence that may be below it.
	isNew = isNew || event.GetGap().GetReason() == deliveryv1.Gap_REASON_STORE_CHANGED
	// Of what this device has handled, it is told at the same sequence that another one has, too.
	if isNew || event.GetSettled() != nil {
		if err := r.Handle(event); err != nil {
			return err
		}
	}
	if isNew {
		if err := r.Record.save(sequence, epoch); err != nil {
			return err
		}
	}
	acknowledge := &deliveryv1.Acknowledgement{Sequence: r.Record.sequence, Epoch: r.Record.epoch}
	return write(stream, &deliveryv1.ReceiveRequest{Request: &deliveryv1.ReceiveRequest_Acknowledge{Acknowledge: acknowledge}})
}

// placeOf returns the sequence and the epoch to record and acknowledge for an event, and whether it has them.
func placeOf(event *deliveryv1.SubscribeResponse) (uint64, string, bool) {
	switch event := event.Event.(type) {
	case *deliveryv1.SubscribeResponse_Notification:
		return event.Notification.Sequence, event.Notification.Epoch, true
	case *deliveryv1.SubscribeResponse_Message:
		return event.Message.GetNotification().GetSequence(), event.Message.GetNotification().GetEpoch(), true
	case *deliveryv1.SubscribeResponse_Recall:
		return event.Recall.Sequence, event.Recall.Epoch, true
	case *deliveryv1.SubscribeResponse_Settled:
		return event.Settled.Sequence, event.Settled.Epoch, true
	case *deliveryv1.SubscribeResponse_Gap:
		return event.Gap.To, event.Gap.Epoch, true
	}
	return 0, "", false
}
