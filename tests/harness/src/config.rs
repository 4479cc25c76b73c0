//! A configuration file for a daemon of the test's own.

use crate::place;
use anyhow::{Context as _, Result};
use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// `[[cluster]]`.
#[derive(Debug, Clone)]
pub struct Cluster {
    name: String,
    kind: &'static str,
    tenants: Vec<String>,
    nodes: Vec<SocketAddr>,
    /// What is said of each node besides its address, by its number.
    said: Vec<(usize, String)>,
    monitor: Option<(String, String)>,
    users: Vec<(String, String)>,
    more: String,
}

impl Cluster {
    /// A cluster of MySQL or MariaDB servers; it takes logins of any tenant.
    pub fn mysql(name: &str, nodes: &[SocketAddr]) -> Self {
        Self {
            name: name.to_owned(),
            kind: "mysql",
            tenants: Vec::new(),
            nodes: nodes.to_vec(),
            said: Vec::new(),
            monitor: None,
            users: Vec::new(),
            more: String::new(),
        }
    }

    /// A cluster of OceanBase's servers, whose tenants are theirs.
    pub fn oceanbase(name: &str, nodes: &[SocketAddr]) -> Self {
        Self {
            kind: "oceanbase",
            ..Self::mysql(name, nodes)
        }
    }

    /// The same for logins of these tenants only.
    #[must_use]
    pub fn tenants(mut self, tenants: &[&str]) -> Self {
        self.tenants = tenants.iter().map(|&tenant| tenant.to_owned()).collect();
        self
    }

    /// The same with an account by which the daemon looks after the nodes.
    #[must_use]
    pub fn monitor(mut self, user: &str, password: &str) -> Self {
        self.monitor = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// The same with an account in whose place the daemon may log in.
    #[must_use]
    pub fn user(mut self, user: &str, password: &str) -> Self {
        self.users.push((user.to_owned(), password.to_owned()));
        self
    }

    /// The same with more keys of the node of this number: `drain = true`.
    #[must_use]
    pub fn node(mut self, at: usize, keys: &str) -> Self {
        self.said.push((at, keys.to_owned()));
        self
    }

    /// The same with a line of its own, as it is to be written: `tls = "required"`.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.more.push_str(line);
        self.more.push('\n');
        self
    }

    fn write(&self, text: &mut String) -> Result<()> {
        let nodes = self.nodes.iter().enumerate().map(|(at, node)| {
            let said = self.said.iter().filter(|(number, _)| *number == at);
            let keys: Vec<_> = said.map(|(_, keys)| keys.as_str()).collect();
            if keys.is_empty() {
                format!("\"{node}\"")
            } else {
                format!("{{ address = \"{node}\", {} }}", keys.join(", "))
            }
        });
        let nodes: Vec<_> = nodes.collect();
        let nodes = nodes.join(", ");
        writeln!(
            text,
            "[[cluster]]\nname = {:?}\nkind = {:?}",
            self.name, self.kind
        )?;
        writeln!(text, "tenants = {:?}\nnodes = [{nodes}]", self.tenants)?;
        if let Some((user, password)) = &self.monitor {
            writeln!(
                text,
                "monitor = {{ user = {user:?}, password = {password:?} }}"
            )?;
        }
        text.push_str(&self.more);
        for (user, password) in &self.users {
            writeln!(text, "[[user]]\nuser = {user:?}\npassword = {password:?}")?;
        }
        Ok(())
    }
}

/// The file's content.
#[derive(Debug, Clone, Default)]
pub struct Config {
    keys: String,
    clusters: Vec<Cluster>,
}

impl Config {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a line of the file's own keys, as it is to be written: `workers = 2`, `default_tenant = "shop"`.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.keys.push_str(line);
        self.keys.push('\n');
        self
    }

    /// The same with one more cluster. The first is the default one.
    #[must_use]
    pub fn cluster(mut self, cluster: Cluster) -> Self {
        self.clusters.push(cluster);
        self
    }

    /// The first cluster's first node: where a client goes if there is no daemon.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn first_node(&self) -> Result<SocketAddr> {
        let nodes = self.clusters.first().map(|cluster| &cluster.nodes);
        nodes
            .and_then(|nodes| nodes.first().copied())
            .context("the configuration has no node")
    }

    /// Writes it into a folder of its own, which goes with the test process; returns its path.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self) -> Result<PathBuf> {
        let file = place::fresh("config")?.join("sluice.toml");
        self.write_to(&file)?;
        Ok(file)
    }

    /// Writes it over a file.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write_to(&self, file: &Path) -> Result<()> {
        let mut text = self.keys.clone();
        for cluster in &self.clusters {
            cluster.write(&mut text)?;
        }
        Ok(fs::write(file, text)?)
    }
}
