// Command chat is a chat on the terminal, and a first program to read: it loads a model under a memory budget, opens a
// session, and streams the answer to each line.
//
//	go run ./chat -model ../../models/demo
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"plimsoll.example/plimsoll"
)

const commands = `/stats  memory by owner, sessions, decisions, alerts
/reset  forget the conversation
/quit   end the program
Ctrl-C stops an answer; at the prompt it ends the program.`

// size is a flag such as 512MiB.
type size uint64

func (s *size) String() string { return human(uint64(*s)) }

func (s *size) Set(text string) error {
	shift := uint(0)
	for unit, by := range map[string]uint{"KiB": 10, "MiB": 20, "GiB": 30} {
		if strings.HasSuffix(text, unit) {
			text, shift = strings.TrimSuffix(text, unit), by
		}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || n<<shift>>shift != n {
		return errors.New("a size is a whole number of bytes, KiB, MiB or GiB")
	}
	*s = size(n << shift)
	return nil
}

func human(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, i := float64(n), 0
	for value >= 1024 && i < len(units)-1 {
		value, i = value/1024, i+1
	}
	if value < 10 && i > 0 {
		return fmt.Sprintf("%.1f %s", value, units[i])
	}
	return fmt.Sprintf("%.0f %s", value, units[i])
}

// chat is the program's state.
type chat struct {
	runtime   *plimsoll.Runtime
	session   *plimsoll.Session
	request   plimsoll.Request // settings stay, what is said changes from turn to turn
	system    string
	begun     bool // the conversation has a turn, and with it the system message
	interrupt chan os.Signal
}

func main() {
	os.Exit(run())
}

func run() int {
	var budget size
	c := chat{interrupt: make(chan os.Signal, 1)}
	path := flag.String("model", "models/demo", "a Hugging Face folder or a .gguf file")
	question := flag.String("p", "", "one question: only its answer is printed, then the program ends")
	flag.Var(&budget, "memory", "the budget, such as 512MiB (default: what the machine or its cgroup allows)")
	flag.StringVar(&c.system, "system", "", "a system message before the conversation")
	flag.IntVar(&c.request.MaxTokens, "max-tokens", 512, "most tokens of an answer")
	flag.BoolVar(&c.request.IgnoreEOS, "ignore-eos", false, "generate on after the model has ended its answer")
	threads := flag.Int("threads", 0, "computing threads (default: the machine's cores)")
	temperature := flag.Float64("temperature", 0, "how much chance there is; 0 takes the likeliest token")
	flag.Parse()
	c.request.Temperature = float32(*temperature)
	signal.Notify(c.interrupt, os.Interrupt)

	// Ctrl-C ends the load; the last signal has to be let go of for the chat.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	runtime, err := plimsoll.NewRuntime(&plimsoll.RuntimeOptions{Budget: uint64(budget)})
	if err != nil {
		return fail(err)
	}
	defer runtime.Close()
	model, err := runtime.Load(ctx, *path, &plimsoll.ModelOptions{Threads: *threads})
	stop()
	if err != nil {
		return fail(err)
	}
	defer model.Close()
	session, err := model.Open(nil)
	if err != nil {
		return fail(err)
	}
	defer session.Close()
	c.runtime, c.session = runtime, session

	if *question != "" {
		err := c.turn(*question)
		if errors.Is(err, context.Canceled) {
			return 130
		}
		if err != nil {
			return fail(err)
		}
		return 0
	}
	facts, err := model.Facts()
	if err != nil {
		return fail(err)
	}
	fmt.Printf("plimsoll %s: %s, context %d tokens, weights %s. /help shows the commands.\n",
		plimsoll.Version(), *path, facts.ContextLength, human(facts.Weights))
	c.converse(os.Stdin)
	return 0
}

// fail shows an error, with the numbers when the guard refused, and returns the exit status.
func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	var refusal *plimsoll.Error
	if errors.As(err, &refusal) && refusal.Code == plimsoll.ErrMemoryRefused {
		fmt.Fprintf(os.Stderr, "%s asked, %s free, %d tokens would fit\n",
			human(refusal.BytesAsked), human(refusal.BytesFree), refusal.FitsTokens)
	}
	return 1
}

// converse takes lines until their end, /quit, or Ctrl-C at the prompt.
func (c *chat) converse(input io.Reader) {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(input); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	for {
		fmt.Print("> ")
		select {
		case <-c.interrupt:
			fmt.Println()
			return
		case line, ok := <-lines:
			if !ok {
				fmt.Println()
				return
			}
			if line == "/quit" {
				return
			}
			if err := c.line(line); err != nil && !errors.Is(err, context.Canceled) {
				fail(err)
			}
		}
	}
}

func (c *chat) line(line string) error {
	switch {
	case line == "":
		return nil
	case line == "/reset":
		c.begun = false
		return c.session.Reset(context.Background())
	case line == "/stats":
		report, err := c.runtime.MemoryReport()
		fmt.Print(report)
		return err
	case strings.HasPrefix(line, "/"):
		fmt.Println(commands)
		return nil
	default:
		return c.turn(line)
	}
}

// turn streams one answer; Ctrl-C stops it.
func (c *chat) turn(question string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-c.interrupt:
			cancel()
		case <-ctx.Done():
		}
	}()
	c.request.Messages = nil
	if c.system != "" && !c.begun {
		c.request.Messages = append(c.request.Messages, plimsoll.Message{Role: "system", Content: c.system})
	}
	c.request.Messages = append(c.request.Messages, plimsoll.Message{Role: "user", Content: question})
	stream, err := c.session.Stream(ctx, &c.request)
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Next() {
		fmt.Print(stream.Event().Text)
	}
	fmt.Println()
	if err := stream.Err(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	r := stream.Result()
	c.begun = c.begun || r.GeneratedTokens > 0
	fmt.Fprintf(os.Stderr, "[%v: %d tokens in, %d held; %d out, %.0f tokens/s; leased %s, free %s; %v]\n",
		r.Decision, r.PromptTokens, r.CachedTokens, r.GeneratedTokens, r.TokensPerSecond,
		human(r.LeasedBytes), human(r.BytesFree), r.Ending)
	return stream.Err()
}
