-- Stands before acquire and release. KEYS: 1 lock, 2 fences, 3 queue, 4 tombstone.
--
-- The queue is a sorted set of places by the instant at which each began to wait. A place
-- is the waiter (32), its channel (13), 'hold_ms;', and what RESTORE takes to set the
-- lock aside for the waiter, if it can write that (see native.go). A user without the
-- rights for it has no queue.

local function forget(waiter)
  for _, place in ipairs(redis.pcall('ZRANGE', KEYS[3], 0, -1)) do
    if string.sub(place, 1, #waiter) == waiter then
      redis.call('ZREM', KEYS[3], place)
    end
  end
end
