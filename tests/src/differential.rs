//! Runs a script of `python/` over the kernel and accelerated, and compares what every call returned.
//!
//! The two sides of a script meet at a socket of the harness (`Meeting`), which lets them go on when both are there.
//! So the harness knows how far they are, sees at once if one has died, and can look at the agent's report when both
//! are done and still alive.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use crate::{Deadline, Host, Mode, Network, Process, Program, World, free_ports};

/// How long a script may take; it gives up by itself a good deal earlier and says where it hung.
const PATIENCE: Duration = Duration::from_secs(60);
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

/// What each side wrote down, and what kept them from getting to the end.
#[derive(Debug)]
struct Outcome {
    server: String,
    client: String,
    failure: Option<String>,
}

impl Outcome {
    /// The case that the sides were at.
    fn last_case(&self) -> String {
        let last = |text: &str| by_case(text).last().map(|(name, _)| (*name).to_owned());
        last(&self.client)
            .or_else(|| last(&self.server))
            .unwrap_or_default()
    }
}

/// Runs the script in this mode and over the kernel; panics where the transcripts differ, or where an accelerated
/// run did not go the way its mode says.
///
/// A case that does not come to its end is left out and the rest is run again, so that it hides nothing.
pub fn compare(script: &str, mode: Mode, place: Place) {
    compare_on(&World::new(mode), script, mode, place);
}

/// The same with the server and the client on the two hosts of a network.
pub fn compare_over(network: &Network, script: &str) {
    compare_on(network, script, network.mode(), Place::TwoProcesses);
}

/// Where the two sides are.
trait Ground {
    /// A directory of the test's own.
    fn dir(&self) -> &Path;
    /// Python for a side, which runs accelerated or not.
    fn python(&self, role: &str, accelerated: bool) -> Program;
    /// Asserts that the agents' reports say of the living processes what the mode says.
    fn assert_taken(&self, mode: Mode, processes: &[Process]);
}

impl Ground for World {
    fn dir(&self) -> &Path {
        Self::dir(self)
    }

    fn python(&self, _: &str, accelerated: bool) -> Program {
        if accelerated {
            self.accelerated("python3")
        } else {
            self.plain("python3")
        }
    }

    fn assert_taken(&self, mode: Mode, processes: &[Process]) {
        let ps = self.ps();
        match processes {
            [server, client] => ps.assert_mode(mode, server.pid(), client.pid()),
            [both] => ps.assert_wire_used(both.pid()),
            _ => unreachable!("one process or two"),
        }
    }
}

impl Ground for Network {
    fn dir(&self) -> &Path {
        self.server.dir()
    }

    fn python(&self, role: &str, accelerated: bool) -> Program {
        let host = if role == "server" {
            &self.server
        } else {
            &self.client
        };
        let python = if accelerated {
            host.accelerated("python3")
        } else {
            host.plain("python3")
        };
        let address = |host: &Host| format!("{} {}", host.address, host.address6);
        python
            .env("SIDES_SERVER_HOST", address(&self.server))
            .env("SIDES_CLIENT_HOST", address(&self.client))
            .env("SIDES_LINK", host.interface)
            .env("SIDES_BROADCAST", "10.9.0.255")
    }

    fn assert_taken(&self, mode: Mode, processes: &[Process]) {
        let ends = [(mode.server(), &self.server), (mode.client(), &self.client)];
        for ((accelerated, host), process) in ends.into_iter().zip(processes) {
            if accelerated {
                host.ps().assert_network_used(process.pid());
            }
        }
    }
}

fn compare_on(world: &impl Ground, script: &str, mode: Mode, place: Place) {
    const ATTEMPTS: usize = 6;
    let mut complaints = Vec::new();
    let mut skipped: Vec<String> = Vec::new();
    while skipped.len() < ATTEMPTS {
        let expected = run(world, script, Mode::Kernel, place, &skipped);
        assert!(
            expected.failure.is_none(),
            "over the kernel: {}",
            expected.failure.unwrap_or_default()
        );
        let seen = run(world, script, mode, place, &skipped);
        if let Some(failure) = &seen.failure {
            let case = seen.last_case();
            complaints.push(format!("{case} did not come to its end: {failure}"));
            skipped.push(case);
            continue;
        }
        complaints.extend(differences("server", &expected.server, &seen.server));
        complaints.extend(differences("client", &expected.client, &seen.client));
        break;
    }
    assert!(
        complaints.is_empty(),
        "{script}, {mode:?}, {place:?}: {} differences from the kernel\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

/// Runs the script once, without the cases that are skipped.
fn run(world: &impl Ground, script: &str, mode: Mode, place: Place, skipped: &[String]) -> Outcome {
    let dir = format!("{script}-{mode:?}-{}", skipped.len());
    let dir = world.dir().join(dir);
    fs::create_dir_all(&dir).expect("a directory in the test's own");
    let meet = dir.join("meet");
    // There if a mode is compared with itself.
    let _ = fs::remove_file(&meet);
    let mut meeting = Meeting::at(&meet);
    let ports: Vec<String> = free_ports(PORTS).iter().map(u16::to_string).collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("python")
        .join(format!("{script}.py"));
    let start = |role: &str, accelerated: bool| {
        world
            .python(role, accelerated)
            .arg("-B")
            .arg(&script)
            .arg(role)
            .env("SIDES_DIR", &dir)
            .env("SIDES_PORTS", ports.join(","))
            .env("SIDES_SKIP", skipped.join(" "))
            .spawn()
    };
    let processes = match place {
        Place::TwoProcesses => vec![
            start("server", mode.server()),
            start("client", mode.client()),
        ],
        Place::OneProcess => vec![start("both", mode.server())],
    };
    let failure = supervise(world, mode, &mut meeting, processes);
    // A side that died before it began has written nothing.
    let read = |role: &str| fs::read_to_string(dir.join(format!("{role}.txt"))).unwrap_or_default();
    Outcome {
        server: read("server"),
        client: read("client"),
        failure,
    }
}

/// Lets the sides go from step to step up to the end; returns what went wrong.
fn supervise(
    world: &impl Ground,
    mode: Mode,
    meeting: &mut Meeting,
    processes: Vec<Process>,
) -> Option<String> {
    let deadline = Deadline::after(PATIENCE);
    let mut is_done = false;
    while !is_done && let Some(step) = meeting.next_step(deadline) {
        is_done = step == "END";
        if is_done && mode != Mode::Kernel {
            world.assert_taken(mode, &processes);
        }
        meeting.go_on();
    }
    if !is_done {
        // One side has gone; the other is given a moment to notice and say where it was.
        let grace = Deadline::after(Duration::from_secs(1));
        let mut processes = processes;
        while processes.iter_mut().any(Process::is_running) && !grace.passed() {
            std::thread::sleep(Duration::from_millis(5));
        }
        return Some(
            processes
                .iter()
                .map(Process::last_words)
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
    for process in processes {
        process.wait(Duration::from_secs(10)).success();
    }
    None
}

/// The lines that differ, each with its case, what the kernel gave and what was seen.
fn differences(role: &str, expected: &str, seen: &str) -> Vec<String> {
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
