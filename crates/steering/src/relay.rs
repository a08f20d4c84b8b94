//! The way back of a hop: from a stack's veth to the interface that it shares.

use crate::attach::{self, table};
use crate::{Mode, SteeringError, Wanted, features};
use aya::Ebpf;
use aya::maps::{Array, DevMap};
use aya::programs::links::FdLink;

/// The program, or nothing where the build had no clang.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/relay.o"));

/// The same for veths without XDP.
static CABLE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cable.o"));

/// A program (`bpf/relay.c`, `bpf/cable.c`) on the near end of a stack's veth, by which all that comes there, which is what the stack
/// sends over its own end, leaves by another interface. Detached when dropped, and when the process ends in whatever way.
///
/// Frames are sent as they are: the stack writes that interface's address into them. Those that are longer than that
/// interface's MTU allows, and those that it has no room for, are lost, as on any cable.
pub struct Relay {
    /// First to be dropped: detached before anything else goes.
    _link: FdLink,
    mode: Mode,
    _program: Ebpf,
}

impl Relay {
    /// Attaches to interface `ifindex`; what comes there leaves by `to_ifindex`. Both are of this network namespace.
    ///
    /// In native mode frames are lost where the driver of `to_ifindex` does not send those of other programs, which many
    /// do only while there is one on it: attach [`Steering`](crate::Steering) first. [`Wanted::Auto`] is native where it
    /// is certain that it does, which kernels before 6.3 do not say.
    pub fn attach(ifindex: u32, to_ifindex: u32, wanted: Wanted) -> Result<Self, SteeringError> {
        if wanted == Wanted::Only(Mode::TrafficControl) {
            return Self::attach_behind(ifindex, to_ifindex);
        }
        let mut program = attach::load(OBJECT)?;
        let mut leaves_by = DevMap::try_from(table(&mut program, "leaves_by")?)?;
        attach::set_device(&mut leaves_by, 0, to_ifindex)?;
        let wanted = match wanted {
            Wanted::Auto if features::sends(to_ifindex) != Some(true) => {
                Wanted::Only(Mode::Generic)
            }
            other => other,
        };
        let (link, mode) = attach::attach(&mut program, "relay", ifindex, wanted)?;
        Ok(Self {
            _link: link,
            mode,
            _program: program,
        })
    }

    fn attach_behind(ifindex: u32, to_ifindex: u32) -> Result<Self, SteeringError> {
        let mut program = attach::load(CABLE)?;
        let mut leaves_by = Array::<_, u32>::try_from(table(&mut program, "leaves_by")?)?;
        leaves_by.set(0, to_ifindex, 0)?;
        Ok(Self {
            _link: attach::attach_behind(&mut program, "relay", ifindex)?,
            mode: Mode::TrafficControl,
            _program: program,
        })
    }

    /// Where the program runs.
    pub const fn mode(&self) -> Mode {
        self.mode
    }
}

/// A program (`bpf/cable.c`) on a stack's own end of a veth without XDP: the kernel there takes nothing of what comes, after
/// packet sockets have. Detached when dropped, and when the process ends in whatever way.
pub struct Swallow {
    /// First to be dropped: detached before anything else goes.
    _link: FdLink,
    _program: Ebpf,
}

impl Swallow {
    /// Attaches to an interface of this network namespace.
    pub fn attach(ifindex: u32) -> Result<Self, SteeringError> {
        let mut program = attach::load(CABLE)?;
        Ok(Self {
            _link: attach::attach_behind(&mut program, "swallow", ifindex)?,
            _program: program,
        })
    }
}
