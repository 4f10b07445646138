// A server of asynq for the tests of dead letters.
//
//	shop fill ADDRESS COUNT   put COUNT tasks of two types into the queue "mails"
//	shop work ADDRESS         work at them until it is told to stop (SIGTERM)
//
// A task fails until the key "mended" is there, and goes to the archive then, since it may be retried no more. Each one
// that was done is counted in the hash "effects".
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

type mail struct {
	To    string `json:"to"`
	Token string `json:"token"`
}

func fill(address asynq.RedisClientOpt, count int) error {
	client := asynq.NewClient(address)
	defer client.Close()
	for number := range count {
		payload, err := json.Marshal(mail{To: fmt.Sprintf("user%d@example.org", number), Token: "canary-4711"})
		if err != nil {
			return err
		}
		kind := "mail:send"
		if number%5 == 0 {
			kind = "push:send"
		}
		options := []asynq.Option{asynq.Queue("mails"), asynq.MaxRetry(0), asynq.TaskID(fmt.Sprintf("t%d", number))}
		if _, err := client.Enqueue(asynq.NewTask(kind, payload), options...); err != nil {
			return err
		}
	}
	return nil
}

func work(address asynq.RedisClientOpt) error {
	own := redis.NewClient(&redis.Options{Addr: address.Addr})
	defer own.Close()
	handler := func(ctx context.Context, task *asynq.Task) error {
		mended, err := own.Exists(ctx, "mended").Result()
		if err != nil {
			return err
		}
		var asked mail
		if err := json.Unmarshal(task.Payload(), &asked); err != nil {
			return err
		}
		if mended == 0 {
			return fmt.Errorf("dial tcp 10.0.0.31:25: mailbox of %s refused", asked.To)
		}
		id, _ := asynq.GetTaskID(ctx)
		return own.HIncrBy(ctx, "effects", id, 1).Err()
	}
	server := asynq.NewServer(address, asynq.Config{
		Concurrency: 8, Queues: map[string]int{"mails": 1}, LogLevel: asynq.ErrorLevel,
	})
	return server.Run(asynq.HandlerFunc(handler))
}

func main() {
	address := asynq.RedisClientOpt{Addr: os.Args[2]}
	var err error
	if os.Args[1] == "fill" {
		var count int
		if count, err = strconv.Atoi(os.Args[3]); err == nil {
			err = fill(address, count)
		}
	} else {
		err = work(address)
	}
	if err != nil {
		log.Fatal(err)
	}
}
