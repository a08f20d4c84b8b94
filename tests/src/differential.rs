//! Runs a script of `python/` over the kernel and accelerated, and compares what every call returned.
//!
//! The two sides of a script meet at a socket of the harness ([`Meeting`]), which lets them go on when both are there.
//! So the harness knows how far they are, sees at once if one has died, and can look at the agent's report when both
//! are done and still alive.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use crate::{Deadline, Mode, Process, World, free_ports};

/// How long a script may take; it gives up by itself a little earlier and says where it hung.
const PATIENCE: Duration = Duration::from_secs(50);
/// Ports that a script has for itself; enough that few are used twice while one lingers in TIME_WAIT.
const PORTS: usize = 40;

/// Where the two sides of a script run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Each in a process of its own.
    TwoProcesses,
    /// In two threads of one process, which so connects to itself.
    OneProcess,
}

/// What each side wrote down.
#[derive(Debug, PartialEq, Eq)]
struct Transcripts {
    server: String,
    client: String,
}

/// Runs the script in this mode and over the kernel; panics where the transcripts differ, or where an accelerated
/// run did not go the way its mode says.
pub fn compare(script: &str, mode: Mode, place: Place) {
    let world = World::new(mode);
    let expected = run(&world, script, Mode::Kernel, place);
    let seen = run(&world, script, mode, place);
    let mut differences = differences_of("server", &expected.server, &seen.server);
    differences.extend(differences_of("client", &expected.client, &seen.client));
    assert!(
        differences.is_empty(),
        "{script}, {mode:?}: {} lines differ from the kernel's\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// Runs the script once and returns its transcripts.
fn run(world: &World, script: &str, mode: Mode, place: Place) -> Transcripts {
    let dir = world.dir().join(format!("{mode:?}"));
    fs::create_dir_all(&dir).expect("a directory in the test's own");
    let meet = dir.join("meet");
    // Left by the run before in the same mode, which is over.
    let _ = fs::remove_file(&meet);
    let mut meeting = Meeting::at(&meet);
    let ports: Vec<String> = free_ports(PORTS).iter().map(u16::to_string).collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("python")
        .join(format!("{script}.py"));
    let start = |role: &str, accelerated: bool| {
        let python = if accelerated {
            world.accelerated("python3")
        } else {
            world.plain("python3")
        };
        python
            .arg("-B")
            .arg(&script)
            .arg(role)
            .env("SIDES_DIR", &dir)
            .env("SIDES_PORTS", ports.join(","))
            .spawn()
    };
    let mut processes = match place {
        Place::TwoProcesses => vec![
            start("server", mode.server()),
            start("client", mode.client()),
        ],
        Place::OneProcess => vec![start("both", mode.server())],
    };
    let deadline = Deadline::after(PATIENCE);
    while let Some(step) = meeting.next_step(deadline) {
        if step == "END" {
            assert_taken(world, mode, &processes);
            meeting.go_on();
            break;
        }
        meeting.go_on();
    }
    assert!(
        !deadline.passed(),
        "{mode:?}: did not end in time\n{}",
        last_words(&processes)
    );
    for process in processes.drain(..) {
        process
            .wait(deadline.left().max(Duration::from_secs(1)))
            .success();
    }
    let read = |role: &str| {
        let path = dir.join(format!("{role}.txt"));
        fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("no transcript {}: {e}", path.display()))
    };
    Transcripts {
        server: read("server"),
        client: read("client"),
    }
}

/// Asserts that the agent's report says of the living processes what the mode says.
fn assert_taken(world: &World, mode: Mode, processes: &[Process]) {
    if mode == Mode::Kernel {
        return;
    }
    let ps = world.ps();
    match processes {
        [server, client] => ps.assert_mode(mode, server.pid(), client.pid()),
        [both] => ps.assert_wire_used(both.pid()),
        _ => unreachable!("one process or two"),
    }
}

fn last_words(processes: &[Process]) -> String {
    processes
        .iter()
        .map(Process::last_words)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The lines that differ, each with its case, what the kernel gave and what was seen.
fn differences_of(role: &str, expected: &str, seen: &str) -> Vec<String> {
    let (expected, seen) = (by_case(expected), by_case(seen));
    let mut found = Vec::new();
    for (case, wanted) in &expected {
        let Some((_, got)) = seen.iter().find(|(name, _)| name == case) else {
            found.push(format!("{role} {case}: missing"));
            continue;
        };
        for line in 0..wanted.len().max(got.len()) {
            let (want, have) = (wanted.get(line), got.get(line));
            if want != have {
                let text =
                    |line: Option<&&str>| line.map_or("(nothing)".to_owned(), |l| (*l).to_owned());
                found.push(format!(
                    "{role} {case}:\n    kernel:   {}\n    sidestep: {}",
                    text(want),
                    text(have)
                ));
            }
        }
    }
    found
}

/// The lines of a transcript, grouped by the case they stand in.
fn by_case(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut cases: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("== "), cases.last_mut()) {
            (Some(name), _) => cases.push((name, Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    cases
}

/// The place where the two sides of a script wait for each other.
#[derive(Debug)]
struct Meeting {
    listener: UnixListener,
    sides: Vec<Guest>,
}

/// One side, and what it said since it was last let go.
#[derive(Debug)]
struct Guest {
    stream: UnixStream,
    said: Vec<u8>,
}

impl Meeting {
    fn at(path: &Path) -> Self {
        let listener = UnixListener::bind(path)
            .unwrap_or_else(|e| panic!("cannot bind {}: {e}", path.display()));
        listener.set_nonblocking(true).expect("a socket of ours");
        Self {
            listener,
            sides: Vec::new(),
        }
    }

    /// Waits until both sides are at a step and returns its name; `None` when time is up or a side has gone.
    fn next_step(&mut self, deadline: Deadline) -> Option<String> {
        loop {
            if let Ok((stream, _)) = self.listener.accept() {
                stream.set_nonblocking(true).expect("a socket of ours");
                self.sides.push(Guest {
                    stream,
                    said: Vec::new(),
                });
            }
            for side in &mut self.sides {
                if !side.listen() {
                    // The other side is told by the end of its own connection.
                    self.sides.clear();
                    return None;
                }
            }
            if let [a, b] = self.sides.as_slice()
                && let (Some(one), Some(other)) = (a.step(), b.step())
            {
                assert_eq!(one, other, "the two sides are at different steps");
                return Some(one);
            }
            if deadline.passed() {
                return None;
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    fn go_on(&mut self) {
        for side in &mut self.sides {
            side.said.clear();
            // A side that died in between is noticed at the next step.
            let _ = side.stream.write_all(b"go\n");
        }
    }
}

impl Guest {
    /// Takes in what has come; `false` if this side has gone.
    fn listen(&mut self) -> bool {
        let mut buffer = [0; 256];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.said.extend_from_slice(&buffer[..count]);
                true
            }
            Err(e) => e.kind() == ErrorKind::WouldBlock,
        }
    }

    fn step(&self) -> Option<String> {
        let line = self.said.strip_suffix(b"\n")?;
        Some(String::from_utf8_lossy(line).into_owned())
    }
}
