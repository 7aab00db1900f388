package report

// Cursors is what durable measures besides: what a (user, device) costs that is away. The figures are for each.
type Cursors struct {
	Users   int    `json:"users"`
	Seconds Figure `json:"seconds" measure:"all had been there after;s;less"`
	CPU     Figure `json:"server_cpu_us_each" measure:"server CPU per visit;us;less"` // to connect, subscribe, acknowledge a message and go

	Records     Figure `json:"records" measure:"records per cursor;records;less"` // in the store, for each
	StoreBytes  Figure `json:"store_bytes" measure:"store per cursor;bytes;less"`
	RSS         Figure `json:"server_rss_bytes" measure:"server RSS per cursor;bytes;less"`
	Heap        Figure `json:"server_heap_bytes" measure:"server heap per cursor;bytes;less"`
	Goroutines  Figure `json:"goroutines" measure:"goroutines per cursor;goroutines;"`
	Consumers   Figure `json:"consumers" measure:"consumers per cursor;consumers;"`
	RSSBefore   Figure `json:"server_rss_bytes_before"` // of the server in all
	RSSAfter    Figure `json:"server_rss_bytes_after"`
	HeapBefore  Figure `json:"server_heap_bytes_before"`
	HeapAfter   Figure `json:"server_heap_bytes_after"`
	Returned    int    `json:"returned"`          // that came back, and were known
	GoroutinesN Figure `json:"goroutines_in_all"` // when all were away
	ConsumersN  Figure `json:"consumers_in_all"`
}

// Storm is what resume-storm measures besides.
type Storm struct {
	Users    int  `json:"users"`
	Messages int  `json:"messages_each"`
	Killed   bool `json:"killed"` // the server, by SIGKILL, while they were away

	Restart   Figure `json:"restart_seconds" measure:"server back after;s;less"`
	Joined    Figure `json:"joined_seconds" measure:"all connected after;s;less"`    // from the first connect until the last user was connected, and
	Delivered Figure `json:"delivered_seconds" measure:"all delivered after;s;less"` // until the last message came, and
	Acked     Figure `json:"acked_seconds" measure:"all acknowledged after;s;less"`  // until the last ack was answered
	CPU       Figure `json:"server_cpu_us_per_message" measure:"server CPU per message;us;less"`
	Requests  Figure `json:"nats_requests" measure:"NATS requests;requests;less"`          // reads of the log, and reads and writes of durable sessions
	Again     int    `json:"again"`                                                        // users that came back once more, to see that their acks had been stored
	Returned  uint64 `json:"redelivered" measure:"delivered once too often;messages;less"` // messages that these got again

	Counted   map[string]Figure `json:"server_counted"`       // by the server's counters, from the first connect until the acks were stored
	Stretches []Stretch         `json:"stretches" measure:""` // live traffic beside it
}
