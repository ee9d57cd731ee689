package main

import (
	"time"

	"mustreach/measure"
)

// drain opens the receivers, reads what waits for them, acknowledges it, and closes them.
func drain(a openArgs) (any, error) {
	start := time.Now()
	pool, _, err := openReceivers(a)
	if err != nil {
		return nil, err
	}
	pool.acks.Wait()
	for _, r := range pool.all {
		r.confirm(r.lastSequence, r.epoch)
	}
	seconds := time.Since(start).Seconds()
	pool.close()
	return measure.Outcome{Calls: int(pool.arrived.Load()), Seconds: seconds}, pool.problem()
}
