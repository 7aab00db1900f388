//go:build !linux

package main

import (
	"context"
	"errors"
)

func serveFloor(context.Context, options, func(string)) error {
	return errors.New("the floor needs Linux (epoll)")
}
