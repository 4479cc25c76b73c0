//! What admin statements see of the daemon as a whole.

use std::{
    env,
    net::SocketAddr,
    process,
    sync::{Arc, atomic::Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Process, clock, memory};
use crate::{
    admin::{Daemon, Host},
    kernel::probe,
    net::tls::Certificate,
};

/// What is known at the start and does not change.
pub(super) fn host(listen: SocketAddr, workers: usize) -> Host {
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    Host {
        // Where /proc is not mounted nobody knows.
        binary: env::current_exe().unwrap_or_default(),
        build: format!("{profile}, {}", env::consts::ARCH),
        pid: process::id(),
        kernel: probe::release(),
        listen,
        workers,
        started_at: now(),
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

impl Process {
    /// The daemon at this moment.
    pub(super) fn daemon(&self) -> Daemon {
        let admissions = self.admissions();
        let client_count = admissions.count();
        let (refused_for_total, refused_for_memory) = admissions.refused();
        drop(admissions);
        Daemon {
            settings: self.settings(),
            defaults: self.defaults.all(),
            origin: Arc::clone(&self.origin),
            host: Arc::clone(&self.host),
            no_splice: self.no_splice(),
            is_stopping: self.is_retiring() || self.is_stopping.load(Ordering::Relaxed),
            retires_at_ms: self
                .is_retiring()
                .then(|| self.retires_at_ms.load(Ordering::Relaxed)),
            client_count,
            refused_for_total,
            refused_for_memory,
            resident_bytes: memory::resident().unwrap_or_default(),
            occupancy: self.occupancy().clone(),
            certificate_expires_in_s: self.certificate.as_ref().map(Certificate::expires_in),
            uptime_ms: self.now_ms(),
            now_ns: clock::now_ns(),
            fleet: None,
            nodes: self.health.book().clone(),
            reports: Vec::new(),
        }
    }
}
