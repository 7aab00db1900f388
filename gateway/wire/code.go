package wire

import (
	"fmt"
	"strconv"
)

// Code is an error code, and the WebSocket close code when the server ends a connection for it.
// Its name is what error replies carry; the table below is the one place that defines both.
type Code uint16

// Comeback says whether a client that was closed or refused should try again.
type Comeback uint8

// The answers, as PROTOCOL.md explains them.
const (
	Never     Comeback = iota // the same request will fail again
	Later                     // come back after a back-off (and retry_after, where given)
	WithToken                 // come back with a new token
)

// The codes. 1xxx are RFC 6455's; 4xxx are Jetwire's.
const (
	NormalClosure   Code = 1000
	GoingAway       Code = 1001
	ProtocolError   Code = 1002
	UnsupportedData Code = 1003
	InvalidPayload  Code = 1007
	MessageTooBig   Code = 1009
	Internal        Code = 1011

	BadRequest           Code = 4000
	UnknownCommand       Code = 4001
	BadChannel           Code = 4002
	TooLarge             Code = 4003
	Unauthenticated      Code = 4004
	BadToken             Code = 4005
	ExpiredToken         Code = 4006
	PermissionDenied     Code = 4007
	UnknownNamespace     Code = 4008
	WrongEpoch           Code = 4009
	AlreadyConnected     Code = 4010
	AlreadySubscribed    Code = 4011
	NotSubscribed        Code = 4012
	TooManySubscriptions Code = 4013
	TooManyConnections   Code = 4014
	Unavailable          Code = 4016
	Timeout              Code = 4017
	StoreFull            Code = 4018
	AckAhead             Code = 4019
	SlowConsumer         Code = 4020
	Draining             Code = 4021
	Stale                Code = 4022
	ConnectTimeout       Code = 4023
	TooManyNamespaces    Code = 4024
	AckBehind            Code = 4025
	TakenOver            Code = 4026
	Revoked              Code = 4027
	Disconnected         Code = 4028
	RateLimited          Code = 4029
	NoService            Code = 4030
	Refused              Code = 4031
	NotFound             Code = 4032
)

// String returns the word that PROTOCOL.md has for it.
func (c Comeback) String() string {
	switch c {
	case Never:
		return "no"
	case Later:
		return "later"
	case WithToken:
		return "with a token"
	}
	return "comeback " + strconv.Itoa(int(c))
}

type codeInfo struct {
	code     Code
	name     string
	comeback Comeback
	text     string // what it means and what to do, as PROTOCOL.md prints it
}

var codes = []codeInfo{
	{NormalClosure, "normal", Never, "closed as asked"},
	{GoingAway, "going_away", Later, "the peer goes away"},
	{ProtocolError, "protocol_error", Never, "a frame broke RFC 6455"},
	{UnsupportedData, "unsupported_data", Never, "binary frames are not part of this subprotocol; send text"},
	{InvalidPayload, "invalid_payload", Never, "a text message was not UTF-8"},
	{MessageTooBig, "message_too_big", Never, "a message was over the limit that connect's reply names as max_message"},
	{Internal, "internal", Later, "the server failed; its log says how"},
	{BadRequest, "bad_request", Never, "the command could not be read; the message says which part"},
	{UnknownCommand, "unknown_command", Never, "no such command"},
	{BadChannel, "bad_channel", Never, "the channel name is outside the grammar"},
	{TooLarge, "too_large", Never, "the message is larger than the namespace accepts"},
	{Unauthenticated, "unauthenticated", WithToken, "connect with a token first"},
	{BadToken, "bad_token", WithToken, "the token is malformed, forged or not for this server"},
	{ExpiredToken, "expired_token", WithToken, "the token has expired"},
	{PermissionDenied, "permission_denied", Never, "the token or the namespace's rules do not allow it"},
	{UnknownNamespace, "unknown_namespace", Never, "the namespace is not configured and the default one is switched off"},
	{WrongEpoch, "wrong_epoch", Never, "the position belongs to another epoch of the stream; start anew"},
	{AlreadyConnected, "already_connected", Never, "this connection is connected already"},
	{AlreadySubscribed, "already_subscribed", Never, "this connection has that subscription already"},
	{NotSubscribed, "not_subscribed", Never, "this connection has no such subscription"},
	{TooManySubscriptions, "too_many_subscriptions", Never, "the connection holds as many subscriptions as it may"},
	{TooManyConnections, "too_many_connections", Later, "the server, or this address, holds as many connections as it may"},
	{Unavailable, "unavailable", Later, "NATS cannot be reached; nothing was stored"},
	{Timeout, "timeout", Later, "no answer in time; the outcome is unknown: retry with the same id"},
	{StoreFull, "store_full", Later, "the store refused the message (disk, bytes or message limit); nothing was stored"},
	{AckAhead, "ack_ahead", Never, "the ack is beyond what was sent"},
	{SlowConsumer, "slow_consumer", Later, "the socket accepted nothing for too long"},
	{Draining, "draining", Later, "this server is going away; come back, another one will answer"},
	{Stale, "stale", Later, "nothing was heard for two ping intervals"},
	{ConnectTimeout, "connect_timeout", Later, "the handshake or the connect command did not come in time"},
	{TooManyNamespaces, "too_many_namespaces", Never, "the limit of unlisted namespaces is reached; list this one in the configuration"},
	{AckBehind, "ack_behind", Never, "the ack is behind the last one"},
	{TakenOver, "taken_over", Never, "a newer connection of the same user and device has taken the session over"},
	{Revoked, "revoked", WithToken, "the token has been revoked"},
	{Disconnected, "disconnected", Never, "a backend has ended the connection"},
	{RateLimited, "rate_limited", Later, "more was asked for than the limits allow"},
	{NoService, "no_service", Later, "no backend serves this destination now"},
	{Refused, "refused", Never, "the backend refused; the message says why"},
	{NotFound, "not_found", Never, "there is no such thing"},
}

var byCode, byName = func() (map[Code]*codeInfo, map[string]*codeInfo) {
	c, n := make(map[Code]*codeInfo, len(codes)), make(map[string]*codeInfo, len(codes))
	for i := range codes {
		c[codes[i].code], n[codes[i].name] = &codes[i], &codes[i]
	}
	return c, n
}()

// String returns the name that error replies carry, or the number of a code that is not in the table.
func (c Code) String() string {
	if i := byCode[c]; i != nil {
		return i.name
	}
	return strconv.Itoa(int(c))
}

// Comeback says what a client does after c. A code that is not in the table means Later: a newer server, or a proxy, sent it.
func (c Code) Comeback() Comeback {
	if i := byCode[c]; i != nil {
		return i.comeback
	}
	return Later
}

// MarshalText gives the name, as in error replies.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText gave.
func (c *Code) UnmarshalText(b []byte) error {
	found, ok := CodeOf(string(b))
	if !ok {
		return fmt.Errorf("wire: unknown code %q", b)
	}
	*c = found
	return nil
}

// CodeOf finds a code by its name.
func CodeOf(name string) (Code, bool) {
	if i := byName[name]; i != nil {
		return i.code, true
	}
	return 0, false
}

// Error is what an error reply says. It is an error, so that it can travel through Go code unchanged.
type Error struct {
	Code       Code    `json:"code"`
	Message    string  `json:"message"`
	RetryAfter float64 `json:"retry_after,omitzero"` // seconds; 0: the client's own back-off
}

func (e *Error) Error() string { return e.Code.String() + ": " + e.Message }

// Err returns the Error of this code with the text of the table.
func (c Code) Err() *Error {
	text := "unknown code"
	if i := byCode[c]; i != nil {
		text = i.text
	}
	return &Error{Code: c, Message: text}
}

// After returns e with the seconds after which to try again.
func (e *Error) After(seconds float64) *Error {
	e.RetryAfter = seconds
	return e
}

// With returns an Error of this code with a message of its own.
func (c Code) With(message string) *Error { return &Error{Code: c, Message: message} }
