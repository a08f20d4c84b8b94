//! Both ends of the handshake, sans-IO: messages and descriptors in, messages and what to attach to them out.

use super::message::{Message, VERSION, field, text};
use crate::memif::{Direction, Geometry, LOG2_SLOTS_MAX, REGIONS_MAX, RingPlace};
use std::os::fd::OwnedFd;
use thiserror::Error;

/// Interface mode Ethernet, the only one spoken here.
const MODE_ETHERNET: u8 = 0;

/// What to ask for, or to offer.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which of the interfaces behind the socket.
    pub id: u32,
    /// Shared secret of up to 23 bytes; empty for none.
    pub secret: String,
    /// What we are called.
    pub name: String,
    /// Slots in a ring, as a power of two: wanted as slave, at most as master.
    pub log2_slots: u8,
    /// Bytes in a buffer, as slave.
    pub buffer_bytes: u32,
    /// Whether memory is accepted, as master, that the slave could shrink so that we fault: needed where DPDK
    /// shares its huge pages. Only for peers that the operator named.
    pub unsealed_memory: bool,
}

impl Default for Options {
    /// Interface 0, no secret, 1,024 slots, 2 KiB in a buffer, sealed memory only.
    fn default() -> Self {
        Self {
            id: 0,
            secret: String::new(),
            name: "sidestep".into(),
            log2_slots: 10,
            buffer_bytes: 2048,
            unsealed_memory: false,
        }
    }
}

/// Why there is no link.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The peer said goodbye, with these words.
    #[error("the other end disconnected: {0}")]
    Disconnected(String),
    /// A message that does not belong here.
    #[error("a message out of turn")]
    Unexpected,
    /// No version in common.
    #[error("no common version")]
    Version,
    /// Another interface than ours was asked for.
    #[error("no interface {0} here")]
    Id(u32),
    /// Not Ethernet.
    #[error("only Ethernet mode is supported")]
    Mode,
    /// The secret differs.
    #[error("wrong secret")]
    Secret,
    /// A region out of order, or too many of them.
    #[error("region {0} out of order")]
    Region(u16),
    /// A ring too many, too large, or with private headers.
    #[error("ring {0} cannot be used")]
    Ring(u16),
    /// A message came without the descriptor that it needs.
    #[error("a descriptor is missing")]
    Descriptor,
    /// CONNECT before memory and both rings were there.
    #[error("connected without memory or rings")]
    Incomplete,
    /// Our own options are no layout.
    #[error("rings or buffers of impossible size")]
    Layout,
}

/// A ring that a slave offered.
#[derive(Debug)]
pub struct OfferedRing {
    /// Where it lies.
    pub place: RingPlace,
    /// What wakes its receiver.
    pub event: OwnedFd,
}

/// All that a slave offered.
#[derive(Debug)]
pub struct Offer {
    /// Memory with the length that was claimed, by index.
    pub regions: Vec<(OwnedFd, u64)>,
    /// The ring that the master receives on.
    pub s2m: OfferedRing,
    /// The ring that the master sends on.
    pub m2s: OfferedRing,
    /// The slave's program.
    pub peer: String,
}

/// What the master does next.
#[derive(Debug)]
pub enum MasterStep {
    /// Send this.
    Send(Message),
    /// Attach what was offered, then send [`Master::connected`], and the link is up.
    Attach(Offer),
}

/// The listening end.
pub struct Master {
    options: Options,
    peer: Option<String>,
    regions: Vec<(OwnedFd, u64)>,
    s2m: Option<OfferedRing>,
    m2s: Option<OfferedRing>,
}

impl Master {
    /// A new connection's master, and what it says first.
    pub fn new(options: &Options) -> (Self, Message) {
        let hello = Message::Hello {
            name: field(&options.name),
            version_min: VERSION,
            version_max: VERSION,
            #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
            region_max: REGIONS_MAX as u16 - 1,
            m2s_max: 0,
            s2m_max: 0,
            log2_slots_max: options.log2_slots.min(LOG2_SLOTS_MAX),
        };
        (
            Self {
                options: options.clone(),
                peer: None,
                regions: Vec::new(),
                s2m: None,
                m2s: None,
            },
            hello,
        )
    }

    /// What ends the handshake well.
    pub fn connected(&self) -> Message {
        Message::Connected {
            name: field(&self.options.name),
        }
    }

    /// What to do about a message and the descriptor that came with it. After a refusal the link is given up.
    pub fn on_message(
        &mut self,
        message: &Message,
        fd: Option<OwnedFd>,
    ) -> Result<MasterStep, Refusal> {
        match message {
            Message::Disconnect { reason, .. } => Err(Refusal::Disconnected(text(reason))),
            Message::Init { .. } if self.peer.is_none() => self.on_init(message),
            _ if self.peer.is_none() => Err(Refusal::Unexpected),
            Message::AddRegion { index, bytes } => {
                if usize::from(*index) != self.regions.len() || self.regions.len() >= REGIONS_MAX {
                    return Err(Refusal::Region(*index));
                }
                self.regions.push((fd.ok_or(Refusal::Descriptor)?, *bytes));
                Ok(MasterStep::Send(Message::Ack))
            }
            Message::AddRing { .. } => self.on_add_ring(message, fd),
            Message::Connect { .. } => self.on_connect(),
            _ => Err(Refusal::Unexpected),
        }
    }

    fn on_init(&mut self, message: &Message) -> Result<MasterStep, Refusal> {
        let Message::Init {
            version,
            id,
            mode,
            secret,
            name,
        } = message
        else {
            return Err(Refusal::Unexpected);
        };
        let ours: [u8; 24] = field(&self.options.secret);
        // No early exit where bytes differ: how long it takes says nothing about where.
        let differing = secret
            .iter()
            .zip(&ours)
            .fold(0, |acc, (a, b)| acc | (a ^ b));
        match () {
            () if *version != VERSION => Err(Refusal::Version),
            () if *id != self.options.id => Err(Refusal::Id(*id)),
            () if *mode != MODE_ETHERNET => Err(Refusal::Mode),
            () if !self.options.secret.is_empty() && differing != 0 => Err(Refusal::Secret),
            () => {
                self.peer = Some(text(name));
                Ok(MasterStep::Send(Message::Ack))
            }
        }
    }

    fn on_add_ring(
        &mut self,
        message: &Message,
        fd: Option<OwnedFd>,
    ) -> Result<MasterStep, Refusal> {
        let Message::AddRing {
            s2m,
            index,
            region,
            offset,
            log2_slots,
            private_header_bytes,
        } = *message
        else {
            return Err(Refusal::Unexpected);
        };
        let largest = self.options.log2_slots.min(LOG2_SLOTS_MAX);
        let ring = if s2m { &mut self.s2m } else { &mut self.m2s };
        if index != 0 || ring.is_some() || log2_slots > largest || private_header_bytes != 0 {
            return Err(Refusal::Ring(index));
        }
        let place = RingPlace {
            region,
            log2_slots,
            reserved: 0,
            offset,
        };
        *ring = Some(OfferedRing {
            place,
            event: fd.ok_or(Refusal::Descriptor)?,
        });
        Ok(MasterStep::Send(Message::Ack))
    }

    fn on_connect(&mut self) -> Result<MasterStep, Refusal> {
        let (Some(s2m), Some(m2s)) = (self.s2m.take(), self.m2s.take()) else {
            return Err(Refusal::Incomplete);
        };
        if self.regions.is_empty() {
            return Err(Refusal::Incomplete);
        }
        let (regions, peer) = (
            core::mem::take(&mut self.regions),
            self.peer.clone().unwrap_or_default(),
        );
        Ok(MasterStep::Attach(Offer {
            regions,
            s2m,
            m2s,
            peer,
        }))
    }
}

/// Which descriptor goes with a message of the slave's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// None.
    Nothing,
    /// The memory's.
    Region,
    /// What wakes the receiver of the ring of that direction.
    Event(Direction),
}

/// What the slave does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlaveStep {
    /// Send this.
    Send(Message, Carry),
    /// The link is up.
    Connected,
}

/// How far the slave is: what the next ACK answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlavePhase {
    Hello,
    Init,
    AddRegion,
    AddS2m,
    AddM2s,
    Connect,
    Up,
}

/// The connecting end.
pub struct Slave {
    options: Options,
    geometry: Geometry,
    phase: SlavePhase,
}

impl Slave {
    /// A slave that waits for HELLO. Fails where the options are no layout.
    pub fn new(options: &Options) -> Result<Self, Refusal> {
        let geometry =
            Geometry::slave(options.log2_slots, options.buffer_bytes).ok_or(Refusal::Layout)?;
        Ok(Self {
            options: options.clone(),
            geometry,
            phase: SlavePhase::Hello,
        })
    }

    /// The layout, settled once HELLO was heard.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What to do about a message. After a refusal the link is given up.
    pub fn on_message(&mut self, message: &Message) -> Result<SlaveStep, Refusal> {
        use SlavePhase as P;
        let (phase, message, carry) = match (self.phase, message) {
            (_, Message::Disconnect { reason, .. }) => {
                return Err(Refusal::Disconnected(text(reason)));
            }
            (
                P::Hello,
                Message::Hello {
                    version_min,
                    version_max,
                    log2_slots_max,
                    ..
                },
            ) => {
                if !(*version_min..=*version_max).contains(&VERSION) {
                    return Err(Refusal::Version);
                }
                let log2_slots = self.options.log2_slots.min(*log2_slots_max);
                let geometry = Geometry::slave(log2_slots, self.options.buffer_bytes);
                self.geometry = geometry.ok_or(Refusal::Layout)?;
                (P::Init, self.init(), Carry::Nothing)
            }
            (P::Init, Message::Ack) => {
                let bytes = self.geometry.bytes() as u64;
                (
                    P::AddRegion,
                    Message::AddRegion { index: 0, bytes },
                    Carry::Region,
                )
            }
            (P::AddRegion, Message::Ack) => {
                let way = Direction::SlaveToMaster;
                (P::AddS2m, self.add_ring(way), Carry::Event(way))
            }
            (P::AddS2m, Message::Ack) => {
                let way = Direction::MasterToSlave;
                (P::AddM2s, self.add_ring(way), Carry::Event(way))
            }
            (P::AddM2s, Message::Ack) => (
                P::Connect,
                Message::Connect {
                    name: field(&self.options.name),
                },
                Carry::Nothing,
            ),
            (P::Connect, Message::Connected { .. }) => {
                self.phase = P::Up;
                return Ok(SlaveStep::Connected);
            }
            _ => return Err(Refusal::Unexpected),
        };
        self.phase = phase;
        Ok(SlaveStep::Send(message, carry))
    }

    fn init(&self) -> Message {
        Message::Init {
            version: VERSION,
            id: self.options.id,
            mode: MODE_ETHERNET,
            secret: field(&self.options.secret),
            name: field(&self.options.name),
        }
    }

    fn add_ring(&self, direction: Direction) -> Message {
        let RingPlace {
            region,
            log2_slots,
            offset,
            ..
        } = self.geometry.ring(direction);
        let s2m = direction == Direction::SlaveToMaster;
        Message::AddRing {
            s2m,
            index: 0,
            region,
            offset,
            log2_slots,
            private_header_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests;
