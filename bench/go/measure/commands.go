// Package measure is what the generators have in common: commands over standard input, pace, latencies.
package measure

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

// Command answers the arguments of a command with a result, both JSON.
type Command func(args json.RawMessage) (any, error)

// Typed makes a Command of a function with arguments of its own type.
func Typed[A any](run func(args A) (any, error)) Command {
	return func(raw json.RawMessage) (any, error) {
		var args A
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, err
		}
		return run(args)
	}
}

type request struct {
	ID   int             `json:"id"`
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args"`
}

type reply struct {
	ID     int    `json:"id"`
	Result any    `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Serve answers commands, one a line, each as soon as it is done, until standard input ends.
func Serve(commands map[string]Command) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	out := json.NewEncoder(os.Stdout)
	var writing sync.Mutex
	for lines.Scan() {
		var asked request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		go func() {
			answer := reply{ID: asked.ID}
			command, ok := commands[asked.Op]
			if !ok {
				answer.Error = "no command " + asked.Op
			} else if result, err := command(asked.Args); err != nil {
				answer.Error = err.Error()
			} else {
				answer.Result = result
			}
			writing.Lock()
			defer writing.Unlock()
			_ = out.Encode(answer)
		}()
	}
}
