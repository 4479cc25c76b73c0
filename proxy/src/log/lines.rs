//! Lines on their way out. One system call for each would be paid by every session that ends, and by whoever reads the log as well.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others.
const WAIT: Duration = Duration::from_millis(10);
/// How many bytes wait at most: beyond them, whoever has a line waits until all are out.
const WAITING_BYTES: usize = 64 * 1024;

/// Takes log lines, whole ones, and writes them in their order.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    /// The first line waits, or none is to wait any more.
    changed: Condvar,
    /// Locked before `waiting`.
    out: Mutex<Box<dyn Write + Send>>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    gathers: bool,
}

/// Lines are gathered as long as this lives.
#[must_use = "lines are gathered as long as it lives"]
pub struct Gathering(Lines);

impl Drop for Gathering {
    fn drop(&mut self) {
        self.0.set_gathers(false);
        self.0.write();
    }
}

impl Lines {
    /// Lines that go there at once.
    pub(super) fn new(out: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Shared {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            out: Mutex::new(Box::new(out)),
        }))
    }

    /// Has lines that can wait go out together, by a thread of their own.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn gather(&self) -> io::Result<Gathering> {
        let gathering = Gathering(self.clone());
        self.set_gathers(true);
        let lines = self.clone();
        let send = move || lines.send();
        thread::Builder::new().name("log".to_owned()).spawn(send)?;
        Ok(gathering)
    }

    /// Whether lines wait from now on.
    pub(super) fn set_gathers(&self, gathers: bool) {
        self.waiting().gathers = gathers;
        self.0.changed.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits, as long as lines are gathered.
    fn send(&self) {
        let ended = PoisonError::into_inner;
        loop {
            let waiting = self.waiting();
            let is_idle = |waiting: &mut Waiting| waiting.gathers && waiting.lines.is_empty();
            let waiting = self.0.changed.wait_while(waiting, is_idle);
            let waiting = waiting.unwrap_or_else(ended);
            if !waiting.gathers {
                return;
            }
            let gathers = |waiting: &mut Waiting| waiting.gathers;
            drop(self.0.changed.wait_timeout_while(waiting, WAIT, gathers));
            self.write();
        }
    }

    fn add(&self, line: &[u8], can_wait: bool) {
        let mut waiting = self.waiting();
        let is_first = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        if waiting.gathers && can_wait && waiting.lines.len() < WAITING_BYTES {
            drop(waiting);
            if is_first {
                self.0.changed.notify_one();
            }
            return;
        }
        drop(waiting);
        self.write();
    }

    fn write(&self) {
        let mut out = self.0.out.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = std::mem::take(&mut self.waiting().lines);
        // Where the log cannot be written there is nowhere to say so.
        let _ = out.write_all(&lines);
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Writer<'a>;

    fn make_writer(&'a self) -> Writer<'a> {
        Writer {
            lines: self,
            can_wait: false,
        }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Writer<'a> {
        Writer {
            lines: self,
            can_wait: *event.level() > Level::WARN,
        }
    }
}

/// Takes one line.
pub(super) struct Writer<'a> {
    lines: &'a Lines,
    can_wait: bool,
}

impl Write for Writer<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.add(line, self.can_wait);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was written, for tests.
#[cfg(test)]
#[derive(Clone, Default)]
pub(super) struct Text(Arc<Mutex<Vec<u8>>>);

#[cfg(test)]
impl Text {
    pub(super) fn get(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[cfg(test)]
impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_wait_go_out_without_another_one() {
        let text = Text::default();
        let lines = Lines::new(text.clone());
        let gathering = lines.gather().unwrap();
        lines.add(b"one\n", true);
        lines.add(b"two\n", true);
        while text.get() != "one\ntwo\n" {
            thread::yield_now();
        }
        lines.add(b"three\n", true);
        drop(gathering);
        assert_eq!(text.get(), "one\ntwo\nthree\n");
        lines.add(b"four\n", true);
        assert!(text.get().ends_with("four\n"));
    }

    #[test]
    fn no_more_than_so_many_bytes_wait() {
        let text = Text::default();
        let lines = Lines::new(text.clone());
        lines.set_gathers(true);
        let line = [b'x'; 1024];
        for _ in 1..WAITING_BYTES / line.len() {
            lines.add(&line, true);
        }
        assert_eq!(text.get(), "");
        lines.add(&line, true);
        assert_eq!(text.get().len(), WAITING_BYTES);
    }
}
