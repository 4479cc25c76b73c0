//! One host of a test's network: where it is, and the address at which others reach it.

use crate::netns::Netns;
use anyhow::Result;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

/// Addresses that are remembered as given: less than a host has ports for.
const GIVEN_MAX: usize = 10_000;

/// A host.
#[derive(Debug, Clone)]
pub struct Host {
    /// `None`: where the caller is.
    netns: Option<Arc<Netns>>,
    address: IpAddr,
}

impl Host {
    /// Where the caller is, on loopback.
    pub fn here() -> Self {
        Self {
            netns: None,
            address: Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// A host in a network of its own; who connects to it does so at this address.
    pub fn new(netns: &Arc<Netns>, address: IpAddr) -> Self {
        Self {
            netns: Some(Arc::clone(netns)),
            address,
        }
    }

    /// A host that is alone, with one address outside of 127.0.0.0/8.
    ///
    /// Servers treat the loopback address specially: `MariaDB` keeps no record of failed handshakes for it (`is_ip_loopback` in
    /// `sql/hostname.cc`), so what a proxy does to `max_connect_errors` shows only from another address.
    ///
    /// # Errors
    ///
    /// When the network cannot be made.
    pub fn alone() -> Result<Self> {
        let address = Ipv4Addr::new(10, 77, 0, 1).into();
        let netns = Arc::new(Netns::new()?);
        netns.add(address)?;
        Ok(Self::new(&netns, address))
    }

    /// The same host by another of its addresses.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Self {
        Self {
            netns: self.netns.clone(),
            address,
        }
    }

    /// Where others reach it.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its network, if it is not the caller's.
    pub fn netns(&self) -> Option<&Netns> {
        self.netns.as_deref()
    }

    /// Runs `body` there ([`Netns::enter`]).
    ///
    /// # Errors
    ///
    /// As [`Netns::enter`].
    pub fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        match &self.netns {
            Some(netns) => netns.enter(body),
            None => Ok(body()),
        }
    }

    /// The same command, run there.
    ///
    /// # Errors
    ///
    /// As [`Netns::inside`].
    pub fn inside(&self, command: Command) -> Result<Command> {
        match &self.netns {
            Some(netns) => netns.inside(&command),
            None => Ok(command),
        }
    }

    /// A listener there, at its address and a free port. It can be used from anywhere.
    ///
    /// # Errors
    ///
    /// When it cannot be bound.
    pub fn listen(&self) -> Result<TcpListener> {
        Ok(self.enter(|| TcpListener::bind((self.address, 0)))??)
    }

    /// An address there where nobody listens now, and which nobody was given before: servers that start side by side get two.
    ///
    /// # Errors
    ///
    /// When no socket can be bound.
    pub fn free_address(&self) -> Result<SocketAddr> {
        static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
        loop {
            let address = self.listen()?.local_addr()?;
            let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
            // In a very long run all of them may have been.
            if given.insert(address) || given.len() > GIVEN_MAX {
                return Ok(address);
            }
        }
    }
}
