package main

import (
	"context"
	"fmt"

	deliveryv1 "mustreach/delivery/v1"
)

const ackMethod = "/mustreach.delivery.v1.DeliveryService/Ack"

// ack acknowledges, as a device does: up the stream, or by a call behind the receiver's back.
func (r *receiver) ack(sequence uint64, epoch string) {
	if r.stream == nil {
		r.pool.acks.Go(func() { r.confirm(sequence, epoch) })
		return
	}
	handled := &deliveryv1.Acknowledgement{Sequence: sequence, Epoch: epoch}
	r.sending.Lock()
	defer r.sending.Unlock()
	request := &deliveryv1.ReceiveRequest{Request: &deliveryv1.ReceiveRequest_Acknowledge{Acknowledge: handled}}
	if err := r.stream.SendMsg(request); err != nil {
		r.pool.fail(fmt.Errorf("ack: %w", err))
	}
}

// confirm acknowledges and checks where the cursor is then.
func (r *receiver) confirm(sequence uint64, epoch string) {
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	request := &deliveryv1.AckRequest{DeviceId: r.pool.Device, Sequence: sequence, Epoch: epoch}
	var response deliveryv1.AckResponse
	if err := r.conn.Invoke(ctx, ackMethod, request, &response); err != nil {
		r.pool.fail(fmt.Errorf("ack: %w", err))
	} else if response.Sequence < sequence {
		r.pool.fail(fmt.Errorf("acknowledged %d, the cursor is at %d", sequence, response.Sequence))
	}
}
