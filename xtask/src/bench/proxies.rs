//! HAProxy and nginx as a sensible administrator sets them up for MySQL: plain TCP, all cores, small messages at once.

use crate::place;
use anyhow::{Context as _, Result, bail};
use sluice_tests::host::Host;
use sluice_tests::process::{self, Process};
use sluice_tests::{place as test_place, wait};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Loading a configuration, with room.
const START: Duration = Duration::from_secs(10);
/// nginx's modules in Debian.
pub(crate) const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Starts HAProxy on `host` in front of `node`; returns where it listens. It sets `TCP_NODELAY` by itself.
pub(super) fn haproxy(host: &Host, node: SocketAddr) -> Result<(SocketAddr, Process)> {
    let address = host.free_address()?;
    let file = test_place::fresh("haproxy")?.join("haproxy.cfg");
    fs::write(&file, haproxy_config(address, node, threads()))?;
    let mut command = Command::new(program("haproxy")?);
    command.args(["-db", "-f"]).arg(&file);
    let process = start("haproxy", host, command, &file, address)?;
    Ok((address, process))
}

fn haproxy_config(address: SocketAddr, node: SocketAddr, threads: usize) -> String {
    format!(
        "global
    nbthread {threads}
defaults
    mode tcp
    option splice-auto
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen mysql
    bind {address}
    server node {node}
"
    )
}

/// Starts nginx on `host` in front of `node`; returns where it listens.
pub(super) fn nginx(host: &Host, node: SocketAddr) -> Result<(SocketAddr, Process)> {
    let address = host.free_address()?;
    let folder = test_place::fresh("nginx")?;
    let file = folder.join("nginx.conf");
    fs::write(&file, nginx_config(&folder, address, node, threads()))?;
    // Its workers outlive a master that is killed, but not the first process of their namespace.
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child"])
        .arg(program("nginx")?)
        .arg("-e")
        .arg(folder.join("log"))
        .arg("-p")
        .arg(&folder)
        .arg("-c")
        .arg(&file);
    let process = start("nginx", host, command, &file, address)?;
    Ok((address, process))
}

fn nginx_config(folder: &Path, address: SocketAddr, node: SocketAddr, workers: usize) -> String {
    let folder = folder.display();
    format!(
        "load_module {NGINX_STREAM};
daemon off;
user root;
pid {folder}/pid;
error_log {folder}/log;
worker_processes {workers};
worker_rlimit_nofile 20000;
events {{
    worker_connections 20000;
}}
stream {{
    server {{
        listen {address} reuseport;
        proxy_pass {node};
        tcp_nodelay on;
        proxy_connect_timeout 5s;
        proxy_timeout 1h;
    }}
}}
"
    )
}

/// Starts it, its output beside its configuration, and waits until it accepts connections.
fn start(
    name: &str,
    host: &Host,
    command: Command,
    file: &Path,
    address: SocketAddr,
) -> Result<Process> {
    let output = fs::File::create(file.with_extension("out"))?;
    let mut command = host.inside(command)?;
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    let mut process = process::spawn(name, command)?;
    wait::until_true(&format!("{name} listens"), START, || {
        if let Some(status) = process.ended()? {
            let said = fs::read_to_string(file.with_extension("out"))?;
            bail!("{name} ended ({status}): {said}");
        }
        Ok(host.enter(|| TcpStream::connect(address))?.is_ok())
    })?;
    Ok(process)
}

fn program(name: &str) -> Result<std::path::PathBuf> {
    place::find_program(name).with_context(|| format!("{name} is not installed"))
}

/// One for each core.
fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
