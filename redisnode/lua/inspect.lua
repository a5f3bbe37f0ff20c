read_lock()
if not lock or lock.set_aside then
  return identified({0, '', 0, '', read_counter(), clock(), 0})
end
if lock.fence == 0 then
  return no(0)
end
return identified({2, lock.owner, lock.fence, redis.call('PTTL', KEYS[1]), read_counter(), clock()})
