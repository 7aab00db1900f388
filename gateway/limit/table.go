package limit

import "github.com/hashicorp/golang-lru/v2/simplelru"

// table holds what was made for the keys seen last, so many of them. The caller guards it.
type table[K comparable, V any] struct {
	recent *simplelru.LRU[K, V]
	make   func(K) (K, V) // the key as it is kept, and what is kept for it
}

func newTable[K comparable, V any](size int, make func(K) (K, V)) table[K, V] {
	recent, err := simplelru.NewLRU[K, V](size, nil)
	if err != nil { // size is not positive
		panic(err)
	}
	return table[K, V]{recent, make}
}

func (t *table[K, V]) get(key K) V {
	if v, ok := t.recent.Get(key); ok {
		return v
	}
	key, v := t.make(key)
	t.recent.Add(key, v)
	return v
}
