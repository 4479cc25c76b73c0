-- A result of so many MiB, in rows of 64 KiB that the server makes up: no disk, no table. (SPACE is a memset there; REPEAT took 8 ms for each MiB,
-- which hid what the network takes.)
sysbench.cmdline.options = {
  mib = {"Size of one result in MiB", 1}
}

function thread_init()
  con = sysbench.sql.driver():connect()
  text = string.format("SELECT SPACE(65536) FROM seq_1_to_%d", sysbench.opt.mib * 16)
end

function event()
  con:query(text)
end

function thread_done()
  con:disconnect()
end
