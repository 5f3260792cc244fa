-- Budgets of image hosts. Called once per claim with everything a process reports and wants; see host_budget.py.
--
-- KEYS: one per host. ARGV[1]: JSON {process, per_host, now?, hosts: [{held, wanted, answers: [...]}]}, with
--   held     downloads of this process that were granted and have not ended,
--   answers  [kind, seconds since the download began, its duration, Retry-After in seconds or -1].
-- Returns JSON: for each host the grant, what Redis knows of it, and an event for the log.
--
-- A host without a key is unknown: two downloads at once, no pace. The state is one JSON string, so that an operator
-- can read it: redis-cli GET imgproc:host:NAME:PORT.

-- The window: concurrent downloads of a host without a pace.
local PROBATION = 2       -- of an unknown host
local WINDOW_STEP = 0.1   -- growth per answer; less for an answer that takes longer than FAST_S
local FAST_S = 2
local FULL_WAIT_S = 0.2   -- until a process asks again while the window is full

-- The rate: download starts per second. A search multiplies it by `growth` each second until the next refusal, and then
-- assumes that the host sustains at least the share `least` of the rate that was reached.
local SEARCH = {growth = 1.25, least = 0.75}
local SEARCH_FROM_LOW = {growth = 2.5, least = 0.85}  -- a low first rate: the host allows no burst
local LOW_RATE = 8
local LEAST_RATE = 0.05
local CUT, HOLD = 0.93, 0.98  -- of the rate that the host refuses: the rate after a refusal, and where it stays;
                              -- at CUT, if the host allows no burst: it refuses two starts that came too close
local QUIET_S = 20        -- without a refusal, after which the rate grows again: 0.5 % a second, doubling every 5 s
local AHEAD_S = 0.1       -- how far ahead starts are granted; they cannot be taken back
local CLAIM_S = 0.03      -- the earliest start: the process claims the image first, and a late start is too close to
                          -- the next one
local MIN_WAIT_S, MAX_WAIT_S = 0.02, 0.5  -- until a process asks for the next starts

-- Pauses.
local REFUSED_PAUSE_S, MAX_REFUSED_PAUSE_S = 0.5, 600
local FAILED_PAUSE_S, MAX_FAILED_PAUSE_S = 5, 300
local MAX_FAILURES = 3    -- connection failures in a row before a pause
local LONG_PAUSE_S = 30   -- a longer Retry-After counts only if the host served nothing for SERVED_S
local SERVED_S = 10

local PLACE_TTL_S = 10    -- after which the downloads of a silent process no longer count
local MEMORY_S = 600      -- after which an unused host is unknown

local call = cjson.decode(ARGV[1])
local now = call.now
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1e6
end

local function new_host()
  return {window = PROBATION, rate = 0, next = 0, resume_at = 0, pause = 0, pauses = 0, failures = 0, cut_at = now,
    served_since_cut = 0, second = 0, count = 0, last_count = 0, places = {}}
end

-- Answers per second of the current and the last second, if the host allowed a burst of one second.
local function answers_per_second(host)
  local age = now - host.second
  if age >= 2 then return 0 end
  return (host.count + host.last_count) / (age + (host.last_count > 0 and 2 or 1))
end

local function count_answer(host)
  local age = now - host.second
  if age >= 1 then
    host.last_count = age < 2 and host.count or 0
    host.second = age < 2 and host.second + 1 or now
    host.count = 0
  end
  host.count = host.count + 1
  host.served_since_cut = host.served_since_cut + 1
end

local function cut_rate(host)
  if host.rate == 0 then
    host.rate = math.max(1, answers_per_second(host))
    host.search = host.rate < LOW_RATE and SEARCH_FROM_LOW or SEARCH
    host.hold = host.rate < LOW_RATE and CUT or HOLD
  else
    -- What the host served since the last cut, pauses included, is what it sustains, even if it allows bursts.
    local sustained = host.served_since_cut / math.max(now - host.cut_at, 0.001)
    local least = host.search and host.search.least or now - host.cut_at > QUIET_S and 1 or CUT
    host.refused_rate = math.max(least * host.rate, math.min(host.rate, sustained))
    host.rate = math.max(LEAST_RATE, CUT * host.refused_rate)
    host.event = host.search and 'paced' or host.event
    host.search = nil
  end
  host.cut_at, host.served_since_cut, host.grown_at, host.next = now, 0, now, 0
end

-- `ordinary_s`: the pause if the host serves another request that began as late as the refused one.
local function pause(host, seconds, ordinary_s)
  host.opened_at, host.paused_at, host.ordinary_s = host.resume_at, now, ordinary_s
  host.pause, host.pauses = seconds, host.pauses + 1
  host.resume_at = now + seconds
  host.event = host.event or 'paused'
end

-- Starts before resume_at were granted before the pause: their answers belong to the same wave and change nothing.
local function is_late(host, began) return began < host.resume_at end

local on = {}

function on.served(host, began, seconds)
  count_answer(host)
  host.served_at, host.unserved_at, host.failures = now, nil, 0
  if host.pauses > 0 and not is_late(host, began) then
    host.pause, host.pauses, host.event = 0, 0, host.event or 'resumed'
  elseif host.pauses > 0 and began >= host.opened_at then
    host.pauses, host.pause = 1, math.min(host.pause, host.ordinary_s)
    host.resume_at = math.min(host.resume_at, host.paused_at + host.ordinary_s)
  end
  if host.rate == 0 then
    host.window = math.min(call.per_host, host.window + WINDOW_STEP * math.min(1, FAST_S / math.max(seconds, 0.001)))
  end
end

function on.refused(host, began, seconds, retry_after, in_flight)
  host.unserved_at = host.unserved_at or now
  -- A long pause of a host that serves others, or may do so in a moment, may be that of one URL: it stops nothing, but
  -- the rate is cut. Images would sleep through the whole pause, even if the next answer ended it.
  local may_serve = in_flight > 0 or now - (host.served_at or 0) < SERVED_S
  local is_of_url = retry_after > LONG_PAUSE_S and may_serve
  local asked_s = is_of_url and 0 or math.min(retry_after, MAX_REFUSED_PAUSE_S)
  if is_late(host, began) then
    host.resume_at = math.max(host.resume_at, began + seconds + asked_s)
    return
  end
  if host.pauses == 0 then cut_rate(host) end
  local least = host.pauses == 0 and REFUSED_PAUSE_S or math.min(2 * host.pause, MAX_REFUSED_PAUSE_S)
  local ordinary_s = math.max(REFUSED_PAUSE_S, retry_after > LONG_PAUSE_S and 0 or retry_after)
  pause(host, math.max(least, asked_s), ordinary_s)
end

function on.failed(host, began)
  host.unserved_at = host.unserved_at or now
  if is_late(host, began) then return end
  host.failures = host.failures + 1
  if host.failures >= MAX_FAILURES then
    pause(host, math.min(math.max(FAILED_PAUSE_S, 2 * host.pause), MAX_FAILED_PAUSE_S), FAILED_PAUSE_S)
  end
end

function on.unavailable() end

-- Raises the rate of a host whose pace is used.
local function grow_rate(host)
  local elapsed = math.min(now - (host.grown_at or now), 1)
  host.grown_at = now
  if host.pauses > 0 or host.next < now - math.max(0.5, 2 / host.rate) then return end
  local quiet = now - host.cut_at - QUIET_S
  if host.search then
    host.rate = host.rate * host.search.growth ^ elapsed
  elseif host.rate < (host.hold or HOLD) * host.refused_rate then
    host.rate = math.min((host.hold or HOLD) * host.refused_rate, host.rate * 1.01 ^ elapsed)
  elseif quiet > 0 then
    host.rate = host.rate * math.min(SEARCH.growth, 1 + 0.005 * 2 ^ (quiet / 5)) ^ elapsed
  end
end

-- Counts the downloads and the processes of the fleet, without this process.
local function count_places(host)
  local held, processes = 0, 0
  for process, place in pairs(host.places) do
    if place[2] < now or process == call.process then
      host.places[process] = nil
    else
      held, processes = held + place[1], processes + 1
    end
  end
  return held, processes
end

-- When this process asks again, unless it knows already. If all processes came at once, one would take all starts.
local function next_ask(host, step, known)
  if known and known > now then return known end
  host.asks_at = math.min(math.max((host.asks_at or 0) + step, now + MIN_WAIT_S), now + MAX_WAIT_S)
  return math.max(host.asks_at, host.next - AHEAD_S)
end

local function grant(host, ask, place, others, processes)
  local limit = host.rate > 0 and call.per_host or math.floor(host.window)
  -- After a pause that helped nothing, few downloads find out: two, since one of them may be a bad URL.
  local is_probing = host.pauses > 1 or host.failures >= MAX_FAILURES
  if is_probing then limit = host.failures >= MAX_FAILURES and 1 or PROBATION end
  local granted = math.max(0, math.min(ask.wanted, limit - others - ask.held))
  local first, step, wait = 0, 0, FULL_WAIT_S
  if now < host.resume_at then
    granted, wait = 0, host.resume_at - now
  elseif host.rate > 0 and granted > 0 and not is_probing then
    grow_rate(host)
    step = 1 / host.rate
    local start = math.max(now + CLAIM_S, host.next)
    granted = math.min(granted, math.max(0, math.floor((now + AHEAD_S - start) / step) + 1))
    first, host.next = start - now, start + granted * step
    wait = next_ask(host, step, place and place[3]) - now
  end
  local held = ask.held + granted
  if held > 0 or ask.wanted > 0 then
    host.places[call.process] = {held, now + (held > 0 and PLACE_TTL_S or math.max(2, 2 * wait)), now + wait}
  end
  return {granted = granted, first = first, step = step, wait = wait, pause = math.max(0, host.resume_at - now),
    unserved = host.unserved_at and now - host.unserved_at or 0, rate = host.rate,
    failing = host.failures >= MAX_FAILURES, processes = processes + 1, event = host.event}
end

local replies = {}
for i, key in ipairs(KEYS) do
  local ask, stored = call.hosts[i], redis.call('GET', key)
  local host = stored and cjson.decode(stored) or new_host()
  local place, others, processes = host.places[call.process], count_places(host)
  for _, answer in ipairs(ask.answers) do
    on[answer[1]](host, now - answer[2], answer[3], answer[4], others + ask.held)
  end
  replies[i] = grant(host, ask, place, others, processes)
  host.event = nil
  redis.call('SET', key, cjson.encode(host), 'PX', math.ceil(1000 * (MEMORY_S + math.max(0, host.resume_at - now))))
end
return cjson.encode(replies)
