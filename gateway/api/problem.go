package api

import (
	"math"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/jetwire/jetwire/gateway/wire"
)

// Details is the body of an error over HTTP (RFC 9457), with three members of our own.
type Details struct {
	Type       string    `json:"type"`   // urn:jetwire:error:CODE
	Title      string    `json:"title"`  // what the code means
	Status     int       `json:"status"` // HTTP's
	Detail     string    `json:"detail"`
	Code       wire.Code `json:"code"`
	Message    string    `json:"message"` // as detail: errors have it wherever they are met
	RetryAfter float64   `json:"retry_after,omitzero"`
}

// Problem answers a request with an error, as application/problem+json.
func Problem(w http.ResponseWriter, e *wire.Error) { fail(w, Status(e.Code), e) }

// fail is Problem with a status that the code alone does not tell.
func fail(w http.ResponseWriter, status int, e *wire.Error) {
	ProblemWith(w, status, e, func(d Details) any { return d })
}

// ProblemWith is Problem for an answer that has members besides: extend returns the body, which embeds the details.
func ProblemWith(w http.ResponseWriter, status int, e *wire.Error, extend func(Details) any) {
	body, err := json.Marshal(extend(Details{
		Type: "urn:jetwire:error:" + e.Code.String(), Title: e.Code.Err().Message, Status: status,
		Detail: e.Message, Code: e.Code, Message: e.Message, RetryAfter: e.RetryAfter,
	}))
	if err != nil { // a text that is not UTF-8
		Problem(w, wire.Internal.Err())
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if after := retryAfter(status, e); after > 0 {
		h.Set("Retry-After", strconv.Itoa(after))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// retryAfter is the header's value in seconds; 0: there is none. Who is turned away for now is always told when to come back.
func retryAfter(status int, e *wire.Error) int {
	after := int(math.Ceil(math.Min(e.RetryAfter, math.MaxInt32)))
	if after <= 0 && (status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests) {
		after = 1
	}
	return max(after, 0)
}

// statuses has the HTTP status of each code.
var statuses = map[wire.Code]int{
	wire.NormalClosure:   http.StatusServiceUnavailable,
	wire.GoingAway:       http.StatusServiceUnavailable,
	wire.ProtocolError:   http.StatusBadRequest,
	wire.UnsupportedData: http.StatusUnsupportedMediaType,
	wire.InvalidPayload:  http.StatusBadRequest,
	wire.MessageTooBig:   http.StatusRequestEntityTooLarge,
	wire.Internal:        http.StatusInternalServerError,

	wire.BadRequest:           http.StatusBadRequest,
	wire.UnknownCommand:       http.StatusNotFound,
	wire.BadChannel:           http.StatusBadRequest,
	wire.TooLarge:             http.StatusRequestEntityTooLarge,
	wire.Unauthenticated:      http.StatusUnauthorized,
	wire.BadToken:             http.StatusUnauthorized,
	wire.ExpiredToken:         http.StatusUnauthorized,
	wire.PermissionDenied:     http.StatusForbidden,
	wire.UnknownNamespace:     http.StatusNotFound,
	wire.WrongEpoch:           http.StatusConflict,
	wire.AlreadyConnected:     http.StatusConflict,
	wire.AlreadySubscribed:    http.StatusConflict,
	wire.NotSubscribed:        http.StatusConflict,
	wire.TooManySubscriptions: http.StatusConflict,
	wire.TooManyConnections:   http.StatusServiceUnavailable,
	wire.Unavailable:          http.StatusServiceUnavailable,
	wire.Timeout:              http.StatusGatewayTimeout,
	wire.StoreFull:            http.StatusServiceUnavailable,
	wire.AckAhead:             http.StatusConflict,
	wire.SlowConsumer:         http.StatusServiceUnavailable,
	wire.Draining:             http.StatusServiceUnavailable,
	wire.Stale:                http.StatusServiceUnavailable,
	wire.ConnectTimeout:       http.StatusRequestTimeout,
	wire.TooManyNamespaces:    http.StatusConflict,
	wire.AckBehind:            http.StatusConflict,
	wire.TakenOver:            http.StatusConflict,
	wire.Revoked:              http.StatusUnauthorized,
	wire.Disconnected:         http.StatusConflict,
	wire.RateLimited:          http.StatusTooManyRequests,
	wire.NoService:            http.StatusServiceUnavailable,
	wire.Refused:              http.StatusUnprocessableEntity,
	wire.NotFound:             http.StatusNotFound,
}

// Status is the HTTP status of a code.
func Status(c wire.Code) int {
	if status, ok := statuses[c]; ok {
		return status
	}
	return http.StatusInternalServerError
}
