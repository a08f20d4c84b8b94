//! Loading a program, and attaching it to an interface so that it goes when we go.

use crate::SteeringError;
use aya::maps::{DevMap, Map, MapData};
use aya::programs::links::FdLink;
use aya::programs::tc::{TcAttachOptions, TcAttachType};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

/// Where in the kernel a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel makes a packet of the frame.
    Native,
    /// After that: works with every driver, slower.
    Generic,
    /// In the kernel's traffic control, after all XDP: needs nothing of XDP and lives beside other programs of it. Stacks
    /// have no sockets on the interface then, but hops ([`Steering::set_hop_device`](crate::Steering::set_hop_device)).
    TrafficControl,
}

/// Which modes will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Native where the driver has it, else generic.
    #[default]
    Auto,
    /// This one only.
    Only(Mode),
}

/// What stands for no interface in a table of them.
pub(crate) const NO_DEVICE: u32 = 0;

/// Hands an object's program and tables to the kernel.
pub(crate) fn load(object: &[u8]) -> Result<Ebpf, SteeringError> {
    if object.is_empty() {
        return Err(SteeringError::NotBuilt);
    }
    EbpfLoader::new().load(object).map_err(SteeringError::load)
}

pub(crate) fn table(program: &mut Ebpf, name: &'static str) -> Result<Map, SteeringError> {
    program.take_map(name).ok_or(SteeringError::NoTable(name))
}

/// Enters an interface of this network namespace, or [`NO_DEVICE`].
pub(crate) fn set_device(
    table: &mut DevMap<MapData>,
    place: u32,
    ifindex: u32,
) -> Result<(), SteeringError> {
    table
        .set(place, ifindex, None, 0)
        .map_err(|error| SteeringError::device(error, ifindex))
}

/// Attaches in one of the modes that will do; says which.
pub(crate) fn attach(
    program: &mut Ebpf,
    name: &'static str,
    ifindex: u32,
    wanted: Wanted,
) -> Result<(FdLink, Mode), SteeringError> {
    if let Wanted::Only(mode) = wanted {
        return Ok((link(program, name, ifindex, mode)?, mode));
    }
    match link(program, name, ifindex, Mode::Native) {
        Err(SteeringError::NoSuchMode { .. }) => {
            let link = link(program, name, ifindex, Mode::Generic)?;
            Ok((link, Mode::Generic))
        }
        other => Ok((other?, Mode::Native)),
    }
}

/// Attaches by a link, which lasts no longer than its descriptor: ours.
fn link(
    program: &mut Ebpf,
    name: &'static str,
    ifindex: u32,
    mode: Mode,
) -> Result<FdLink, SteeringError> {
    let program: &mut Xdp = program
        .program_mut(name)
        .ok_or(SteeringError::NoTable(name))?
        .try_into()
        .map_err(SteeringError::program)?;
    match program.load() {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
        Err(error) => return Err(SteeringError::program(error)),
    }
    let flags = match mode {
        Mode::Native => XdpMode::Driver,
        Mode::Generic => XdpMode::Skb,
        Mode::TrafficControl => return Err(SteeringError::NoTable(name)),
    };
    let attached = program
        .attach_to_if_index(ifindex, flags)
        .and_then(|id| program.take_link(id))
        .map_err(|error| SteeringError::attach(error, ifindex, mode))?;
    // What is not a link would stay attached after our death: aya's way on kernels before 5.9.
    FdLink::try_from(attached).map_err(|_| SteeringError::OldKernel)
}

/// Attaches to what arrives at an interface of this network namespace, behind XDP and packet sockets, by a link.
pub(crate) fn attach_behind(
    program: &mut Ebpf,
    name: &'static str,
    ifindex: u32,
) -> Result<FdLink, SteeringError> {
    let program: &mut SchedClassifier = program
        .program_mut(name)
        .ok_or(SteeringError::NoTable(name))?
        .try_into()
        .map_err(SteeringError::program)?;
    program.load().map_err(SteeringError::program)?;
    let interface = name_of(ifindex)?;
    let order = TcAttachOptions::TcxOrder(LinkOrder::default());
    let attached = program
        .attach_with_options(&interface, TcAttachType::Ingress, order)
        .and_then(|id| program.take_link(id))
        .map_err(|error| SteeringError::attach_behind(error, ifindex))?;
    FdLink::try_from(attached).map_err(|_| SteeringError::NoTcx)
}

/// The name of an interface of this network namespace.
fn name_of(ifindex: u32) -> Result<String, SteeringError> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let gone = |_| SteeringError::NoInterface(ifindex);
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)
        .map_err(gone)?;
    rustix::net::netdevice::index_to_name(socket, ifindex).map_err(gone)
}
