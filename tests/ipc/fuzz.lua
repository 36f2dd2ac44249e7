-- Feeds prepared frames to the client, one a game frame: nothing but a closed client may come of them.
-- Arguments: the client's folder, a file of (4 bytes of length, bytes).
package.path = arg[1] .. "/?.lua;" .. package.path
local modkit = require("modkit")
local file = assert(io.open(arg[2], "rb"))

local data
local link = { read = function() local new = data; data = nil; return new end,
               write = function(_, bytes) return #bytes end, close = function() end }
-- a client without a server: files() is given a folder that takes anything, then its link is changed
local function client_on_link()
  local client = modkit.files(arg[2]:match("^(.*)/[^/]*$"))
  client._link:close()
  os.remove((client._link._answers:gsub("from$", "to")))
  client._link = link
  for i = 1, 3 do client:say("x") end
  data = modkit.frame(modkit.list({ 1, 1, { protocol = 1 } }))
  for i = 1, 3 do data = data .. modkit.frame(modkit.list({ 1, i + 1, { stream = i } })) end
  client:update()
  assert(not client.closed, client.closed)
  return client
end

local client, count, given_up = client_on_link(), 0, 0
while true do
  local head = file:read(4)
  if not head then break end
  local a, b, c, d = head:byte(1, 4)
  data = file:read(((a * 256 + b) * 256 + c) * 256 + d)
  client:update()
  count = count + 1
  if client.closed then
    given_up = given_up + 1
    client = client_on_link()
  elseif #client._in > 0 then -- half a frame would swallow the next ones
    client = client_on_link()
  end
end
print(count, given_up)
