--[[ modkit.lua: talk to `modkit serve` from Lua. One file, no dependency: LuaJIT, Lua 5.1 to 5.4.

    local modkit = require("modkit")
    local client = modkit.files("mailbox")              -- the folder given to `modkit serve --files mailbox`
    local reply = client:say("Did the lamp go out last night?", { npc = "Sable" })
    -- every frame:
    client:update()                                      -- never waits
    bubble = bubble .. reply:take()
    if reply.done then ... reply.finish, reply.error ... end

  Ways in:
    modkit.files(folder [, options])            two growing files; for scripts that may only open files
    modkit.start(command, folder [, options])   starts the server with io.popen, then talks as files() does;
                                                the command should end with `--files FOLDER --until-eof`
    modkit.tcp(port, token [, options])         a loopback port; LuaJIT alone, through its ffi
    modkit.connect(file [, options])            as tcp(), with what `modkit serve --connect FILE` wrote
  options: token, name.

  What goes over the wire is in docs/protocol.md. Everything runs on the thread that calls update().
]]

local modkit = { VERSION = 1, MAX_FRAME = 1048576, MAX_DEPTH = 16 }

local floor, char, byte, sub, concat = math.floor, string.char, string.byte, string.sub, table.concat
local REQUEST, REPLY, ERROR, EVENT, RECORDS = 0, 1, 2, 3, 4
local HUGE = math.huge

-- ---- msgpack: as much of it as the protocol has ----

local LIST = {}

--- Marks a table as a list, which an empty one would not show.
function modkit.list(values)
  return setmetatable(values or {}, LIST)
end

--- Stands for msgpack's nil inside lists and maps, where Lua's own would be a hole.
modkit.null = setmetatable({}, { __tostring = function() return "null" end })

local function big_endian(value, bytes)
  local out = {}
  for i = bytes, 1, -1 do
    out[i] = char(value % 256)
    value = floor(value / 256)
  end
  return concat(out)
end

local function pack_integer(n)
  if n >= 0 then
    if n < 128 then return char(n) end
    if n < 256 then return "\204" .. big_endian(n, 1) end
    if n < 65536 then return "\205" .. big_endian(n, 2) end
    if n < 4294967296 then return "\206" .. big_endian(n, 4) end
    return "\207" .. big_endian(n, 8)
  end
  if n >= -32 then return char(256 + n) end
  if n >= -128 then return "\208" .. big_endian(256 + n, 1) end
  if n >= -32768 then return "\209" .. big_endian(65536 + n, 2) end
  if n >= -2147483648 then return "\210" .. big_endian(4294967296 + n, 4) end
  -- two halves, because 2^64 is more than a number of Lua 5.1 can hold exactly
  local low = n % 4294967296
  local high = floor(n / 4294967296) % 4294967296
  return "\211" .. big_endian(high, 4) .. big_endian(low, 4)
end

local function pack_double(x)
  local sign = 0
  if x < 0 or (x == 0 and 1 / x < 0) then sign, x = 128, -x end
  local exponent, fraction
  if x ~= x then
    exponent, fraction = 2047, 2251799813685248
  elseif x == HUGE then
    exponent, fraction = 2047, 0
  elseif x == 0 then
    exponent, fraction = 0, 0
  else
    exponent = 1023
    while x >= 2 and exponent < 2047 do x, exponent = x / 2, exponent + 1 end
    while x < 1 and exponent > 0 do x, exponent = x * 2, exponent - 1 end
    if exponent == 0 then
      fraction = floor(x / 2 * 4503599627370496)
    else
      fraction = floor((x - 1) * 4503599627370496)
    end
  end
  local high = floor(fraction / 281474976710656)
  return "\203" .. char(sign + floor(exponent / 16), (exponent % 16) * 16 + high)
    .. big_endian(fraction % 281474976710656, 6)
end

local function head(size, fixed, limit, forms)
  if size <= limit then return char(fixed + size) end
  if size < 256 and forms[1] then return forms[1] .. big_endian(size, 1) end
  if size < 65536 then return forms[2] .. big_endian(size, 2) end
  return forms[3] .. big_endian(size, 4)
end

local STRINGS = { "\217", "\218", "\219" }
local LISTS = { false, "\220", "\221" }
local MAPS = { false, "\222", "\223" }

local pack_value

local function pack_table(value, out, depth)
  local size, count = #value, 0
  for _ in pairs(value) do count = count + 1 end
  if getmetatable(value) == LIST or (size > 0 and size == count) then
    out[#out + 1] = head(size, 144, 15, LISTS)
    for i = 1, size do pack_value(value[i], out, depth + 1) end
    return
  end
  out[#out + 1] = head(count, 128, 15, MAPS)
  for key, item in pairs(value) do
    if type(key) ~= "string" then error("modkit: a map's keys are strings, not a " .. type(key), 0) end
    pack_value(key, out, depth + 1)
    pack_value(item, out, depth + 1)
  end
end

pack_value = function(value, out, depth)
  if depth > modkit.MAX_DEPTH then error("modkit: nested deeper than " .. modkit.MAX_DEPTH, 0) end
  local kind = type(value)
  if value == nil or value == modkit.null then
    out[#out + 1] = "\192"
  elseif kind == "boolean" then
    out[#out + 1] = value and "\195" or "\194"
  elseif kind == "number" then
    if value == floor(value) and value > -9007199254740992 and value < 9007199254740992 then
      out[#out + 1] = pack_integer(floor(value))
    else
      out[#out + 1] = pack_double(value)
    end
  elseif kind == "string" then
    out[#out + 1] = head(#value, 160, 31, STRINGS)
    out[#out + 1] = value
  elseif kind == "table" then
    pack_table(value, out, depth)
  else
    error("modkit: a " .. kind .. " cannot be sent", 0)
  end
end

--- A value as msgpack. Raises an error for functions, cycles and keys that are no strings.
function modkit.pack(value)
  local out = {}
  pack_value(value, out, 0)
  return concat(out)
end

local function need(data, at, size)
  if at + size - 1 > #data then error("modkit: a length that is not there", 0) end
end

local function unsigned(data, at, size)
  need(data, at, size)
  local value = 0
  for i = at, at + size - 1 do value = value * 256 + byte(data, i) end
  return value, at + size
end

local function signed(data, at, size)
  need(data, at, size)
  if byte(data, at) < 128 then return unsigned(data, at, size) end
  local value = 0 -- the complement, so that no step is larger than the result
  for i = at, at + size - 1 do value = value * 256 + (255 - byte(data, i)) end
  return -value - 1, at + size
end

local function float(data, at, size)
  need(data, at, size)
  local first, second = byte(data, at, at + 1)
  local sign = first >= 128 and -1 or 1
  local exponent, fraction, bits, bias
  if size == 8 then
    exponent = (first % 128) * 16 + floor(second / 16)
    fraction, bits, bias = second % 16, 52, 1023
  else
    exponent = (first % 128) * 2 + floor(second / 128)
    fraction, bits, bias = second % 128, 23, 127
  end
  for i = at + 2, at + size - 1 do fraction = fraction * 256 + byte(data, i) end
  local value
  if exponent == bias * 2 + 1 then
    value = fraction == 0 and HUGE or 0 / 0
  elseif exponent == 0 then
    value = fraction / 2 ^ bits * 2 ^ (1 - bias)
  else
    value = (1 + fraction / 2 ^ bits) * 2 ^ (exponent - bias)
  end
  return sign * value, at + size
end

local unpack_value

local function text(data, at, size)
  need(data, at, size)
  return sub(data, at, at + size - 1), at + size
end

local function list(data, at, size, depth)
  local made = {}
  for i = 1, size do
    local value
    value, at = unpack_value(data, at, depth + 1)
    if value == nil then value = modkit.null end
    made[i] = value
  end
  return setmetatable(made, LIST), at
end

local function map(data, at, size, depth)
  local made = {}
  for _ = 1, size do
    local key, value
    key, at = unpack_value(data, at, depth + 1)
    if type(key) ~= "string" then error("modkit: a key that is no string", 0) end
    value, at = unpack_value(data, at, depth + 1)
    if value == nil then value = modkit.null end
    made[key] = value
  end
  return made, at
end

local SIZED = {
  [196] = { 1, text }, [197] = { 2, text }, [198] = { 4, text },
  [217] = { 1, text }, [218] = { 2, text }, [219] = { 4, text },
  [220] = { 2, list }, [221] = { 4, list }, [222] = { 2, map }, [223] = { 4, map },
}
local NUMBERS = {
  [202] = { 4, float }, [203] = { 8, float },
  [204] = { 1, unsigned }, [205] = { 2, unsigned }, [206] = { 4, unsigned }, [207] = { 8, unsigned },
  [208] = { 1, signed }, [209] = { 2, signed }, [210] = { 4, signed }, [211] = { 8, signed },
}

unpack_value = function(data, at, depth)
  if depth > modkit.MAX_DEPTH then error("modkit: nested deeper than " .. modkit.MAX_DEPTH, 0) end
  need(data, at, 1)
  local code = byte(data, at)
  at = at + 1
  if code < 128 then return code, at end
  if code >= 224 then return code - 256, at end
  if code < 144 then return map(data, at, code - 128, depth) end
  if code < 160 then return list(data, at, code - 144, depth) end
  if code < 192 then return text(data, at, code - 160) end
  if code == 192 then return nil, at end
  if code == 194 then return false, at end
  if code == 195 then return true, at end
  local number = NUMBERS[code]
  if number then return number[2](data, at, number[1]) end
  local sized = SIZED[code]
  if not sized then error("modkit: msgpack's " .. code .. " is not used here", 0) end
  local size
  size, at = unsigned(data, at, sized[1])
  need(data, at, size) -- an element has at least one byte, so this bounds what is made
  return sized[2](data, at, size, depth)
end

--- The one value in `data`. Raises an error.
function modkit.unpack(data)
  local value, at = unpack_value(data, 1, 0)
  if at ~= #data + 1 then error("modkit: more than one value in a frame", 0) end
  return value
end

--- A message as a frame.
function modkit.frame(message)
  local body = modkit.pack(message)
  return big_endian(#body, 4) .. body
end

--- The next message in `data` from `at`: message, where the next begins; nil while it is not whole. Raises an error.
function modkit.next_frame(data, at)
  if #data - at + 1 < 4 then return nil, at end
  local size = unsigned(data, at, 4)
  if size < 1 or size > modkit.MAX_FRAME then error("modkit: a frame of " .. size .. " bytes", 0) end
  if #data - at + 1 < 4 + size then return nil, at end
  local message = modkit.unpack(sub(data, at + 4, at + 3 + size))
  local kind = type(message) == "table" and getmetatable(message) == LIST and message[1]
  if type(kind) ~= "number" or kind < REQUEST or kind > RECORDS then
    error("modkit: something that is no message", 0)
  end
  return message, at + 4 + size
end

-- ---- replies ----

local Reply = {}
Reply.__index = Reply

--- The text since the last take.
function Reply:take()
  local new = concat(self._new)
  self._new = {}
  return new
end

--- Stops her where she is.
function Reply:cancel()
  if self.stream and not self.done then self._client:request("cancel", { stream = self.stream }) end
end

local function end_reply(reply, finish, why)
  if not reply.done then
    reply.done, reply.finish, reply.error = true, finish, why
    if reply.on_done then reply.on_done(reply) end
  end
end

-- ---- the client ----

local Client = {}
Client.__index = Client

local function new_client(link, options)
  options = options or {}
  local client = setmetatable({
    closed = nil, -- why, once it is over
    server = nil, -- what the server said of itself, once it has
    on_event = nil, -- function(name, params) for events that are not words of a reply
    _link = link, _in = "", _out = {}, _next = 2, _waiting = {}, _replies = {},
  }, Client)
  client._waiting[1] = function(result, why)
    if why or type(result) ~= "table" or result.protocol ~= modkit.VERSION then
      error(why or "modkit: the server speaks another version of the protocol", 0)
    end
    client.server = result
  end
  local hello = { protocol = modkit.list({ 1, modkit.VERSION }), client = options.name or "modkit.lua", token = options.token }
  client._out[1] = modkit.frame(modkit.list({ REQUEST, 1, "hello", hello }))
  return client
end

--- Asks for any method. done(result, why) is called by a later update(); one of the two is nil.
function Client:request(method, params, done)
  if self.closed then return false end
  local id = 0
  if done then
    id = self._next
    self._next = id + 1
    self._waiting[id] = done
  end
  self._out[#self._out + 1] = modkit.frame(modkit.list({ REQUEST, id, method, params or {} }))
  return true
end

--- Says something to a character and returns her reply at once: a table with text, done, finish, error, take(), cancel().
-- options: npc, facts (a list of sentences), options (max_tokens, temperature, …), on_words(reply, text), on_done(reply).
function Client:say(words, options)
  options = options or {}
  local reply = setmetatable({ text = "", done = false, _new = {}, _client = self, actions = {} }, Reply)
  reply.on_words, reply.on_done = options.on_words, options.on_done
  local params = { text = words, npc = options.npc, options = options.options }
  if options.facts then params.facts = modkit.list(options.facts) end
  local sent = self:request("say", params, function(result, why)
    if why or type(result) ~= "table" then
      end_reply(reply, "error", why or "the server gave no stream")
    else
      reply.stream = result.stream
      self._replies[result.stream] = reply
    end
  end)
  if not sent then end_reply(reply, "error", self.closed) end
  return reply
end

local function take_event(client, name, params)
  local reply = type(params.stream) == "number" and client._replies[params.stream] or nil
  if reply and name == "words" and type(params.text) == "string" then
    reply.text = reply.text .. params.text
    reply._new[#reply._new + 1] = params.text
    if reply.on_words then reply.on_words(reply, params.text) end
  elseif reply and name == "done" then
    client._replies[params.stream] = nil
    reply.stats = params
    local why = type(params.error) == "table" and tostring(params.error[2]) or nil
    end_reply(reply, tostring(params.finish), why)
  else
    if reply then reply.actions[#reply.actions + 1] = { name, params } end
    if client.on_event then client.on_event(name, params) end
  end
end

local function take_message(client, message)
  local kind = message[1]
  if kind == EVENT and type(message[2]) == "string" and type(message[3]) == "table" then
    take_event(client, message[2], message[3])
  elseif (kind == REPLY or kind == ERROR) and type(message[2]) == "number" then
    local done = client._waiting[message[2]]
    client._waiting[message[2]] = nil
    if kind == REPLY and done then
      done(message[3])
    elseif kind == ERROR and done then
      done(nil, tostring(message[4]))
    elseif kind == ERROR and message[2] == 0 then
      error(tostring(message[4]), 0)
    end
  elseif kind ~= RECORDS then
    error("modkit: a message of an unknown form", 0)
  end
end

local function work(client)
  local link = client._link
  if #client._out > 0 then
    local data = concat(client._out)
    local taken = link:write(data)
    client._out = taken < #data and { sub(data, taken + 1) } or {}
  end
  local data = link:read()
  if data and #data > 0 then client._in = client._in .. data end
  if #client._in == 0 then return end
  local at = 1
  for _ = 1, 128 do -- a frame of the game has other things to do as well
    local message
    message, at = modkit.next_frame(client._in, at)
    if not message then break end
    take_message(client, message)
  end
  if at > 1 then client._in = sub(client._in, at) end
end

--- Sends and takes what can be sent and taken now. Call it once a frame; it never waits. False once it is over.
function Client:update()
  if self.closed then return false end
  local good, why = pcall(work, self)
  if not good then self:_over(tostring(why)) end
  return good
end

function Client:_over(why)
  if self.closed then return end
  self.closed = why
  pcall(self._link.close, self._link)
  local replies, waiting = self._replies, self._waiting
  self._replies, self._waiting = {}, {}
  for _, reply in pairs(replies) do end_reply(reply, "error", why) end
  for id, done in pairs(waiting) do
    if id ~= 1 then done(nil, why) end
  end
end

--- Says goodbye and closes.
function Client:close()
  if self.closed then return end
  self:request("bye")
  pcall(work, self)
  self:_over("closed")
end

-- ---- links: read() what has come or nil, write(data) how much was taken, close() ----

local Files = {}
Files.__index = Files

function Files:read()
  if not self._from then
    self._from = io.open(self._answers, "rb")
    if not self._from then return nil end
  end
  local data = self._from:read(16384)
  if data then
    self._quiet = 0
    return data
  end
  self._from:seek("cur", 0) -- the end of the file is not the end of what will be in it
  self._quiet = self._quiet + 1
  if self._quiet % 120 == 0 then -- the server removes its file when it ends
    local still = io.open(self._answers, "rb")
    if not still then error("the server has ended", 0) end
    still:close()
  end
end

function Files:write(data)
  local good, why = self._to:write(data)
  if not good then error(why, 0) end
  self._to:flush()
  return #data
end

function Files:close()
  self._to:close()
  if self._from then self._from:close() end
  if self._server then self._server:close() end
end

local sessions = 0

local function files_link(folder)
  sessions = sessions + 1
  local unique = (tostring({}):match("0?x?(%x+)$") or "t") .. "-" .. tostring(floor((os.clock() % 1000) * 1000000))
  local path = folder .. "/lua-" .. tostring(os.time()) .. "-" .. unique .. "-" .. sessions
  local to, why = io.open(path .. ".to", "wb")
  if not to then error("modkit: " .. tostring(why) .. " (give the folder that the server was given with --files)", 0) end
  return setmetatable({ _to = to, _answers = path .. ".from", _quiet = 0 }, Files)
end

function modkit.files(folder, options)
  return new_client(files_link(folder), options)
end

function modkit.start(command, folder, options)
  local server, why = io.popen(command, "w") -- its stdin: it ends when we do
  if not server then error("modkit: the server cannot be started: " .. tostring(why), 0) end
  local link = files_link(folder)
  link._server = server
  return new_client(link, options)
end

local Socket = {}
Socket.__index = Socket

local function load_ffi()
  local found, ffi = pcall(require, "ffi")
  if not found then error("modkit: a port needs LuaJIT's ffi; use files() here", 0) end
  pcall(ffi.cdef, [[
    struct modkit_address { uint16_t family, port; uint32_t host; char zero[8]; };
    struct modkit_address_bsd { uint8_t length, family; uint16_t port; uint32_t host; char zero[8]; };
    intptr_t socket(int, int, int);
    int connect(intptr_t, const void *, int);
    intptr_t send(intptr_t, const char *, size_t, int);
    intptr_t recv(intptr_t, char *, size_t, int);
    int close(int);
    int closesocket(intptr_t);
    int ioctlsocket(intptr_t, long, unsigned long *);
    int WSAStartup(uint16_t, void *);
    int WSAGetLastError(void);
  ]])
  return ffi
end

function modkit.tcp(port, token, options)
  local ffi = load_ffi()
  local windows = ffi.os == "Windows"
  local lib = windows and ffi.load("ws2_32") or ffi.C
  if windows then lib.WSAStartup(0x0202, ffi.new("char[512]")) end
  local fd = lib.socket(2, 1, 0)
  local bsd = ffi.os == "OSX" or ffi.os == "BSD"
  local address = ffi.new(bsd and "struct modkit_address_bsd" or "struct modkit_address")
  address.family = 2
  if bsd then address.length = ffi.sizeof(address) end
  address.port = (port % 256) * 256 + floor(port / 256) -- the network's order
  address.host = 0x0100007f -- 127.0.0.1
  if ffi.abi("be") then address.port, address.host = port, 0x7f000001 end
  if lib.connect(fd, address, ffi.sizeof(address)) ~= 0 then error("modkit: nobody listens on port " .. port, 0) end
  local link = setmetatable({ _fd = fd, _lib = lib, _ffi = ffi, _windows = windows }, Socket)
  link._buffer = ffi.new("char[16384]")
  if windows then
    lib.ioctlsocket(fd, -2147195266, ffi.new("unsigned long[1]", 1)) -- FIONBIO
    link._flags, link._again = 0, { [10035] = true }
  elseif bsd then
    link._flags, link._again = 0x80, { [35] = true, [4] = true }
  else
    link._flags, link._again = 0x4040, { [11] = true, [4] = true } -- MSG_DONTWAIT, MSG_NOSIGNAL
  end
  options = options or {}
  options.token = token
  return new_client(link, options)
end

function Socket:_failed()
  local code = self._windows and self._lib.WSAGetLastError() or self._ffi.errno()
  if not self._again[code] then error("the connection broke (" .. code .. ")", 0) end
end

function Socket:read()
  local got = tonumber(self._lib.recv(self._fd, self._buffer, 16384, self._flags))
  if got > 0 then return self._ffi.string(self._buffer, got) end
  if got == 0 then error("the server closed the connection", 0) end
  self:_failed()
end

function Socket:write(data)
  local sent = tonumber(self._lib.send(self._fd, data, #data, self._flags))
  if sent >= 0 then return sent end
  self:_failed()
  return 0
end

function Socket:close()
  if self._windows then self._lib.closesocket(self._fd) else self._lib.close(tonumber(self._fd)) end
end

function modkit.connect(path, options)
  local file, why = io.open(path, "rb")
  if not file then error("modkit: " .. tostring(why), 0) end
  local text_of = file:read(4096) or ""
  file:close()
  local port, token = text_of:match('"port"%s*:%s*(%d+)'), text_of:match('"token"%s*:%s*"([^"]+)"')
  if not (port and token) then error("modkit: " .. path .. " is not what --connect writes", 0) end
  return modkit.tcp(tonumber(port), token, options)
end

return modkit
