//! What stops the daemon's sockets where the wire's programs are not: a program on the daemon's own cgroup, as that is where its sockets are made, and the
//! list of interfaces that it lets them use.

use std::{collections::BTreeSet, fs::File};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError, cgroup_skb::CgroupSkbLink,
    },
};

use crate::kernel::{KernelError, probe, program};

const PROGRAM: &str = "wire_guard";
const MAP: &str = "COVERED";

/// The program on both directions, until this is dropped.
#[derive(Debug)]
pub(super) struct Guard {
    /// What the map has.
    covered: BTreeSet<u32>,
    _links: [CgroupSkbLink; 2],
}

impl Guard {
    /// Attaches it. Nothing is covered yet.
    pub(super) fn attach(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let failed = |source| KernelError::Program {
            what: "attaching the wire's guard to the daemon's cgroup",
            source,
        };
        let cgroup = probe::own_cgroup().ok_or(KernelError::NoCgroup)?;
        let cgroup = File::open(cgroup).map_err(super::super::io_error("opening the cgroup"))?;
        let guard: &mut CgroupSkb = program(ebpf, PROGRAM)?;
        if guard.fd().is_err() {
            guard.load().map_err(failed)?;
        }
        let mut link = |direction| -> Result<CgroupSkbLink, ProgramError> {
            // A link, and links stack.
            let id = guard.attach(&cgroup, direction, CgroupAttachMode::Single)?;
            guard.take_link(id)
        };
        let links = [
            link(CgroupSkbAttachType::Egress).map_err(failed)?,
            link(CgroupSkbAttachType::Ingress).map_err(failed)?,
        ];
        Ok(Self {
            covered: BTreeSet::new(),
            _links: links,
        })
    }

    /// Lets sessions use these interfaces, and no others.
    pub(super) fn cover(&mut self, ebpf: &mut Ebpf, interfaces: &BTreeSet<u32>) {
        if self.covered == *interfaces {
            return;
        }
        let Some(map) = ebpf.map_mut(MAP) else {
            return;
        };
        let Ok(mut map) = HashMap::<&mut MapData, u32, u32>::try_from(map) else {
            return;
        };
        for interface in self.covered.difference(interfaces) {
            // One that has gone from the map is what is wanted.
            let _ = map.remove(interface);
        }
        let mut covered = self.covered.clone();
        covered.retain(|interface| interfaces.contains(interface));
        for interface in interfaces.difference(&self.covered) {
            match map.insert(interface, 0, 0) {
                Ok(()) => drop(covered.insert(*interface)),
                Err(error) => tracing::warn!(interface, %error, "wire: the guard"),
            }
        }
        self.covered = covered;
    }
}
