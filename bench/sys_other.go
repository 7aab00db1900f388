//go:build !linux

package bench

import (
	"errors"
	"net/netip"
	"time"
)

var errAgain = errors.New("not now")

func openStream(netip.AddrPort, netip.Addr, int) (int, error) { return -1, ErrUnsupported }
func setBuffer(int, int) error                                { return ErrUnsupported }
func connected(int) error                                     { return ErrUnsupported }
func readStream(int, []byte) (int, error)                     { return 0, ErrUnsupported }
func writeStream(int, []byte) (int, error)                    { return 0, ErrUnsupported }
func abort(int)                                               {}
func fileLimit() (int, error)                                 { return 0, ErrUnsupported }
func cpuClock(int) (time.Duration, error)                     { return 0, ErrUnsupported }
func monotonic() int64                                        { return 0 }
func nap(d time.Duration)                                     { time.Sleep(d) }
func sharpenNaps()                                            {}
