-- Stands in for Cyber Engine Tweaks: loads a mod's init.lua, then runs its onInit and, frame by frame, its onUpdate.
-- Arguments: the mod's folder, the mailbox, the most frames. Writes what the subtitle was in the end, how it ended, and
-- the longest frame in microseconds (by the processor's clock).
local folder, mailbox, most = arg[1], arg[2], tonumber(arg[3])
package.path = folder .. "/?.lua;" .. package.path

local handlers = {}
function registerForEvent(name, handler) handlers[name] = handler end -- one slot each, as there

local found, ffi = pcall(require, "ffi")
local rest
if found then
  ffi.cdef("int usleep(unsigned int);")
  rest = function() ffi.C.usleep(4000) end
else
  rest = function() os.execute("sleep 0.004") end
end

local mod = dofile(folder .. "/init.lua")
mod.mailbox = mailbox
handlers.onInit()
local longest = 0
for _ = 1, most do
  local before = os.clock()
  handlers.onUpdate(0.016)
  longest = math.max(longest, os.clock() - before)
  if mod.done then break end
  rest()
end
handlers.onShutdown()
io.stderr:write(string.format("longest frame: %d us\n", math.floor(longest * 1e6)))
io.stdout:write(tostring(mod.error or ""), "\n", mod.subtitle)
