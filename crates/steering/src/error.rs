//! What can be in the way of steering, said so that the reader knows what to do.

use crate::Mode;
use aya::EbpfError;
use aya::maps::MapError;
use aya::maps::xdp::XdpMapError;
use aya::programs::ProgramError;
use aya::programs::xdp::XdpError;
use rustix::thread::CapabilitySet;
use std::error::Error;
use std::io;

/// Why frames cannot be steered.
#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    /// The program was left out of this build.
    #[error("built without clang: apt-get install clang, and build again")]
    NotBuilt,
    /// Somebody else steers this interface.
    #[error(
        "another XDP program is attached to interface {0}: `ip -details link show` names it, and `ip link set dev \
         NAME xdp off xdpgeneric off` removes it (or end the program that attached it); packet:NAME works beside it"
    )]
    Occupied(u32),
    /// The kernel refused.
    #[error("not allowed to load an XDP program: run as root, or with CAP_NET_ADMIN and CAP_BPF")]
    NotAllowed,
    /// Locked memory is counted against a limit, on kernels before 5.11, that is too low.
    #[error(
        "too little memory may be locked: raise `ulimit -l` (LimitMEMLOCK= in a unit of systemd)"
    )]
    Memlock,
    /// The driver, or this interface as it is set up, cannot run the program in that mode.
    #[error("the driver of interface {ifindex} has no {} XDP for its present MTU and queues", name(*.mode))]
    NoSuchMode {
        /// The interface.
        ifindex: u32,
        /// What was asked for.
        mode: Mode,
    },
    /// No interface of that index in this network namespace.
    #[error("there is no interface {0} in this network namespace")]
    NoInterface(u32),
    /// Frames that native programs redirect there would be lost.
    #[error(
        "interface {0} does not send the frames of native XDP programs: of a veth, the other end needs such a program \
         first"
    )]
    NoSending(u32),
    /// A kernel whose attachments outlive whoever made them.
    #[error("the kernel is older than 5.9 and would go on steering after our death")]
    OldKernel,
    /// No links to traffic control: what is attached in another way outlives whoever attached it.
    #[error("the kernel is older than 6.6, which steering without XDP needs (tcx)")]
    NoTcx,
    /// A stack or queue beyond what the tables hold.
    #[error("{0} beyond what can be steered")]
    OutOfRange(&'static str),
    /// No place for one more stack.
    #[error("{} stacks serve that flow already, and no more can", crate::GROUP_MAX)]
    Full,
    /// A part is missing from the built program.
    #[error("the program lacks `{0}`")]
    NoTable(&'static str),
    /// The program was not accepted.
    #[error("the kernel does not take the program: {0}")]
    Program(Box<dyn Error + Send + Sync>),
    /// No random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] io::Error),
    /// A table could not be changed.
    #[error("a table of the program: {0}")]
    Table(#[from] MapError),
}

const fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Native => "native",
        Mode::Generic => "generic",
        Mode::TrafficControl => "other",
    }
}

impl SteeringError {
    /// What went wrong in loading the object and making its tables.
    pub(crate) fn load(error: EbpfError) -> Self {
        match errno(&error) {
            // A limit, where privilege is there.
            Some(errnos::EPERM) if is_privileged() => Self::Memlock,
            Some(errnos::EPERM | errnos::EACCES) => Self::NotAllowed,
            _ => Self::Program(Box::new(error)),
        }
    }

    /// What went wrong in handing the program to the kernel.
    pub(crate) fn program(error: ProgramError) -> Self {
        match errno(&error) {
            Some(errnos::EPERM) => Self::NotAllowed,
            _ => Self::Program(Box::new(error)),
        }
    }

    /// What went wrong in entering a device.
    pub(crate) fn device(error: XdpMapError, ifindex: u32) -> Self {
        match errno(&error) {
            Some(errnos::EINVAL) => Self::NoInterface(ifindex),
            _ => match error {
                XdpMapError::MapError(error) => Self::Table(error),
                other @ XdpMapError::ChainedProgramNotSupported => Self::Program(Box::new(other)),
            },
        }
    }

    /// What went wrong in attaching it to traffic control.
    pub(crate) fn attach_behind(error: ProgramError, ifindex: u32) -> Self {
        match errno(&error) {
            Some(errnos::EPERM | errnos::EACCES) => Self::NotAllowed,
            Some(errnos::ENODEV) => Self::NoInterface(ifindex),
            Some(errnos::EINVAL | errnos::EOPNOTSUPP) => Self::NoTcx,
            _ => Self::Program(Box::new(error)),
        }
    }

    /// What went wrong in attaching it.
    pub(crate) fn attach(error: ProgramError, ifindex: u32, mode: Mode) -> Self {
        let errno = match &error {
            ProgramError::XdpError(XdpError::NetlinkError(inner)) => errno(inner),
            other => errno(other),
        };
        match errno {
            Some(errnos::EPERM | errnos::EACCES) => Self::NotAllowed,
            Some(errnos::EBUSY | errnos::EEXIST) => Self::Occupied(ifindex),
            Some(errnos::ENODEV) => Self::NoInterface(ifindex),
            // Drivers say in many ways that they cannot.
            Some(errnos::EINVAL | errnos::EOPNOTSUPP | errnos::ERANGE | errnos::ENOSPC) => {
                Self::NoSuchMode { ifindex, mode }
            }
            _ => Self::Program(Box::new(error)),
        }
    }
}

/// Whether this thread may load programs.
fn is_privileged() -> bool {
    let sets = rustix::thread::capabilities(None);
    sets.is_ok_and(|sets| {
        sets.effective
            .intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN)
    })
}

/// Numbers of errors.
mod errnos {
    use rustix::io::Errno;

    pub(super) const EPERM: i32 = Errno::PERM.raw_os_error();
    pub(super) const EACCES: i32 = Errno::ACCESS.raw_os_error();
    pub(super) const EBUSY: i32 = Errno::BUSY.raw_os_error();
    pub(super) const EEXIST: i32 = Errno::EXIST.raw_os_error();
    pub(super) const ENODEV: i32 = Errno::NODEV.raw_os_error();
    pub(super) const EINVAL: i32 = Errno::INVAL.raw_os_error();
    pub(super) const EOPNOTSUPP: i32 = Errno::OPNOTSUPP.raw_os_error();
    pub(super) const ERANGE: i32 = Errno::RANGE.raw_os_error();
    pub(super) const ENOSPC: i32 = Errno::NOSPC.raw_os_error();
}

/// The system's error at the bottom of one of aya's, if there is one.
fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        at = error.source();
    }
    None
}
