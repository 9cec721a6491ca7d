"""The token bucket of `core.gcra`, for Redis."""

from typing import Final

# `core.gcra` in Lua, in microseconds. Its one number "full at" is kept as two, "ahead of `at` by",
# because a double holds unix time to a quarter of a microsecond only, and sums of that would drift:
# `at` is a whole number and exact, `ahead` is small and has digits to spare.
#   KEYS: the bucket. ARGV: units, amount, seconds, whether it lends ("1"), how many such requests
#   there are (else one), and in tests the time in microseconds.
# TIME is the server's, so that processes whose clocks differ agree. Numbers go back as text: Redis
# would cut their fractions off. All in one: to read each by itself costs more than to split it.
_STATE: Final = """
local units, amount, full = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) * 1e6
local cost, calls = units * full / amount, tonumber(ARGV[5]) or 1
local lends, now = ARGV[4] == '1', tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1e6 + time[2]
end
local ahead, saved = 0, redis.call('GET', KEYS[1])
if saved then
  local at, was = string.match(saved, '^(%S+) (%S+)$')
  ahead = math.max(0, was - math.max(0, now - at))
end
local function save()
  local expiry = string.format('%.0f', math.ceil(ahead / 1000) + 1000)
  redis.call('SET', KEYS[1], string.format('%.0f %.17g', now, ahead), 'PX', expiry)
end
"""
TAKE: Final = (
    _STATE
    + """
local slack = 1e-3 + amount * full * 2^-52
local needed = math.min(cost, lends and full / amount or full, full)
local granted, said = 0, {}
local function say(form, first)
  table.insert(said, string.format(form .. ' %.9f', first, ahead / 1e6))
end
for call = 1, calls do
  local excess = ahead + needed - full
  if excess > slack then
    say('%.9f', excess / 1e6)
    break
  end
  ahead = ahead + cost
  granted = call
  say('%.0f', math.floor((math.max(0, full - ahead) + slack) * amount / full))
end
if granted > 0 then save() end
return {granted, table.concat(said, ' ')}
"""
)
GIVE_BACK: Final = (
    _STATE
    + """
ahead = ahead - cost * calls
if ahead > 0 then save() elseif saved then redis.call('DEL', KEYS[1]) end
"""
)
