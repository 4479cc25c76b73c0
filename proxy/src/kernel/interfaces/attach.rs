//! The two programs on one interface. Links of TCX (kernel 6.6 and later) end with their descriptors, whatever ends this process. The filters
//! of older kernels stay behind a process that is killed; the next one on the same port takes them over.

use std::{panic::resume_unwind, thread};

use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{
        LinkOrder, Program, ProgramError, SchedClassifier, TcAttachType,
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
    },
};

use super::choice::Front;
use crate::kernel::{KernelError, program};

/// Programs, by their hook.
pub(in crate::kernel) type Programs = [(&'static str, TcAttachType); 2];

/// Those for interfaces whose packets begin with this.
pub(in crate::kernel) const fn programs(front: Front) -> Programs {
    let [ingress, egress] = match front {
        Front::Ethernet => ["wire_ingress", "wire_egress"],
        Front::Ip => ["wire_ingress_ip", "wire_egress_ip"],
    };
    [
        (ingress, TcAttachType::Ingress),
        (egress, TcAttachType::Egress),
    ]
}

/// The programs that these go on in, for segments of peers and of local sockets, and the maps where they find them.
const SEGMENTS: [&str; 2] = ["wire_segment", "wire_local"];
const PLACES: [&str; 2] = ["SEGMENT", "LOCAL"];
/// What stands in for both while hooks move.
const HOLD: &str = "wire_hold";

/// All of them.
pub(in crate::kernel) fn all_programs() -> impl Iterator<Item = &'static str> {
    let of = |front| programs(front).map(|(name, _)| name);
    let on_hooks = [Front::Ethernet, Front::Ip].into_iter().flat_map(of);
    on_hooks.chain(SEGMENTS).chain([HOLD])
}

/// The priority of our filters: behind those that administrators number by hand, before those that the kernel numbers itself (49,152 and
/// lower).
const PRIORITY: u16 = 0x5150;

/// How programs get to a hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// A link of TCX.
    Tcx,
    /// A filter of the `clsact` qdisc. The number is its handle at our priority: the port that the daemon listens on.
    Filter(u16),
}

impl Way {
    /// The way's name, for operators.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Tcx => "TCX",
            Self::Filter(_) => "clsact filter",
        }
    }
}

/// An interface with both programs on it, until this is dropped.
#[derive(Debug)]
pub(in crate::kernel) struct Attached {
    pub(super) way: Way,
    pub(super) front: Front,
    _links: [SchedClassifierLink; 2],
}

/// Loads the programs.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    // The verifier takes its time with each of them, and looks at several at once.
    thread::scope(|scope| {
        let ours = ebpf
            .programs_mut()
            .filter(|(name, _)| all_programs().any(|ours| ours == *name));
        let loading: Vec<_> = ours
            .map(|(_, program)| scope.spawn(|| load_one(program)))
            .collect();
        loading
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })?;
    join(ebpf)
}

/// Has the programs on the hooks go on in those that they share.
pub(super) fn join(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    go_on_in(ebpf, SEGMENTS)
}

/// Has sessions' segments dropped wherever they are seen, until [`join`].
pub(super) fn hold(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    go_on_in(ebpf, [HOLD; 2])
}

fn go_on_in(ebpf: &mut Ebpf, programs: [&'static str; 2]) -> Result<(), KernelError> {
    for (place, name) in PLACES.into_iter().zip(programs) {
        let shared: &mut SchedClassifier = program(ebpf, name)?;
        let shared = shared
            .fd()
            .and_then(|program| program.try_clone().map_err(ProgramError::IOError))
            .map_err(loading)?;
        let map = ebpf
            .map_mut(place)
            .ok_or(KernelError::Missing("map of the wire's programs"))?;
        ProgramArray::try_from(map)
            .and_then(|mut programs| programs.set(0, &shared, 0))
            .map_err(|error| KernelError::Map(place, error))?;
    }
    Ok(())
}

fn load_one(program: &mut Program) -> Result<(), KernelError> {
    let classifier: &mut SchedClassifier = program.try_into().map_err(loading)?;
    match classifier.fd() {
        Ok(_) => Ok(()),
        Err(_not_loaded) => classifier.load().map_err(loading),
    }
}

fn loading(source: ProgramError) -> KernelError {
    KernelError::Program {
        what: "loading the wire's programs",
        source,
    }
}

/// Puts both programs on an interface, by TCX or, where the kernel has none, as filters.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    name: &str,
    front: Front,
    port: u16,
) -> Result<Attached, KernelError> {
    match both(ebpf, name, front, Way::Tcx) {
        Err(KernelError::Program {
            source: ProgramError::SyscallError(error),
            ..
        }) if is_unknown(error.io_error.raw_os_error()) => {
            both(ebpf, name, front, Way::Filter(port))
        }
        attached => attached,
    }
}

/// What an older kernel says to a kind of link that it does not know.
fn is_unknown(number: Option<i32>) -> bool {
    number == Some(libc::EINVAL) || number == Some(libc::EOPNOTSUPP)
}

pub(in crate::kernel) fn both(
    ebpf: &mut Ebpf,
    name: &str,
    front: Front,
    way: Way,
) -> Result<Attached, KernelError> {
    if let Way::Filter(_) = way {
        add_clsact(name)?;
    }
    let [ingress, egress] = programs(front);
    // Where the second fails the first is dropped, and with it taken off.
    let links = [
        one(ebpf, name, ingress, way)?,
        one(ebpf, name, egress, way)?,
    ];
    Ok(Attached {
        way,
        front,
        _links: links,
    })
}

/// The qdisc that has the hooks. It may be there already, and it stays: it does nothing, and others may have filters in it by then.
fn add_clsact(name: &str) -> Result<(), KernelError> {
    match tc::qdisc_add_clsact(name) {
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        added => added.map_err(|error| failed(error.into())),
    }
}

fn one(
    ebpf: &mut Ebpf,
    name: &str,
    (label, hook): (&'static str, TcAttachType),
    way: Way,
) -> Result<SchedClassifierLink, KernelError> {
    let classifier: &mut SchedClassifier = program(ebpf, label)?;
    let id = match way {
        // Next to the sockets: other programs see what comes in before us, and what goes out after us.
        Way::Tcx => {
            let order = match hook {
                TcAttachType::Egress => LinkOrder::first(),
                _ => LinkOrder::last(),
            };
            classifier.attach_with_options(name, hook, TcAttachOptions::TcxOrder(order))
        }
        Way::Filter(port) => filter(classifier, name, hook, port),
    };
    id.and_then(|id| classifier.take_link(id)).map_err(failed)
}

/// Our filter on a hook: a new one, or the place of one that a killed daemon on the same port has left.
fn filter(
    classifier: &mut SchedClassifier,
    name: &str,
    hook: TcAttachType,
    port: u16,
) -> Result<tc::SchedClassifierLinkId, ProgramError> {
    let handle = TcHandle::new(0, port.max(1));
    let options = NlOptions {
        priority: PRIORITY,
        handle,
        classid: None,
    };
    match classifier.attach_with_options(name, hook, TcAttachOptions::Netlink(options)) {
        Err(ProgramError::TcError(TcError::NetlinkError(error)))
            if error.raw_os_error() == Some(libc::EEXIST) =>
        {
            let left = SchedClassifierLink::attached(name, hook, PRIORITY, handle, None)
                .map_err(TcError::IoError)?;
            classifier.attach_to_link(left)
        }
        attached => attached,
    }
}

fn failed(source: ProgramError) -> KernelError {
    KernelError::Program {
        what: "attaching the wire's programs",
        source,
    }
}
