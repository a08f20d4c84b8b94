//! A program that says to its agent whatever it likes, beside one that behaves.
//!
//! The input is a list of messages, each garbage or a request with its own idea of stacks, wires, endpoints and
//! descriptors. The agent runs in a thread; that of the next input starts from nothing.
#![no_main]

mod script;

use libfuzzer_sys::fuzz_target;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use script::Script;
use sidestep_agent::Options;
use sidestep_control::message::{FDS_MAX, MESSAGE_BYTES_MAX, encode};
use sidestep_control::{Client, Publication, Request, RuntimeDir, VERSION, transport};
use sidestep_nic::memif::{Geometry, wire};
use sidestep_shm::{EventFd, Owner, Region};
use sidestep_stack::{Config, Endpoint, SharedStack};
use sidestep_wire::Address;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

const NETNS: u64 = 77;
/// Messages in an input at most.
const MESSAGES_MAX: usize = 16;
/// Attempts to reach an agent that is starting.
const ATTEMPTS_MAX: usize = 100_000;

/// A stack with a slot of this process.
struct Program {
    shared: SharedStack,
    doorbell: EventFd,
    slot: u32,
}

impl Program {
    fn new(id: u64) -> Option<Self> {
        let name = "fuzz".to_owned();
        let config = Config {
            name,
            id,
            netns: NETNS,
            sockets_max: 64,
            chunks_max: 64,
            ..Config::default()
        };
        let shared = sidestep_stack::create(&config).ok()?;
        let pid = std::process::id();
        let slot = shared
            .lock(Owner { slot: 0, pid })
            .ok()?
            .take_slot(pid)
            .ok()?;
        Some(Self {
            shared,
            doorbell: EventFd::new().ok()?,
            slot,
        })
    }

    fn memory(&self) -> Option<BorrowedFd<'_>> {
        self.shared.region().fd()
    }
}

/// The agent's directory; one for each process that fuzzes.
fn place() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| std::env::temp_dir().join(format!("sidestep-fuzz-{}", std::process::id())))
}

/// Where the parts of a request come from: mostly what exists, sometimes anything.
fn pick(script: &mut Script<'_>, known: &[u64]) -> u64 {
    let choice = script.byte();
    match known.get(choice) {
        Some(value) => *value,
        None => (choice as u64) << (script.byte() % 64),
    }
}

fn small(script: &mut Script<'_>) -> u32 {
    u32::try_from(pick(script, &[0, 1, 2])).unwrap_or(u32::MAX)
}

fn publication(script: &mut Script<'_>) -> Publication {
    let address = match script.byte() % 4 {
        0 => Address::UNSPECIFIED_V4,
        1 => Address::UNSPECIFIED_V6,
        2 => Address::LOOPBACK_V4,
        _ => Address([u8::try_from(script.byte()).unwrap_or(0); 16]),
    };
    let flags = script.byte();
    let protocol = [6, 17, 6, 0][flags >> 2 & 3];
    let port = u16::try_from(script.byte()).unwrap_or(0);
    Publication::new(
        protocol,
        Endpoint::new(address, port),
        flags & 1 != 0,
        flags & 2 != 0,
    )
}

fn request<'d>(script: &mut Script<'d>) -> Request<'d> {
    let kind = script.byte() % 13;
    let stack = pick(script, &[1, 2, 3]);
    match kind {
        0 => Request::Hello {
            version: VERSION,
            name: "fuzz",
        },
        1 => {
            let (first, bytes) = (script.byte() & 1 == 0, script.word());
            Request::Addresses {
                netns: pick(script, &[NETNS]),
                first,
                list: script.split(bytes),
            }
        }
        2 => {
            let netns = pick(script, &[NETNS]);
            Request::RegisterStack {
                stack,
                netns,
                slot: small(script),
            }
        }
        3 => Request::AttachSlot {
            stack,
            slot: small(script),
        },
        4 => Request::DetachSlot {
            stack,
            slot: small(script),
        },
        5 => Request::MapStack { stack },
        6 => Request::Publish {
            stack,
            what: publication(script),
        },
        7 => Request::Withdraw {
            stack,
            what: publication(script),
        },
        8 => Request::OpenWire {
            from: stack,
            to: pick(script, &[1, 2, 3]),
        },
        9 => Request::MapWire {
            stack,
            wire: small(script),
        },
        10 => Request::RestoreWire {
            stack,
            wire: small(script),
        },
        11 => Request::Ps,
        _ => Request::Stop,
    }
}

/// Says what the script says, and hears what comes back. Ends early where the agent hangs up.
fn misbehave(socket: &OwnedFd, third: &Program, script: &mut Script<'_>) -> Option<()> {
    let geometry = Geometry::wire(3, 256)?;
    let (wire, short) = (
        wire::create(&geometry).ok()?,
        Region::create("short", 4096).ok()?,
    );
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    for message in 0..MESSAGES_MAX {
        if script.0.is_empty() {
            break;
        }
        let choice = script.byte();
        let fds: &[BorrowedFd<'_>] = match choice % 8 {
            0 | 1 => &[],
            2 | 3 => &[third.memory()?, third.doorbell.as_fd()],
            4 => &[wire.fd()?],
            5 => &[short.fd()?, third.doorbell.as_fd()],
            6 => &[third.doorbell.as_fd(), third.memory()?],
            _ => &[third.doorbell.as_fd(); FDS_MAX],
        };
        let bytes = if choice & 0x80 != 0 {
            let bytes = script.byte();
            script.split(bytes)
        } else if message == 0 && choice & 0x40 == 0 {
            encode(
                &Request::Hello {
                    version: VERSION,
                    name: "fuzz",
                },
                &mut buffer,
            )
            .ok()?
        } else {
            encode(&request(script), &mut buffer).ok()?
        };
        if bytes.is_empty() {
            // An empty packet cannot be told from the end of the connection.
            rustix::net::send(socket, bytes, SendFlags::NOSIGNAL).ok()?;
            break;
        }
        transport::send(socket.as_fd(), bytes, fds).ok()?;
        transport::receive(socket.as_fd(), &mut [0; MESSAGE_BYTES_MAX]).ok()?;
    }
    Some(())
}

/// The program that behaves, as soon as the agent listens.
fn connect(socket: &Path) -> Client {
    for _ in 0..ATTEMPTS_MAX {
        if let Ok((client, _)) = Client::connect(socket, "good") {
            return client;
        }
        std::thread::yield_now();
    }
    panic!("the agent does not listen");
}

fn run(script: &mut Script<'_>, good: &mut Client, socket: &Path) -> Option<()> {
    let programs = [Program::new(1)?, Program::new(2)?];
    for (program, id) in programs.iter().zip(1..) {
        let fds = [program.memory()?, program.doorbell.as_fd()];
        good.register_stack(id, NETNS, program.slot, &fds)
            .expect("a stack is registered");
    }
    let kind = SocketType::SEQPACKET;
    let bad =
        rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).ok()?;
    rustix::net::connect(&bad, &SocketAddrUnix::new(socket).ok()?).ok()?;
    misbehave(&bad, &Program::new(3)?, script)
}

fuzz_target!(|data: &[u8]| {
    let dir = RuntimeDir::open(place()).expect("a directory");
    let options = Options {
        runtime_dir: Some(place().to_owned()),
        linger: Duration::from_secs(60),
        foreground: true,
        log_to_stderr: false,
        ..sidestep_agent::Options::default()
    };
    let agent = std::thread::spawn(move || sidestep_agent::run(&options));
    let mut good = connect(&dir.socket());
    let _ = run(&mut Script(data), &mut good, &dir.socket());
    // Still there, unless it was told to stop.
    if good.ps().is_ok() {
        good.stop().expect("the agent stops");
    }
    agent.join().expect("no panic").expect("an orderly end");
    let _ = std::fs::remove_dir_all(place());
});
