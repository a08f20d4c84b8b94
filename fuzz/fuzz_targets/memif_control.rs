//! A memif link set up with a hostile stranger, as its master and as its slave, and then used.
//!
//! The peer's messages are those of a good handshake, edited as the input says: bytes changed, messages left out or
//! repeated, other descriptors beside them, or other memory behind them. All are sent in advance; we answer into the
//! void.
#![no_main]

mod hostile;
mod script;

use hostile::{BUFFER_BYTES, LOG2_SLOTS, Peer};
use libfuzzer_sys::fuzz_target;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use script::Script;
use sidestep_control::transport;
use sidestep_nic::memif::control::{Message, Options, VERSION};
use sidestep_nic::memif::control::{connect_over, serve_over};
use sidestep_nic::memif::{Geometry, Memif, Role, wire};
use sidestep_shm::{EventFd, Region};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

/// Messages that the peer sends at most.
const MESSAGES_MAX: usize = 12;
/// Bytes that hold the numbers of most messages.
const FIELDS_BYTES: usize = 24;
/// Edits of one message at most.
const EDITS_MAX: usize = 4;

fn options() -> Options {
    Options {
        log2_slots: LOG2_SLOTS,
        buffer_bytes: BUFFER_BYTES,
        ..Options::default()
    }
}

/// What a slave would say, with the descriptors that belong to it: 0 none, 1 memory, 2 an eventfd.
fn slaves(geometry: &Geometry) -> Vec<(Message, usize)> {
    let ring = |s2m| {
        let place = if s2m { geometry.s2m } else { geometry.m2s };
        Message::AddRing {
            s2m,
            index: 0,
            region: place.region,
            offset: place.offset,
            log2_slots: place.log2_slots,
            private_header_bytes: 0,
        }
    };
    let init = Message::Init {
        version: VERSION,
        id: 0,
        mode: 0,
        secret: [0; 24],
        name: [b's'; 32],
    };
    vec![
        (init, 0),
        (
            Message::AddRegion {
                index: 0,
                bytes: geometry.bytes() as u64,
            },
            1,
        ),
        (ring(true), 2),
        (ring(false), 2),
        (Message::Connect { name: [b's'; 32] }, 0),
    ]
}

/// What a master would say.
fn masters() -> Vec<(Message, usize)> {
    let hello = Message::Hello {
        name: [b'm'; 32],
        version_min: VERSION,
        version_max: VERSION,
        region_max: 255,
        m2s_max: 255,
        s2m_max: 255,
        log2_slots_max: 14,
    };
    let ack = (Message::Ack, 0);
    let connected = (Message::Connected { name: [b'm'; 32] }, 0);
    vec![
        (hello, 0),
        ack.clone(),
        ack.clone(),
        ack.clone(),
        ack,
        connected,
    ]
}

/// The bytes of a message after the edits of the script.
fn edited(message: &Message, script: &mut Script<'_>) -> Vec<u8> {
    let mut bytes = message.emit().to_vec();
    for _ in 0..script.byte().min(EDITS_MAX) {
        // Mostly one of the first fields, sometimes the length.
        let at = script.byte();
        let at = if at < 0xc0 { at % FIELDS_BYTES } else { at };
        let value = u8::try_from(script.byte()).unwrap_or(0);
        match bytes.get_mut(at) {
            Some(byte) => *byte = value,
            None => bytes.resize(usize::from(value), value),
        }
        let parsed = Message::parse(&bytes);
        if let Ok(parsed) = parsed {
            assert_eq!(Message::parse(&parsed.emit()), Ok(parsed));
        }
    }
    bytes
}

/// The peer says all that it has to say.
fn speak(
    socket: &OwnedFd,
    messages: &[(Message, usize)],
    memory: &Region,
    script: &mut Script<'_>,
) -> Option<()> {
    static PROPS: OnceLock<Option<(EventFd, Region, File)>> = OnceLock::new();
    let props = PROPS.get_or_init(|| {
        let short = Region::create("short", 4096).ok()?;
        Some((EventFd::new().ok()?, short, File::open("/dev/null").ok()?))
    });
    let (bell, short, odd) = props.as_ref()?;
    let mut next = 0;
    for _ in 0..MESSAGES_MAX {
        let (message, descriptor) = messages.get(next)?;
        // Mostly as it should be.
        let choice = script.byte();
        let descriptor = if choice & 0x80 == 0 {
            *descriptor
        } else {
            choice & 0xf
        };
        let fds: &[BorrowedFd<'_>] = match descriptor {
            0 => &[],
            1 => &[memory.fd()?],
            2 => &[bell.as_fd()],
            3 => &[short.fd()?],
            4 => &[odd.as_fd()],
            5 => &[bell.as_fd(), memory.fd()?],
            _ => &[bell.as_fd(); 9],
        };
        let bytes = if choice & 0x40 == 0 {
            message.emit().to_vec()
        } else {
            edited(message, script)
        };
        transport::send(socket.as_fd(), &bytes, fds).ok()?;
        next = match choice >> 4 & 3 {
            2 => next,
            3 => next + 2,
            _ => next + 1,
        };
    }
    Some(())
}

fn run(script: &mut Script<'_>) -> Option<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).ok()?;
    let geometry = Geometry::slave(LOG2_SLOTS, BUFFER_BYTES)?;
    let memory = wire::create(&geometry).ok()?;
    let peer = Peer {
        region: &memory,
        geometry,
        longest_bytes: memory.bytes(),
    };
    let role = if script.byte() & 1 == 0 {
        Role::Master
    } else {
        Role::Slave
    };
    let messages = if role == Role::Master {
        slaves(&geometry)
    } else {
        masters()
    };
    for _ in 0..script.byte() % 4 {
        peer.write(script);
    }
    speak(&theirs, &messages, &memory, script);
    let link = match role {
        Role::Master => serve_over(ours, &options(), Duration::ZERO),
        Role::Slave => connect_over(ours, &options(), Duration::ZERO),
    };
    let mut link = link.ok()?;
    let _ = link.channel.check();
    let geometry = *link.state.geometry();
    assert!(geometry.s2m.log2_slots <= LOG2_SLOTS && geometry.m2s.log2_slots <= LOG2_SLOTS);
    // What our slave allocated the peer would have mapped; here it can write what it made itself.
    let regions = link.at.regions().to_vec();
    let longest_bytes = regions.iter().map(|region| region.bytes()).max()?;
    let peer = Peer {
        region: regions.first()?,
        geometry: *link.state.geometry(),
        longest_bytes,
    };
    let mut port = Memif::new(&mut link.state, &link.at);
    while !script.0.is_empty() {
        peer.step(&mut port, script);
    }
    link.channel.disconnect("done");
    Some(())
}

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Script(data));
});
