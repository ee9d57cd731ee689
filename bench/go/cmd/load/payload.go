package main

import (
	"fmt"
	"strings"
	"time"
)

const (
	// The size of every notification's data, in bytes.
	payloadBytes = 150
	// Where times count from.
)

var began = time.Now()

// toData is the data of a notification: its number, and when it was due.
func toData(ordinal int64, due time.Time) string {
	head := fmt.Sprintf("%d %d ", ordinal, due.Sub(began).Nanoseconds())
	return head + strings.Repeat("x", payloadBytes-len(head))
}

// readData reads what toData has written.
func readData(data string) (ordinal int64, due time.Time, err error) {
	if len(data) != payloadBytes {
		return 0, began, fmt.Errorf("data of %d bytes", len(data))
	}
	var nanos int64
	if _, err = fmt.Sscanf(data, "%d %d ", &ordinal, &nanos); err != nil {
		return 0, began, err
	}
	return ordinal, began.Add(time.Duration(nanos)), nil
}
