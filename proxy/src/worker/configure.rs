//! `ALTER PROXYCONFIG SET`: validates, keeps the change in the file, then lets it hold. SIGHUP: the whole file, read again. What fails leaves
//! everything as it was.

use std::{
    fs,
    path::Path,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use sluice_ebpf::reason::RelayReason;

use super::{Process, config_file, cover, mailbox, start::allow_descriptors};
use crate::{
    admin::AdminError,
    config::{
        self, Alteration, Reload, Splice,
        key::{Change, Key},
    },
    route::discovery,
};

/// Changes a key. Returns what the operator is told.
///
/// # Errors
/// Why nothing was changed.
pub(super) async fn configure(
    process: &Arc<Process>,
    key: &'static str,
    value: String,
) -> Result<String, AdminError> {
    let key = Key::find(key).ok_or_else(|| AdminError::unknown_key(key))?;
    if key.is_secret() {
        let reason = "no password is taken from a statement, which clients keep in their histories; write it into the file";
        return Err(AdminError::bad_value(&format!("{}: {reason}", key.name)));
    }
    let own = Arc::clone(process);
    // Files may be slow, and other sessions of this worker do not wait for them.
    let changed = tokio::task::spawn_blocking(move || own.change(key, &value)).await;
    let told = changed
        .map_err(|_panic| AdminError::not_written(key.name, "the change was given up"))??;
    if process.is_splice_off() {
        mailbox::stop_splicing(process).await;
    }
    Ok(told)
}

/// Lets what clusters say of themselves hold whenever they say something else. Never ends.
pub(super) async fn follow_discoveries(process: Arc<Process>) {
    let mut found = process.health.found();
    let mut is_new = !found.borrow_and_update().is_empty();
    loop {
        if is_new {
            let own = Arc::clone(&process);
            // Who changes the configuration may be writing a file.
            let _ = tokio::task::spawn_blocking(move || own.rediscover()).await;
        }
        if found.changed().await.is_err() {
            return;
        }
        is_new = true;
    }
}

impl Process {
    /// Whether an operator has switched splicing off, or it was never on.
    pub(super) fn is_splice_off(&self) -> bool {
        self.splice_off.load(Ordering::Relaxed)
    }

    /// Why no session is spliced, if none is.
    pub(super) fn no_splice(&self) -> Option<RelayReason> {
        let off = self.is_splice_off().then_some(RelayReason::Off);
        off.or(self.splicing.as_ref().err().copied())
    }

    /// One change at a time: each reads the file that the one before has written.
    fn change(&self, key: &Key, value: &str) -> Result<String, AdminError> {
        let mut live = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &self.origin.file else {
            return Err(AdminError::no_file(key.name));
        };
        let failed = |error| AdminError::not_written(&path.display().to_string(), error);
        let text = fs::read_to_string(path).map_err(failed)?;
        let Alteration { text, mut settings } =
            config::alter(&text, &self.origin.line, &live, key, value)
                .map_err(|error| AdminError::bad_value(&error.message))?;
        config_file::replace(path, &text).map_err(failed)?;
        let must_restart = key.name == "splice" && self.lacks_programs();
        if must_restart {
            settings.splice = live.splice;
        }
        if settings != *live {
            live.clone_from(&settings);
            self.adopt(settings);
        }
        let told = self.told(key, value, must_restart, path);
        tracing::info!(key = key.name, value, "configuration changed");
        Ok(told)
    }

    /// Reads the whole file again; what is wrong with it leaves everything as it was. All of it goes to the log.
    pub(super) fn reload(&self) {
        let mut live = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &self.origin.file else {
            tracing::warn!("no configuration file was given that could be read again");
            return;
        };
        let read = fs::read_to_string(path).map_err(|error| error.to_string());
        let read = read.and_then(|text| {
            config::reload(&text, &self.origin.line, &live).map_err(|error| error.to_string())
        });
        let path = path.display();
        let Reload {
            mut settings,
            mut waiting,
        } = match read {
            Ok(reload) => reload,
            Err(error) => {
                tracing::error!(%path, error, "the configuration stays as it was");
                return;
            }
        };
        if settings.splice != live.splice && self.lacks_programs() {
            settings.splice = live.splice;
            waiting.push("splice");
        }
        if settings != *live {
            live.clone_from(&settings);
            self.adopt(settings);
        }
        let waiting = waiting.join(", ");
        tracing::info!(%path, needs_restart = waiting, "configuration read again");
    }

    /// No programs are loaded: what would switch them on is for the next start.
    fn lacks_programs(&self) -> bool {
        matches!(self.splicing, Err(RelayReason::Off))
    }

    /// Whether sessions may need the wire by these settings, and did not by those at the daemon's start, when it could load the programs: they are relayed.
    fn is_wire_late(&self, settings: &config::Settings) -> bool {
        let could = self.splicing.is_ok() && !self.has_wire && !self.lacks.wire;
        could && cover::is_needed(settings, !self.lacks.local, settings.listen)
    }

    /// Lets what clusters have said of themselves hold.
    fn rediscover(&self) {
        let live = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.adopt(live.clone());
        for cluster in &self.settings().clusters {
            if cluster.discovery {
                let nodes = cluster.nodes.iter().map(|node| {
                    let listing = node.listing.text().unwrap_or_default();
                    format!("{} {listing}", node.address)
                });
                let nodes = nodes.collect::<Vec<_>>().join(", ");
                let tenants = cluster.of_tenants.len();
                tracing::info!(cluster = cluster.name, nodes, tenants, "servers discovered");
            }
        }
    }

    /// Lets settings of the configuration hold, with what clusters have said of themselves.
    fn adopt(&self, mut settings: config::Settings) {
        {
            let receiver = self.health.found();
            let all = receiver.borrow();
            for cluster in settings.clusters.iter_mut().filter(|one| one.discovery) {
                if let Some(found) = all.get(&cluster.name) {
                    *cluster = discovery::adopt(cluster, found);
                }
            }
        }
        if self.is_wire_late(&settings) && !self.is_wire_late(&self.settings()) {
            let reason = RelayReason::WireNotReady.text();
            tracing::warn!(reason, "sessions with a remote end are relayed");
        }
        if self.log.set_level(settings.log.level).is_err() {
            tracing::error!("the log's level cannot be changed");
        }
        if settings.max_connections > self.settings().max_connections {
            allow_descriptors(settings.max_connections);
        }
        let off = settings.splice == Splice::Off;
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.splice_off.store(off, Ordering::SeqCst);
        self.configured.notify_one();
        self.watch_nodes();
    }

    /// Watches the nodes that there are now, and has sessions look where they belong.
    pub(super) fn watch_nodes(&self) {
        let settings = self.settings();
        self.health.configure(&settings);
        self.monitor
            .watch(Arc::clone(&settings), Arc::clone(&self.health));
    }

    /// What the operator is told of a change that was made.
    fn told(&self, key: &Key, value: &str, must_restart: bool, path: &Path) -> String {
        let (name, path) = (key.name, path.display());
        let mut told = match key.change {
            Change::Live { holds_for, .. } if !must_restart => {
                let whom = holds_for.map_or_else(String::new, |whom| format!(" for {whom}"));
                format!("{name} = {value} holds{whom}; kept in {path}")
            }
            Change::Live { .. } | Change::Restart => {
                format!("{name} = {value} is kept in {path} and holds after a restart")
            }
        };
        // What is said of `splice` otherwise is said of a host that can.
        let relayed = self
            .splicing
            .as_ref()
            .err()
            .filter(|_| name == "splice" && !must_restart && value != Splice::Off.text());
        if let Some(reason) = relayed {
            told = format!(
                "{told}; sessions are relayed all the same: {}",
                reason.text()
            );
        }
        if matches!(name, "path" | "server") && self.is_wire_late(&self.settings()) {
            told = format!(
                "{told}; sessions with a remote end are relayed all the same: {}",
                RelayReason::WireNotReady.text()
            );
        }
        if let Some(flag) = key.flag.filter(|_| key.is_given(&self.origin.line)) {
            told = format!("{told}; the command line gives {flag}, which wins at the next start");
        }
        told
    }
}
