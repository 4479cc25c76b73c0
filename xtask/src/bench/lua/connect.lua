-- Connection set-up: connect, log in, leave.
function thread_init()
  drv = sysbench.sql.driver()
end

function event()
  drv:connect():disconnect()
end
