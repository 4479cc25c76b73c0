//! Tests that do not end: each has its time, and one that takes longer is a failure that says what it waits for.

use crate::{server, wait};
use anyhow::{Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    process::{self, Command},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// The most characters of a command line that are shown.
const COMMAND_CHARS: usize = 160;

/// Runs `body` on a thread of its own and waits for its end.
///
/// # Errors
///
/// When it panics; when it has not ended within `limit`: then with the threads and children of this process and the sockets of their networks.
/// The thread is left to itself.
pub fn within<T: Send + 'static>(
    limit: Duration,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (sender, ended) = channel();
    // Who has given up does not want the result: then it is dropped.
    let thread = thread::spawn(move || drop(sender.send(body())));
    match ended.recv_timeout(limit) {
        Ok(value) => Ok(value),
        Err(RecvTimeoutError::Disconnected) => {
            wait::joined(thread.join(), "it")?;
            bail!("it has no result")
        }
        Err(RecvTimeoutError::Timeout) => {
            bail!("it has not ended after {limit:?}; {}", described())
        }
    }
}

/// Threads and descendants of this process, what each is and where in the kernel it waits; then sockets, with what their queues hold.
fn described() -> String {
    let mut text = "threads of the tests, and their children:".to_owned();
    let own = Path::new("/proc")
        .join(process::id().to_string())
        .join("task");
    let threads = entries(&own).into_iter().map(|thread| own.join(thread));
    let children = descendants();
    let children = children.iter().map(|child| Path::new("/proc").join(child));
    let mut networks = BTreeMap::new();
    for folder in threads.chain(children) {
        describe(&mut text, &folder);
        let network = folder.join("ns/net");
        if let Ok(name) = fs::read_link(&network) {
            networks.entry(name).or_insert(network);
        }
    }
    for (name, network) in networks {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", network.display()));
        let sockets = server::run(command.args(["ss", "-tnpoH"]));
        let sockets = sockets.unwrap_or_else(|error| format!("{error:#}"));
        text.extend(["\n", &name.to_string_lossy(), ":\n", &sockets]);
    }
    text
}

/// One line; nothing of what is gone meanwhile.
fn describe(text: &mut String, folder: &Path) {
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let command = read("cmdline").replace('\0', " ");
    let command: String = command.chars().take(COMMAND_CHARS).collect();
    let written = write!(
        text,
        "\n  {} {} {}: {}",
        folder.display(),
        read("comm").trim(),
        read("wchan"),
        command.trim()
    );
    debug_assert!(written.is_ok(), "a String takes all");
}

/// Numeric names in a folder of procfs.
fn entries(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .collect()
}

fn descendants() -> Vec<String> {
    let mut children: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in entries(Path::new("/proc")) {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        if let Some(parent) = parent {
            children
                .entry(parent.trim().to_owned())
                .or_default()
                .push(id);
        }
    }
    let mut found = children
        .remove(&process::id().to_string())
        .unwrap_or_default();
    let mut next = 0;
    while let Some(id) = found.get(next) {
        let grandchildren = children.remove(id).unwrap_or_default();
        found.extend(grandchildren);
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_ends_is_returned() {
        let value = within(Duration::from_mins(1), || 7).expect("in time");
        assert_eq!(value, 7);
    }

    #[test]
    fn what_does_not_end_is_told() {
        let (sender, never) = channel::<()>();
        let waits = move || never.recv().is_ok();
        let error = within(Duration::ZERO, waits).expect_err("nothing was sent");
        let text = error.to_string();
        assert!(text.contains("it has not ended after 0ns"), "{text}");
        assert!(text.contains("/task/"), "{text}");
        drop(sender);
    }

    #[test]
    fn sockets_are_told() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let client = TcpStream::connect(address).expect("a connection");
        let text = described();
        let own = client.local_addr().expect("its address").to_string();
        assert!(text.contains(&own), "no {own} in {text}");
    }
}
